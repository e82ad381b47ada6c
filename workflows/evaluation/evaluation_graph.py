"""The evaluation as a graph of steps: what no SAE changes, then each SAE's, then SAEs against each other."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import ceil
from typing import Self

from isoenergy.evaluation.atom_map import AtomMapConfig, write_atom_map
from isoenergy.evaluation.comparison import (
    StabilityConfig,
    compare_rivals,
    measure_stability,
)
from isoenergy.evaluation.concepts import (
    CodesConfig,
    HeldConfig,
    StatisticsConfig,
    encode_held,
    encode_part,
    merge_parts,
)
from isoenergy.evaluation.dictionary import DictionaryConfig, measure_dictionary
from isoenergy.evaluation.embeddings import EmbeddingsPartConfig, PairsConfig, merge_embeddings, sum_embeddings
from isoenergy.evaluation.exemplars import ExemplarConfig, ProjectionConfig, write_exemplars, write_projection
from isoenergy.evaluation.explorer_atoms import (
    ExplorerConfig,
    PartnersConfig,
    PicturesConfig,
    find_partners,
    gather_explorer,
    picture_part,
)
from isoenergy.evaluation.fit import FitConfig, fit
from isoenergy.evaluation.measured_bridges import (
    BridgePartConfig,
    BridgesConfig,
    measure_bridges,
    merge_bridge_parts,
    sum_bridge_part,
)
from isoenergy.evaluation.measured_geometry import measure_geometry
from isoenergy.evaluation.measured_retrieval import SearchPartConfig, merge_search, search_part
from isoenergy.evaluation.measured_rows import Draw, DrawnConfig, PartConfig, SaeReference, StoreReference, split_units
from isoenergy.evaluation.spectra import write_spectra
from isoenergy.evaluation.top_pairs import RankConfig, TopPairsConfig, merge_ranks, rank_part
from isoenergy.pairs.splits import Split
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.fetching import HUB
from isoenergy.sae.joint import Autoencoder
from isoenergy.storage.files import absolute_uri
from isoenergy.store import EmbeddingStore
from workflows.steps.step_plan import Step

_GIGABYTE = 2**30
_BYTES_A_MEETING = 40
"""Of atoms²: the cross moments, or a Gram matrix, and what is worked out from it."""
STRIP_BYTES = 21_500_000
"""Thumbnails in the report; base64 makes a third more of them."""
_MOST_COMPARED = 6
"""SAEs of which every pair of dictionaries is compared; more are compared with the first alone."""


@dataclass(frozen=True)
class MeasuredPairs:
    """Which pairs of a store are measured, how they are cut, and what is fitted on others."""

    parts: tuple[PartConfig, ...]
    pairs: int
    draw: Draw
    drawn: int
    fitting: FitConfig

    @classmethod
    def of(cls, store: EmbeddingStore, split: Split, draw: Draw, fit_pairs: int, part_pairs: int) -> Self:
        """Cut the pairs of `split`, of which there are some, into parts of at least `part_pairs`, but the last."""
        reference = StoreReference(store.uri, store.fingerprint, split)
        parts: list[PartConfig] = []
        units: list[str] = []
        start = total = 0
        for first, unit, pairs in split_units(store, split):
            units += [unit] if pairs else []
            total = first + pairs
            if total - start >= part_pairs:
                parts.append(PartConfig(reference, tuple(units), start, draw.seed))
                units, start = [], total
        if units:
            parts.append(PartConfig(reference, tuple(units), start, draw.seed))
        return cls(tuple(parts), total, draw, len(draw.rows(total)), _fitting(store, split, fit_pairs))

    def each(self, name: str, step: Callable[[str, str, PartConfig], Step]) -> dict[str, Step]:
        """Return a step a part, by input name; `step` takes the step's name, the input name and the part."""
        return {
            (key := f"part-{number:05d}"): step(f"{name}/{number:05d}", key, part)
            for number, part in enumerate(self.parts)
        }


def _fitting(store: EmbeddingStore, measured: Split, fit_pairs: int) -> FitConfig:
    """Fit on units of the train split from all over the store; without any, on the measured pairs."""
    split: Split = "train" if store.pairs_in("train") else measured
    chosen = spread_units(store, split, fit_pairs)
    return FitConfig(StoreReference(store.uri, store.fingerprint, split), chosen, fit_pairs)


