"""The evaluation as a graph of steps: what no SAE changes, then each SAE's, then SAEs against each other."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations, permutations
from typing import Any, Self

from isoenergy.errors import InputError
from isoenergy.evaluation.atom_map import AtomMapConfig, write_atom_map
from isoenergy.evaluation.carried import Carried, CarriedConfig, carried_by, take_carried
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
from isoenergy.evaluation.draw import Draw
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
from isoenergy.evaluation.fit import FitConfig, fit, spread_fit
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
    StoreReference,
    UnitRows,
    split_units,
)
from isoenergy.evaluation.spectra import write_spectra
from isoenergy.evaluation.top_pairs import RankConfig, TopPairsConfig, merge_ranks, rank_part
from isoenergy.pairs.source import SourceConfig
from isoenergy.pairs.splits import Pairs
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.fetching import HUB
from isoenergy.sae.joint import Autoencoder
from isoenergy.sae.sae_config import FITTED_FILE
from isoenergy.settings.image_choices import UNRECORDED, ImageReading
from isoenergy.storage.files import absolute_uri
from isoenergy.store import EmbeddingStore
from workflows.steps.step_plan import Step, StepFunction

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
    fitting: FitConfig | CarriedConfig
    refitting: FitConfig | None = None
    """What could be fitted on the measured store itself, where `fitting` is of another: adaptation beside transfer."""
    source: SourceConfig | None = None
    """Where the pairs' images are."""
    reading: ImageReading = UNRECORDED

    @classmethod
    def of(
        cls,
        store: EmbeddingStore,
        split: Pairs,
        draw: Draw,
        fit_pairs: int,
        part_pairs: int,
        fit_on: EmbeddingStore | CarriedConfig | None = None,
    ) -> Self:
        """Cut the pairs of `split`, of which there are some, into parts of at least `part_pairs`, but the last.

        fit_on: a store to fit on, if it is not `store`, or what the SAEs carry of theirs. Raises InputError if a store
        has no train split, or if every pair is measured and some would be fitted on.
        """
        reference = StoreReference.of(store, split)
        parts: list[PartConfig] = []
        units: list[UnitRows] = []
        start = total = 0
        for unit in split_units(store, split):
            units.append(unit)
            total += unit.pairs
            if total - start >= part_pairs:
                parts.append(PartConfig(reference, tuple(units), start, draw.seed))
                units, start = [], total
        if units:
            parts.append(PartConfig(reference, tuple(units), start, draw.seed))
        fitting, refitting = _fitting(store, split, fit_pairs), None
        elsewhere = _elsewhere(store, fit_on, fit_pairs)
        if elsewhere is not None:
            refitting = fitting if fitting.store.split == "train" and split not in ("train", "all") else None
        elif split == "all" and not isinstance(fit_on, EmbeddingStore):
            raise InputError(
                "--split all measures on the pairs too that classes and means are fitted on; give --fit-store, the "
                "store that the SAEs were trained on, or another split"
            )
        return cls(
            tuple(parts),
            total,
            draw,
            len(draw.rows(total)),
            elsewhere or fitting,
            refitting,
            store.manifest.source_config,
            store.manifest.image_reading,
        )

    def steps(self, prefix: str) -> "StepMaker":
        """Return what makes steps over these pairs whose names begin with `prefix`."""
        return StepMaker(prefix, self.parts)


@dataclass(frozen=True)
class StepMaker:
    """Makes steps whose names have the same beginning: a step a line, which says its function, config and inputs."""

    prefix: str
    parts: tuple[PartConfig, ...]

    def one(
        self, name: str, function: StepFunction, config: Any, inputs: Mapping[str, Step] | None = None, memory: int = 0
    ) -> Step:
        """Return one step; memory: see `Step`."""
        return Step(f"{self.prefix}/{name}", function, config, inputs or {}, memory=memory)

    def fit(self, fitting: FitConfig | CarriedConfig, sae: SaeReference | None = None, memory: int = 0) -> Step:
        """Return the step that fits on the embeddings, or on what an SAE rebuilds, or takes what that carries."""
        if isinstance(fitting, CarriedConfig):
            place = fitting.place if sae is None else sae.place
            return self.one("fit", take_carried, replace(fitting, place=place, sae=sae))
        return self.one("fit", fit, replace(fitting, sae=sae), memory=memory)

    def each(
        self,
        name: str,
        function: StepFunction,
        config: Callable[[PartConfig], Any],
        inputs: Mapping[str, Step] | None = None,
        codes: Mapping[str, Step] | None = None,
        memory: int = 0,
    ) -> dict[str, Step]:
        """Return a step a part of the pairs, by input name.

        codes: steps of the same kind; each step has the one of its part as a further input.
        """
        found = {}
        for number, part in enumerate(self.parts):
            key = f"part-{number:05d}"
            of_part = {**(inputs or {}), **({"codes": codes[key]} if codes else {})}
            found[key] = self.one(f"{name}/{number:05d}", function, config(part), of_part, memory)
        return found


