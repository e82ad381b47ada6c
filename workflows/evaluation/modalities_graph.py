"""The evaluation of any number of modalities as a graph of steps: each SAE's, then SAEs against each other."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

from isoenergy.evaluation.fit import FitConfig
from isoenergy.evaluation.measured_rows import PartConfig, SaeReference
from isoenergy.evaluation.modalities.modality_atoms import (
    AtomsConfig,
    ModalityStabilityConfig,
    measure_modality_stability,
    write_atoms,
)
from isoenergy.evaluation.modalities.modality_energies import (
    EnergiesConfig,
    VectorsPartConfig,
    encode_vectors,
    fit_classes,
    merge_energies,
)
from isoenergy.evaluation.modalities.modality_retrieval import (
    CodeRetrievalConfig,
    DrawnPartConfig,
    VectorRetrievalConfig,
    draw_vectors,
    retrieve_by_codes,
    retrieve_by_vectors,
)
from isoenergy.sae.joint import Autoencoder
from workflows.evaluation.evaluated_saes import sae_reference, step_prefix
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.steps import step_plan
from workflows.steps.step import Step

KIND = "modalities"
"""Tells the summary from that of the paper's evaluation."""
_NOT_DEFINED = (
    "the gap after an intervention",
    "δ_r@1",
    "p_acc",
    "ρ and FDA (bridges, with A = DDᵀ)",
    "other ways to close the gap",
)
_GIGABYTE = 2**30
_MOST_COMPARED = 6


class ModalitySteps:
    """The steps of one SAE."""

    def __init__(self, sae: SaeReference, measured: MeasuredPairs) -> None:
        draw, store = measured.draw, measured.parts[0].store

        def of_codes(part: PartConfig) -> VectorsPartConfig:
            return VectorsPartConfig(part, sae)

        make, some, much = measured.steps(step_prefix(sae)), _GIGABYTE, 2 * _GIGABYTE
        codes = make.each("codes", encode_vectors, of_codes, memory=much)
        assert isinstance(measured.fitting, FitConfig)  # nothing of more than pairs is carried
        self.fit = make.one("fit", fit_classes, replace(measured.fitting, sae=sae), memory=much)
        fitted = {"fit": self.fit}
        self.energies = make.one("energies", merge_energies, EnergiesConfig(sae), {**fitted, **codes}, memory=much)
        between = CodeRetrievalConfig(draw, measured.pairs, sae)
        self.retrieval = make.one("retrieval", retrieve_by_codes, between, {**fitted, **codes}, memory=much)
        inputs = {"energies": self.energies, **fitted, **codes}
        self.atoms = make.one("atoms", write_atoms, AtomsConfig(store, sae, measured.parts), inputs, memory=some)


class ModalitiesGraph:
    """All steps of an evaluation of vectors; SAEs by their URI."""

    def __init__(self, measured: MeasuredPairs, saes: Mapping[str, Autoencoder]) -> None:
        draw, make = measured.draw, measured.steps("vectors")

        def of_drawn(part: PartConfig) -> DrawnPartConfig:
            return DrawnPartConfig(part, draw, measured.pairs)

        drawn = make.each("drawn", draw_vectors, of_drawn, memory=_GIGABYTE)
        between = VectorRetrievalConfig(draw, measured.pairs)
        self.vectors = make.one("retrieval", retrieve_by_vectors, between, drawn, memory=2 * _GIGABYTE)
        references = {uri: sae_reference(uri, sae) for uri, sae in saes.items()}
        self.saes = {uri: ModalitySteps(references[uri], measured) for uri in saes}
        first = next(iter(saes))
        few = len(saes) <= _MOST_COMPARED
        pairs = combinations(saes, 2) if few else ((first, other) for other in list(saes)[1:])
        self.stability = {
            (a, b): Step(
                f"stability/{step_prefix(references[a])}~{step_prefix(references[b])}",
                measure_modality_stability,
                ModalityStabilityConfig(references[a], references[b], draw.seed),
                {"first": self.saes[a].energies, "second": self.saes[b].energies},
                memory=_GIGABYTE,
            )
            for a, b in pairs
        }

    @property
    def targets(self) -> list[Step]:
        """The steps whose results are wanted."""
        found: list[Any] = [self.vectors, *self.stability.values()]
        return found + [step for parts in self.saes.values() for step in vars(parts).values()]


def modalities_summary(
    saes: Mapping[str, Autoencoder], names: Mapping[str, str], graph: ModalitiesGraph, root: str
) -> dict[str, Any]:
    """Gather the steps' results, where the report finds the rest, and what is not defined, and why."""

    def results(step: Step) -> dict[str, Any]:
        return step_plan.result(step, root)

    return {
        "kind": KIND,
        "vectors": results(graph.vectors),
        "saes": [
            {
                "name": names[folder],
                "digest": sae.digest,
                "config": asdict(sae.config),
                "not_defined": not_defined(sae),
                "results": {
                    **results(graph.saes[folder].energies),
                    "fitted_on": results(graph.saes[folder].fit),
                    "retrieval": results(graph.saes[folder].retrieval)["between"],
                },
                "atoms": f"steps/{step_plan.files(graph.saes[folder].atoms, root)}",
            }
            for folder, sae in saes.items()
        ],
        "stability": [
            {"first": names[a], "second": names[b], "by_modality": results(step)}
            for (a, b), step in graph.stability.items()
        ],
    }


def not_defined(sae: Autoencoder) -> dict[str, str]:
    """Return what the paper measures that has no meaning for an SAE, each with the reason."""
    if sae.config.widths:
        reason = "each modality has its own dictionary: atoms, and what they rebuild, lie in different spaces"
    else:
        reason = "the paper defines it for two modalities"
    return dict.fromkeys(_NOT_DEFINED, reason)