def spread_units(store: EmbeddingStore, split: Split, pairs: int) -> tuple[str, ...]:
    """Return units from all over the store that hold about so many pairs of a split, of which there are some."""
    units = [unit for _, unit, count in split_units(store, split) if count]
    wanted = max(1, ceil(len(units) * min(1, pairs / store.pairs_in(split))))
    return tuple(units[number * len(units) // wanted] for number in range(wanted))


class EmbeddingSteps:
    """The steps that no SAE changes: all SAEs share them."""

    def __init__(self, measured: MeasuredPairs) -> None:
        draw, on_drawn = measured.draw, DrawnConfig(measured.draw, measured.drawn)

        def means(name: str, _: str, part: PartConfig) -> Step:
            return Step(name, sum_embeddings, EmbeddingsPartConfig(part, draw, measured.pairs), memory=_GIGABYTE)

        self.pairs = Step(
            "embeddings/pairs",
            merge_embeddings,
            PairsConfig(measured.parts[0].store, draw, measured.pairs),
            measured.each("embeddings/means", means),
        )
        self.fit = Step("embeddings/fit", fit, measured.fitting)
        inputs = {"pairs": self.pairs, "fit": self.fit}

        def search(name: str, _: str, part: PartConfig) -> Step:
            return Step(name, search_part, SearchPartConfig(part, on_drawn), inputs, memory=_GIGABYTE)

        self.geometry = Step("embeddings/geometry", measure_geometry, on_drawn, inputs, memory=_GIGABYTE)
        self.retrieval = Step(
            "embeddings/retrieval", merge_search, on_drawn, {**inputs, **measured.each("embeddings/search", search)}
        )


class SaeSteps:
    """The steps of one SAE."""

    def __init__(self, sae: SaeReference, atoms: int, measured: MeasuredPairs, embeddings: EmbeddingSteps) -> None:
        name, draw = step_prefix(sae), measured.draw
        on_drawn = DrawnConfig(draw, measured.drawn, sae)
        of_atoms = _GIGABYTE + _BYTES_A_MEETING * atoms**2

        def encode(step: str, _: str, part: PartConfig) -> Step:
            return Step(step, encode_part, CodesConfig(part, sae), memory=of_atoms)

        codes = measured.each(f"{name}/codes", encode)
        self.statistics = Step(f"{name}/statistics", merge_parts, StatisticsConfig(sae), codes, memory=of_atoms)
        self.fit = Step(f"{name}/fit", fit, replace(measured.fitting, sae=sae), memory=of_atoms)
        held = Step(f"{name}/held", encode_held, HeldConfig(sae, measured.drawn), {"pairs": embeddings.pairs})
        drawn = {"pairs": embeddings.pairs, "fit": self.fit, "held": held}

        def search(step: str, key: str, part: PartConfig) -> Step:
            inputs = {**drawn, "codes": codes[key]}
            return Step(step, search_part, SearchPartConfig(part, on_drawn), inputs, memory=_GIGABYTE)

        self.retrieval = Step(
            f"{name}/retrieval", merge_search, on_drawn, {**drawn, **measured.each(f"{name}/search", search)}
        )
        self.rivals = Step(
            f"{name}/rivals",
            compare_rivals,
            None,
            {"retrieval": self.retrieval, "original": embeddings.retrieval},
        )
        self.geometry = Step(
            f"{name}/geometry",
            measure_geometry,
            on_drawn,
            {**drawn, "statistics": self.statistics},
            memory=_GIGABYTE,
        )
        self.bridges = Step(
            f"{name}/bridges",
            measure_bridges,
            BridgesConfig(sae, draw.sample, draw.seed),
            {"statistics": self.statistics, "held": held},
            memory=of_atoms,
        )

        def bridge_sums(step: str, key: str, part: PartConfig) -> Step:
            inputs = {"codes": codes[key], "bridges": self.bridges}
            return Step(step, sum_bridge_part, BridgePartConfig(part.first_pair, part.seed), inputs)

        self.bridge_intervals = Step(
            f"{name}/bridge-intervals",
            merge_bridge_parts,
            None,
            {
                "statistics": self.statistics,
                "bridges": self.bridges,
                **measured.each(f"{name}/bridge-sums", bridge_sums),
            },
        )
        self.dictionary = Step(
            f"{name}/dictionary",
            measure_dictionary,
            DictionaryConfig(sae, draw, measured.drawn),
            {"pairs": embeddings.pairs, "held": held, "statistics": self.statistics},
            memory=of_atoms,
        )

        def rank(step: str, key: str, part: PartConfig) -> Step:
            return Step(step, rank_part, RankConfig(part.first_pair, atoms), {"codes": codes[key]}, memory=_GIGABYTE)

        self.top_pairs = Step(f"{name}/top-pairs", merge_ranks, TopPairsConfig(), measured.each(f"{name}/ranks", rank))
        self.exemplars = Step(
            f"{name}/exemplars",
            write_exemplars,
            ExemplarConfig(measured.parts[0].store),
            {"statistics": self.statistics, "tops": self.top_pairs},
        )
        self.projection = Step(
            f"{name}/projection",
            write_projection,
            ProjectionConfig(sae, draw.sample),
            {"fit": self.fit, "held": held},
        )
        self.spectra = Step(f"{name}/spectra", write_spectra, None, {"statistics": self.statistics})
        self.atom_map = Step(
            f"{name}/atom-map",
            write_atom_map,
            AtomMapConfig(sae, draw.seed),
            {"statistics": self.statistics},
            memory=of_atoms,
        )


class ExplorerSteps:
    """The steps of what the report's explorer shows of one SAE."""

    def __init__(self, sae: SaeReference, atoms: int, measured: MeasuredPairs, steps: SaeSteps, explored: int) -> None:
        """`explored`: how many SAEs share the report."""
        name = step_prefix(sae)

        def picture(step: str, _: str, part: PartConfig) -> Step:
            return Step(step, picture_part, PicturesConfig(part), {"tops": steps.top_pairs}, memory=_GIGABYTE)

        self.partners = Step(
            f"{name}/partners",
            find_partners,
            PartnersConfig(sae),
            {"statistics": steps.statistics},
            memory=_GIGABYTE + _BYTES_A_MEETING * atoms**2,
        )
        self.explorer = Step(
            f"{name}/explorer",
            gather_explorer,
            ExplorerConfig(STRIP_BYTES // explored),
            {
                "statistics": steps.statistics,
                "tops": steps.top_pairs,
                "bridge": self.partners,
                **measured.each(f"{name}/pictures", picture),
            },
            memory=_GIGABYTE,
        )


class EvaluationGraph:
    """All steps of an evaluation; SAEs by their place."""

    def __init__(self, measured: MeasuredPairs, saes: Mapping[str, SparseAutoencoder]) -> None:
        self.embeddings = EmbeddingSteps(measured)
        references = {place: sae_reference(place, sae) for place, sae in saes.items()}
        self.saes = {
            place: SaeSteps(references[place], sae.config.atoms, measured, self.embeddings)
            for place, sae in saes.items()
        }
        real = [place for place, sae in saes.items() if not sae.config.null]
        self.explorers = {
            place: ExplorerSteps(
                references[place], saes[place].config.atoms, measured, self.saes[place], explored=len(real)
            )
            for place in real
        }
        first = next(iter(saes))
        few = len(saes) <= _MOST_COMPARED
        pairs = combinations(saes, 2) if few else ((first, other) for other in list(saes)[1:])
        self.stability = {
            (a, b): Step(
                f"stability/{step_prefix(references[a])}~{step_prefix(references[b])}",
                measure_stability,
                StabilityConfig(references[a], references[b], measured.draw.seed),
                {"first": self.saes[a].statistics, "second": self.saes[b].statistics},
                memory=_GIGABYTE + _BYTES_A_MEETING * saes[a].config.atoms * saes[b].config.atoms,
            )
            for a, b in pairs
        }

    @property
    def targets(self) -> list[Step]:
        """The steps whose results are wanted."""
        found = [*vars(self.embeddings).values(), *self.stability.values()]
        of_saes = (*self.saes.values(), *self.explorers.values())
        return found + [step for parts in of_saes for step in vars(parts).values()]


def sae_reference(place: str, sae: Autoencoder) -> SaeReference:
    """Return what a step knows of an SAE; the same weights with another k, say, are another SAE."""
    what = json.dumps([sae.digest, asdict(sae.config)], sort_keys=True)
    digest = hashlib.sha256(what.encode()).hexdigest()
    return SaeReference(place if place.startswith(HUB) else absolute_uri(place), digest)


def sae_name(place: str) -> str:
    """Return the last part of an SAE's place."""
    return place.rstrip("/").rsplit("/", 1)[-1]


def step_prefix(sae: SaeReference) -> str:
    """Return the first part of the names of an SAE's steps."""
    return f"{sae_name(sae.place)}-{sae.digest[:6]}"
