"""The evaluation as a graph of steps: what no SAE changes, then each SAE's, then SAEs against each other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

from isoenergy.evaluation.atom_map import AtomMapConfig, write_atom_map
from isoenergy.evaluation.comparison import (
    DifferenceConfig,
    StabilityConfig,
    compare_rivals,
    measure_difference,
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
from isoenergy.evaluation.fit import fit
from isoenergy.evaluation.measured_bridges import (
    BridgePartConfig,
    BridgesConfig,
    measure_bridges,
    merge_bridge_parts,
    sum_bridge_part,
)
from isoenergy.evaluation.measured_geometry import measure_geometry
from isoenergy.evaluation.measured_retrieval import SearchPartConfig, merge_search, search_part
from isoenergy.evaluation.measured_rows import (
    DrawnConfig,
    PartConfig,
    SaeReference,
)
from isoenergy.evaluation.spectra import write_spectra
from isoenergy.evaluation.top_pairs import RankConfig, TopPairsConfig, merge_ranks, rank_part
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from workflows.evaluation import step_memory
from workflows.evaluation.evaluated_saes import by_seed, sae_reference, step_prefix
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.steps.step_plan import Step

STRIP_BYTES = 13_500_000
"""Thumbnails in the report; base64 makes a third more of them."""
_MOST_COMPARED = 6
"""SAEs of which every pair of dictionaries is compared; more are compared with the first alone."""


@dataclass(frozen=True)
class RefittedSteps:
    """What the interventions come to when they are fitted on the measured store itself, beside another's."""

    geometry: Step
    retrieval: Step


class EmbeddingSteps:
    """The steps that no SAE changes: all SAEs share them."""

    def __init__(self, measured: MeasuredPairs) -> None:
        draw, drawn, store = measured.draw, DrawnConfig(measured.draw, measured.drawn), measured.parts[0].store

        def of_means(part: PartConfig) -> EmbeddingsPartConfig:
            return EmbeddingsPartConfig(part, draw, measured.pairs)

        def of_search(part: PartConfig) -> SearchPartConfig:
            return SearchPartConfig(part, drawn)

        make, some = measured.steps("embeddings"), step_memory.GIGABYTE
        means = make.each("means", sum_embeddings, of_means, memory=some)
        whole = PairsConfig(store, draw, measured.pairs, measured.parts)
        self.pairs = make.one("pairs", merge_embeddings, whole, means)
        self.fit = make.fit(measured.fitting)
        inputs = {"pairs": self.pairs, "fit": self.fit}
        self.geometry = make.one("geometry", measure_geometry, drawn, inputs, memory=some)
        search = make.each("search", search_part, of_search, inputs, memory=some)
        self.retrieval = make.one("retrieval", merge_search, drawn, {**inputs, **search})
        self.refitted: RefittedSteps | None = None
        if measured.refitting is not None:
            inputs = {"pairs": self.pairs, "fit": make.one("refit", fit, measured.refitting)}
            search = make.each("refitted-search", search_part, of_search, inputs, memory=some)
            self.refitted = RefittedSteps(
                make.one("refitted-geometry", measure_geometry, drawn, inputs, memory=some),
                make.one("refitted-retrieval", merge_search, drawn, {**inputs, **search}),
            )


class HeadlineSteps:
    """The steps that make what an evaluation comes to, for one SAE."""

    def __init__(
        self,
        sae: SaeReference,
        config: SaeConfig,
        measured: MeasuredPairs,
        embeddings: EmbeddingSteps,
        whole: bool = False,
    ) -> None:
        """whole: measure all variants of the embeddings, not only those that the headline names."""
        self._drawn = DrawnConfig(measured.draw, measured.drawn, sae, headline=not whole)

        def of_codes(part: PartConfig) -> CodesConfig:
            return CodesConfig(part, sae)

        make, some = measured.steps(step_prefix(sae)), step_memory.GIGABYTE
        much = step_memory.meetings(config.atoms, config.k, measured.pairs)
        encoding = step_memory.encoding(config.atoms, config.k, measured.part_pairs)
        self._codes = make.each("codes", encode_part, of_codes, memory=encoding)
        self._fitting = step_memory.encoding(config.atoms, config.k, measured.fitted_pairs)
        self.fit = make.fit(measured.fitting, sae, self._fitting)
        self._fitted = {"fit": self.fit}
        summed = {**self._fitted, **self._codes}
        self.statistics = make.one(
            "statistics", merge_parts, StatisticsConfig(sae, measured.fits_here), summed, memory=much
        )
        self._pairs, self._statistics = {"pairs": embeddings.pairs}, {"statistics": self.statistics, **self._fitted}
        self._held = {"held": make.one("held", encode_held, HeldConfig(sae, measured.drawn), self._pairs)}
        self._rows = {**self._pairs, **self._fitted, **self._held}
        self._original = {"original": embeddings.retrieval}

        search = make.each("search", search_part, self._of_search, self._rows, self._codes, memory=some)
        merged = {**self._rows, **self._original, **search}
        self.retrieval = make.one("retrieval", merge_search, self._drawn, merged)
        self.rivals = make.one("rivals", compare_rivals, None, {"retrieval": self.retrieval, **self._original})
        inputs = {**self._rows, **self._statistics}
        self.geometry = make.one("geometry", measure_geometry, self._drawn, inputs, memory=some)

    def _of_search(self, part: PartConfig) -> SearchPartConfig:
        return SearchPartConfig(part, self._drawn)