def _fitting(store: EmbeddingStore, measured: Pairs, fit_pairs: int) -> FitConfig:
    """Fit on units of the train split from all over the store; without any, on the measured pairs."""
    return spread_fit(store, "train" if store.pairs_in("train") else measured, fit_pairs)


def _elsewhere(
    store: EmbeddingStore, fit_on: EmbeddingStore | CarriedConfig | None, fit_pairs: int
) -> FitConfig | CarriedConfig | None:
    """Return how to fit on another store than the measured one, if that is asked for."""
    if isinstance(fit_on, CarriedConfig):
        return fit_on if fit_on.carried.store != store.fingerprint else None
    if fit_on is None or fit_on.fingerprint == store.fingerprint:
        return None
    if not fit_on.pairs_in("train"):
        raise InputError(f"{fit_on.uri} has no pairs in its train split to fit on; give another --fit-store")
    return spread_fit(fit_on, "train", fit_pairs)


def carried_by_all(saes: Mapping[str, Autoencoder]) -> Carried | str:
    """Return where the sums come from that all SAEs carry, or why there is no such place."""
    found = {place: carried_by(place) for place in saes}
    lacking = [place for place, carried in found.items() if carried is None]
    if lacking:
        return f"{lacking[0]} carries no {FITTED_FILE} of the store that it was trained on"
    different = list(dict.fromkeys(carried for carried in found.values() if carried is not None))
    return different[0] if len(different) == 1 else "the SAEs were trained on different stores"


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

        make, some = measured.steps("embeddings"), _GIGABYTE
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
        self, sae: SaeReference, atoms: int, measured: MeasuredPairs, embeddings: EmbeddingSteps, whole: bool = False
    ) -> None:
        """whole: measure all variants of the embeddings, not only those that the headline names."""
        self._drawn = DrawnConfig(measured.draw, measured.drawn, sae, headline=not whole)

        def of_codes(part: PartConfig) -> CodesConfig:
            return CodesConfig(part, sae)

        make, some, much = measured.steps(step_prefix(sae)), _GIGABYTE, _GIGABYTE + _BYTES_A_MEETING * atoms**2
        self._codes = make.each("codes", encode_part, of_codes, memory=much)
        self.fit = make.fit(measured.fitting, sae, much)
        self._fitted = {"fit": self.fit}
        summed = {**self._fitted, **self._codes}
        self.statistics = make.one("statistics", merge_parts, StatisticsConfig(sae), summed, memory=much)
        self._pairs, self._statistics = {"pairs": embeddings.pairs}, {"statistics": self.statistics, **self._fitted}
        self._held = {"held": make.one("held", encode_held, HeldConfig(sae, measured.drawn), self._pairs)}
        self._rows = {**self._pairs, **self._fitted, **self._held}

        search = make.each("search", search_part, self._of_search, self._rows, self._codes, memory=some)
        self.retrieval = make.one("retrieval", merge_search, self._drawn, {**self._rows, **search})
        against = {"retrieval": self.retrieval, "original": embeddings.retrieval}
        self.rivals = make.one("rivals", compare_rivals, None, against)
        inputs = {**self._rows, **self._statistics}
        self.geometry = make.one("geometry", measure_geometry, self._drawn, inputs, memory=some)

    def _of_search(self, part: PartConfig) -> SearchPartConfig:
        return SearchPartConfig(part, self._drawn)


class SaeSteps(HeadlineSteps):
    """All steps of one SAE."""

    def __init__(self, sae: SaeReference, atoms: int, measured: MeasuredPairs, embeddings: EmbeddingSteps) -> None:
        super().__init__(sae, atoms, measured, embeddings, whole=True)
        draw, store = measured.draw, measured.parts[0].store
        codes, fitted, pairs, statistics, held = self._codes, self._fitted, self._pairs, self._statistics, self._held

        def of_sums(part: PartConfig) -> BridgePartConfig:
            return BridgePartConfig(part.first_pair, part.seed)

        def of_ranks(part: PartConfig) -> RankConfig:
            return RankConfig(part.first_pair, atoms)

        make, some, much = measured.steps(step_prefix(sae)), _GIGABYTE, _GIGABYTE + _BYTES_A_MEETING * atoms**2
        bridged = BridgesConfig(sae, draw.sample, draw.seed)
        self.bridges = make.one("bridges", measure_bridges, bridged, {**statistics, **held}, memory=much)
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
            refit = make.one("refit", fit, replace(measured.refitting, sae=sae), memory=much)
            rows = {**self._rows, "fit": refit}
            search = make.each("refitted-search", search_part, self._of_search, rows, codes, memory=some)
            self.refitted = RefittedSteps(
                make.one("refitted-geometry", measure_geometry, self._drawn, {**statistics, **rows}, memory=some),
                make.one("refitted-retrieval", merge_search, self._drawn, {**rows, **search}),
            )