class SaeSteps(HeadlineSteps):
    """All steps of one SAE."""

    def __init__(
        self, sae: SaeReference, config: SaeConfig, measured: MeasuredPairs, embeddings: EmbeddingSteps
    ) -> None:
        super().__init__(sae, config, measured, embeddings, whole=True)
        draw, store = measured.draw, measured.parts[0].store
        codes, fitted, pairs, statistics, held = self._codes, self._fitted, self._pairs, self._statistics, self._held

        def of_sums(part: PartConfig) -> BridgePartConfig:
            return BridgePartConfig(part.seed)

        def of_ranks(part: PartConfig) -> RankConfig:
            return RankConfig(part.first_pair, config.atoms)

        make, some = measured.steps(step_prefix(sae)), step_memory.GIGABYTE
        much = step_memory.meetings(config.atoms, config.k, measured.pairs)
        transported = step_memory.transport(config.atoms, config.atoms, config.k, measured.pairs)
        bridged = BridgesConfig(sae, draw.sample, draw.seed)
        self.bridges = make.one("bridges", measure_bridges, bridged, {**statistics, **held}, memory=transported)
        bridges = {"bridges": self.bridges}
        sums = make.each("bridge-sums", sum_bridge_part, of_sums, bridges, codes)
        self.bridge_intervals = make.one(
            "bridge-intervals", merge_bridge_parts, None, {**statistics, **bridges, **sums}
        )

        described = DictionaryConfig(sae, draw, measured.drawn)
        inputs = {**pairs, **held, "statistics": self.statistics}
        self.dictionary = make.one("dictionary", measure_dictionary, described, inputs, memory=much)
        ranks = make.each("ranks", rank_part, of_ranks, codes=codes, memory=some)
        self.top_pairs = make.one("top-pairs", merge_ranks, TopPairsConfig(), ranks)
        tops = {**statistics, "tops": self.top_pairs}
        self.exemplars = make.one("exemplars", write_exemplars, ExemplarConfig(store, measured.parts), tops)
        projected = {**fitted, **held}
        self.projection = make.one("projection", write_projection, ProjectionConfig(sae, draw.sample), projected)
        self.spectra = make.one("spectra", write_spectra, None, statistics)
        of_map = {"statistics": self.statistics}
        self.atom_map = make.one("atom-map", write_atom_map, AtomMapConfig(sae, draw.seed), of_map, memory=much)
        self.refitted: RefittedSteps | None = None
        if measured.refitting is not None:
            refit = make.one("refit", fit, replace(measured.refitting, sae=sae), memory=self._fitting)
            rows = {**self._rows, "fit": refit}
            search = make.each("refitted-search", search_part, self._of_search, rows, codes, memory=some)
            self.refitted = RefittedSteps(
                make.one("refitted-geometry", measure_geometry, self._drawn, {**statistics, **rows}, memory=some),
                make.one("refitted-retrieval", merge_search, self._drawn, {**rows, **self._original, **search}),
            )


class ExplorerSteps:
    """The steps of what the report's explorer shows of one SAE."""

    def __init__(
        self, sae: SaeReference, config: SaeConfig, measured: MeasuredPairs, steps: SaeSteps, explored: int
    ) -> None:
        """`explored`: how many SAEs share the report."""

        def of_pictures(part: PartConfig) -> PicturesConfig:
            return PicturesConfig(part, measured.source, measured.reading)

        make, some = measured.steps(step_prefix(sae)), step_memory.GIGABYTE
        much = step_memory.meetings(config.atoms, config.k, measured.pairs)
        statistics, tops = {"statistics": steps.statistics}, {"tops": steps.top_pairs}
        self.partners = make.one("partners", find_partners, PartnersConfig(sae), statistics, memory=much)
        pictures = make.each("pictures", picture_part, of_pictures, tops, memory=some)
        inputs = {**statistics, "fit": steps.fit, **tops, "bridge": self.partners, **pictures}
        self.explorer = make.one(
            "explorer", gather_explorer, ExplorerConfig(STRIP_BYTES // explored), inputs, memory=some
        )


class EvaluationGraph:
    """All steps of an evaluation; SAEs by their URI.

    Of several that differ in nothing but the seed, the first is measured whole, and the others are asked what the
    evaluation comes to.
    """

    def __init__(self, measured: MeasuredPairs, given: Mapping[str, SparseAutoencoder]) -> None:
        self.embeddings = EmbeddingSteps(measured)
        references = {uri: sae_reference(uri, sae) for uri, sae in given.items()}
        self.seeds = by_seed(given)
        saes = {uri: given[uri] for uri in self.seeds}
        self.saes = {uri: SaeSteps(references[uri], sae.config, measured, self.embeddings) for uri, sae in saes.items()}
        self.repeats = {
            uri: HeadlineSteps(references[uri], given[uri].config, measured, self.embeddings)
            for _, *others in self.seeds.values()
            for uri in others
        }
        self.differences = self._differences(given, references)
        real = [uri for uri, sae in saes.items() if not sae.config.null]
        self.explorers = {
            uri: ExplorerSteps(references[uri], saes[uri].config, measured, self.saes[uri], explored=len(real))
            for uri in real
        }
        first = next(iter(saes))
        few = len(saes) <= _MOST_COMPARED
        pairs = [*(combinations(saes, 2) if few else ((first, other) for other in list(saes)[1:]))]
        pairs += [(uris[0], uris[1]) for uris in self.seeds.values() if len(uris) > 1]
        self.stability = {
            (a, b): Step(
                f"stability/{step_prefix(references[a])}~{step_prefix(references[b])}",
                measure_stability,
                StabilityConfig(references[a], references[b], measured.draw.seed),
                {"first": self.headline(a).statistics, "second": self.headline(b).statistics},
                memory=self._comparing(given[a].config, given[b].config, measured.pairs),
            )
            for a, b in pairs
        }

    def _differences(
        self, saes: Mapping[str, SparseAutoencoder], references: Mapping[str, SaeReference]
    ) -> dict[tuple[str, str], Step]:
        """Return how far each aligned SAE is above its like without alignment and its null models, seed by seed.

        By its URI, and that of the first of the others.
        """
        found = {}
        for first, other in permutations(self.seeds, 2):
            config = saes[first].config
            if config.null or not config.beta:
                continue
            if saes[other].config not in (replace(config, beta=0.0), replace(config, null=True)):
                continue
            others = self.seeds[other]
            for number, uri in enumerate(self.seeds[first]):
                against = others[number] if number < len(others) else other
                inputs = {
                    f"{which}-{name}": getattr(self.headline(each), name)
                    for which, each in (("first", uri), ("second", against))
                    for name in ("statistics", "fit", "geometry")
                }
                name = f"difference/{step_prefix(references[uri])}~{step_prefix(references[against])}"
                found[uri, other] = Step(name, measure_difference, DifferenceConfig(config.dim), inputs)
        return found

    @staticmethod
    def _comparing(first: SaeConfig, second: SaeConfig, pairs: int) -> int:
        return step_memory.transport(first.atoms, second.atoms, max(first.k, second.k), pairs)

    def headline(self, uri: str) -> HeadlineSteps:
        """Return the steps of an SAE that every SAE has."""
        return self.saes[uri] if uri in self.saes else self.repeats[uri]

    @property
    def targets(self) -> list[Step]:
        """The steps whose results are wanted."""
        groups: list[Any] = [self.embeddings, *self.saes.values(), *self.repeats.values(), *self.explorers.values()]
        groups += filter(None, [self.embeddings.refitted, *(steps.refitted for steps in self.saes.values())])
        steps = [step for group in groups for step in vars(group).values() if isinstance(step, Step)]
        return steps + list(self.stability.values()) + list(self.differences.values())