class ExplorerSteps:
    """The steps of what the report's explorer shows of one SAE."""

    def __init__(self, sae: SaeReference, atoms: int, measured: MeasuredPairs, steps: SaeSteps, explored: int) -> None:
        """`explored`: how many SAEs share the report."""

        def of_pictures(part: PartConfig) -> PicturesConfig:
            return PicturesConfig(part, measured.source, measured.reading)

        make, some, much = measured.steps(step_prefix(sae)), _GIGABYTE, _GIGABYTE + _BYTES_A_MEETING * atoms**2
        statistics, tops = {"statistics": steps.statistics}, {"tops": steps.top_pairs}
        self.partners = make.one("partners", find_partners, PartnersConfig(sae), statistics, memory=much)
        pictures = make.each("pictures", picture_part, of_pictures, tops, memory=some)
        inputs = {**statistics, "fit": steps.fit, **tops, "bridge": self.partners, **pictures}
        self.explorer = make.one(
            "explorer", gather_explorer, ExplorerConfig(STRIP_BYTES // explored), inputs, memory=some
        )


class EvaluationGraph:
    """All steps of an evaluation; SAEs by their place.

    Of several that differ in nothing but the seed, the first is measured whole, and the others are asked what the
    evaluation comes to.
    """

    def __init__(self, measured: MeasuredPairs, given: Mapping[str, SparseAutoencoder]) -> None:
        self.embeddings = EmbeddingSteps(measured)
        references = {place: sae_reference(place, sae) for place, sae in given.items()}
        self.seeds = by_seed(given)
        saes = {place: given[place] for place in self.seeds}
        self.saes = {
            place: SaeSteps(references[place], sae.config.atoms, measured, self.embeddings)
            for place, sae in saes.items()
        }
        self.repeats = {
            place: HeadlineSteps(references[place], given[place].config.atoms, measured, self.embeddings)
            for _, *others in self.seeds.values()
            for place in others
        }
        self.differences = self._differences(given, references)
        real = [place for place, sae in saes.items() if not sae.config.null]
        self.explorers = {
            place: ExplorerSteps(
                references[place], saes[place].config.atoms, measured, self.saes[place], explored=len(real)
            )
            for place in real
        }
        first = next(iter(saes))
        few = len(saes) <= _MOST_COMPARED
        pairs = [*(combinations(saes, 2) if few else ((first, other) for other in list(saes)[1:]))]
        pairs += [(places[0], places[1]) for places in self.seeds.values() if len(places) > 1]
        self.stability = {
            (a, b): Step(
                f"stability/{step_prefix(references[a])}~{step_prefix(references[b])}",
                measure_stability,
                StabilityConfig(references[a], references[b], measured.draw.seed),
                {"first": self.headline(a).statistics, "second": self.headline(b).statistics},
                memory=_GIGABYTE + _BYTES_A_MEETING * given[a].config.atoms * given[b].config.atoms,
            )
            for a, b in pairs
        }

    def _differences(
        self, saes: Mapping[str, SparseAutoencoder], references: Mapping[str, SaeReference]
    ) -> dict[tuple[str, str], Step]:
        """Return how far each aligned SAE is above its like without alignment and its null models, seed by seed.

        By its place, and the place of the first of the others.
        """
        found = {}
        for first, other in permutations(self.seeds, 2):
            config = saes[first].config
            if config.null or not config.beta:
                continue
            if saes[other].config not in (replace(config, beta=0.0), replace(config, null=True)):
                continue
            others = self.seeds[other]
            for number, place in enumerate(self.seeds[first]):
                against = others[number] if number < len(others) else other
                inputs = {
                    f"{which}-{name}": getattr(self.headline(each), name)
                    for which, each in (("first", place), ("second", against))
                    for name in ("statistics", "fit", "geometry")
                }
                name = f"difference/{step_prefix(references[place])}~{step_prefix(references[against])}"
                found[place, other] = Step(name, measure_difference, DifferenceConfig(config.dim), inputs)
        return found

    def headline(self, place: str) -> HeadlineSteps:
        """Return the steps of an SAE that every SAE has."""
        return self.saes[place] if place in self.saes else self.repeats[place]

    @property
    def targets(self) -> list[Step]:
        """The steps whose results are wanted."""
        groups: list[Any] = [self.embeddings, *self.saes.values(), *self.repeats.values(), *self.explorers.values()]
        groups += filter(None, [self.embeddings.refitted, *(steps.refitted for steps in self.saes.values())])
        steps = [step for group in groups for step in vars(group).values() if isinstance(step, Step)]
        return steps + list(self.stability.values()) + list(self.differences.values())


def by_seed(saes: Mapping[str, Autoencoder]) -> dict[str, list[str]]:
    """Return the places of SAEs that `isoenergy train --seeds` has made together, by that of the first of them.

    They lie beside each other, are called alike but for the seed, `…-seed-0`, `…-seed-1`, and have one configuration.
    """
    groups: dict[tuple[str, Any], list[str]] = {}
    for place, sae in saes.items():
        name = re.sub(r"-seed-\d+$", "-seed", place.rstrip("/"))
        groups.setdefault((name if name != place.rstrip("/") else place, sae.config), []).append(place)
    return {places[0]: places for places in groups.values()}


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
