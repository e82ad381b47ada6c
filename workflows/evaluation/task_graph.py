"""The tasks as steps: the rows of each are made once, and measured as they are and as each SAE rebuilds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isoenergy.errors import InputError
from isoenergy.evaluation.fit import spread_units
from isoenergy.evaluation.measured_rows import SaeReference, StoreReference
from isoenergy.evaluation.tasks.outside_sets import (
    CocoConfig,
    FashionIQConfig,
    ImageNetConfig,
    coco_images,
    make_coco,
    make_fashioniq,
    make_imagenet_probe,
    make_imagenet_zero_shot,
)
from isoenergy.evaluation.tasks.task_columns import BUNDLED
from isoenergy.evaluation.tasks.task_inputs import (
    ImagesConfig,
    StoreEncoder,
    TaskPairsConfig,
    embed_images,
    gather_pairs,
    require_columns,
)
from isoenergy.evaluation.tasks.task_measures import (
    MeasureConfig,
    measure_composed,
    measure_mixed,
    measure_probe,
    measure_retrieval,
    measure_zero_shot,
)
from isoenergy.evaluation.tasks.task_sets import (
    ComposedConfig,
    MixedConfig,
    ZeroShotConfig,
    make_composed,
    make_mixed,
    make_probe,
    make_zero_shot,
)
from isoenergy.pairs.splits import Pairs
from isoenergy.storage.files import absolute_uri, file_digest, open_filesystem
from isoenergy.store import EmbeddingStore
from isoenergy.tasks.prompts import load_templates
from isoenergy.tasks.triplets import read_triplets
from workflows.evaluation.evaluated_saes import step_prefix
from workflows.evaluation.evaluation_graph import EvaluationGraph
from workflows.evaluation.task_config import TasksConfig
from workflows.steps import step_plan
from workflows.steps.step_plan import Step, StepFunction

_GIGABYTE = 2**30
_MEASURES: dict[str, StepFunction] = {
    "zero_shot": measure_zero_shot,
    "linear_probe": measure_probe,
    "mixed_retrieval": measure_mixed,
    "retrieval": measure_retrieval,
    "composed_retrieval": measure_composed,
}


_OF_ALL_TRAININGS = ("mixed_retrieval",)
"""What all trainings are asked: where a gap shows most."""


@dataclass(frozen=True)
class MeasuredTask:
    """A task on one set of rows: the step that makes these, and those that measure it."""

    kind: str
    """One of `_MEASURES`."""
    name: str
    title: str
    made: Step
    measured: Mapping[str | None, Step]
    """By the SAE's URI; None: on the embeddings themselves."""


class TaskSteps:
    """All tasks that a configuration asks for."""

    def __init__(
        self, config: TasksConfig, store: EmbeddingStore, split: Pairs, seed: int, evaluation: EvaluationGraph
    ) -> None:
        """Plan the steps. Raises InputError if the store lacks a column, or other data is not what it should be."""
        self._config, self._store, self._seed = config, store, seed
        self._fits: dict[str | None, tuple[SaeReference | None, str, Step]] = {
            None: (None, "embeddings", evaluation.embeddings.fit)
        }
        self._seeds = evaluation.seeds
        self._repeated_fits: dict[str | None, tuple[SaeReference | None, str, Step]] = {}
        for fits, saes in ((self._fits, evaluation.saes), (self._repeated_fits, evaluation.repeats)):
            for uri, measured in saes.items():
                sae: SaeReference = measured.fit.config.sae
                fits[uri] = sae, step_prefix(sae), measured.fit
        self._encoder = StoreEncoder(store.uri, store.manifest, store.manifest.encoder_digest, store.manifest.precision)
        self.tasks: list[MeasuredTask] = []
        if config.with_pairs:
            require_columns(store, config.columns)
            self._on_pairs(self._pairs("tasks/pairs", split), split)
        if config.imagenet:
            self._on_imagenet()
        if config.coco:
            self._on_coco()
        if config.fashioniq:
            self._on_fashioniq()

    @property
    def targets(self) -> list[Step]:
        """The steps whose results are wanted."""
        return [step for task in self.tasks for step in (task.made, *task.measured.values())]

    def results(self, names: Mapping[str, str], root: str) -> list[dict[str, Any]]:
        """Return what was measured, task by task, once all is done; names: the SAEs', by URI.

        `what` is a sentence with protocol, numbers and chance; `made`: what was left out, and why. A row is one kind of
        embeddings, with the name of the SAE or None, and a group of queries where there are several.
        """
        found = []
        for task in self.tasks:
            made = step_plan.result(task.made, root)
            measured = {uri: step_plan.result(step, root) for uri, step in task.measured.items()}
            of = {uri: None if uri is None else names[uri] for uri in measured}
            rows = [
                {"sae": of[uri], **row, **self._repeats(uri, number, measured)}
                for uri, result in measured.items()
                if uri not in self._repeated_fits
                for number, row in enumerate(result["rows"])
            ]
            shares = [
                {"sae": of[uri], "embeddings": name, "shares": share}
                for uri, result in measured.items()
                for name, share in result.get("histogram", {}).get("shares", {}).items()
            ]
            found.append(
                {
                    "task": task.kind,
                    "name": task.name,
                    "title": task.title,
                    "what": measured[None].get("what", made["what"]),
                    "made": {name: value for name, value in made.items() if name != "what"},
                    "measures": list(rows[0]["values"]),
                    "rows": rows,
                    **(
                        {"histogram": {"edges": measured[None]["histogram"]["edges"], "shares": shares}}
                        if shares
                        else {}
                    ),
                }
            )
        return found

    def _repeats(
        self, uri: str | None, number: int, measured: Mapping[str | None, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return what further trainings of an SAE came to in one of its rows, if they were asked."""
        others = self._seeds[uri][1:] if uri is not None else []
        values = [measured[other]["rows"][number]["values"] for other in others if other in measured]
        return {"repeats": values} if values else {}

    def _on_pairs(self, pairs: Step, split: Pairs) -> None:
        config, given = self._config, {"pairs": pairs}
        templates = load_templates(config.templates) if config.zero_shot else ()
        for classes in config.classes("zero_shot"):
            step = self._with_encoder(
                f"tasks/zero-shot-set/{classes.column}",
                make_zero_shot,
                ZeroShotConfig(classes, self._encoder, templates),
                given,
            )
            self._add("zero_shot", f"zero-shot/{classes.column}", f"Zero-shot classification by {classes.column}", step)
        if config.probe:
            if split in ("train", "all") or not self._store.pairs_in("train"):
                raise InputError(
                    "a linear probe is trained on the train split and tested on another: give --split test"
                )
            given = {"train": self._pairs("tasks/train-pairs", "train"), **given}
        for classes in config.classes("probe"):
            step = Step(f"tasks/probe-set/{classes.column}", make_probe, classes, given, memory=_GIGABYTE)
            self._add("linear_probe", f"probe/{classes.column}", f"Linear probe of {classes.column}", step)
        given = {"pairs": pairs}
        if config.relevance:
            mixed = MixedConfig(config.relevance, config.queries, self._seed)
            step = Step("tasks/mixed-set", make_mixed, mixed, given, memory=_GIGABYTE)
            self._add("mixed_retrieval", "mixed-retrieval", "Images and texts in one gallery", step)
        if config.composed:
            uri, digest = _triplets(config.composed)
            composed = ComposedConfig(uri, digest, self._encoder)
            step = self._with_encoder("tasks/composed-set", make_composed, composed, given)
            self._add("composed_retrieval", "composed-retrieval", "Composed retrieval: an image and a change", step)

    def _on_imagenet(self) -> None:
        config = self._config
        uri = absolute_uri(config.imagenet)
        settings = ImageNetConfig(
            uri,
            config.imagenet_names and absolute_uri(config.imagenet_names),
            config.images_per_class,
            "",
            self._encoder,
            load_templates(config.templates),
        )
        listed = settings.listed()
        settings = replace(settings, digest="".join(images.digest for images in listed.values()))
        parts = {
            part: self._images(f"tasks/imagenet-{part}", part, images.uri, images.files, images.digest)
            for part, images in listed.items()
        }
        step = self._with_encoder("tasks/imagenet-zero-shot-set", make_imagenet_zero_shot, settings, parts["val"])
        self._add("zero_shot", "zero-shot/imagenet", "Zero-shot classification, ImageNet folder", step, 2 * _GIGABYTE)
        if "train" in parts:
            both = {**parts["train"], **parts["val"]}
            step = Step("tasks/imagenet-probe-set", make_imagenet_probe, settings, both, memory=2 * _GIGABYTE)
            self._add("linear_probe", "probe/imagenet", "Linear probe, ImageNet folder", step, 4 * _GIGABYTE)

    def _on_coco(self) -> None:
        config = self._config
        uri, images = absolute_uri(config.coco), absolute_uri(config.coco_images)
        names, digest = coco_images(uri, images, config.pairs)
        parts = self._images("tasks/coco-images", "images", images, names, digest)
        settings = CocoConfig(uri, images, digest, config.pairs, config.queries, self._seed, self._encoder)
        step = self._with_encoder("tasks/coco-set", make_coco, settings, parts)
        self._add("retrieval", "retrieval/coco", "Retrieval both ways, COCO captions", step)
        self._add("mixed_retrieval", "mixed-retrieval/coco", "Images and texts in one gallery, COCO captions", step)

    def _on_fashioniq(self) -> None:
        settings = FashionIQConfig(absolute_uri(self._config.fashioniq), "", self._encoder)
        listed = settings.listed()
        settings = replace(settings, digest=listed.digest)
        parts = self._images("tasks/fashioniq-images", "images", listed.images, listed.files, listed.digest)
        step = self._with_encoder("tasks/fashioniq-set", make_fashioniq, settings, parts)
        self._add("composed_retrieval", "composed-retrieval/fashioniq", "Composed retrieval, FashionIQ", step)

    def _pairs(self, name: str, split: Pairs) -> Step:
        reference = StoreReference.of(self._store, split)
        chosen = spread_units(self._store, split, self._config.pairs)
        return Step(name, gather_pairs, TaskPairsConfig(reference, chosen, self._config.pairs, self._config.columns))

    def _images(self, name: str, key: str, folder: str, files: Sequence[str], digest: str) -> dict[str, Step]:
        """Return a step a part of a list of image files, by input name."""
        size, reading = self._config.part_images, self._store.manifest.image_reading
        found = {}
        for number, first in enumerate(range(0, len(files), size)):
            part = ImagesConfig(self._encoder, folder, tuple(files[first : first + size]), first, digest, reading)
            found[f"{key}-{number:05d}"] = self._with_encoder(f"{name}/{number:05d}", embed_images, part, {})
        return found

    def _with_encoder(self, name: str, function: StepFunction, config: Any, inputs: Mapping[str, Step]) -> Step:
        return Step(name, function, config, inputs, gpus_if_any=1, memory=2 * _GIGABYTE)

    def _add(self, kind: str, name: str, title: str, made: Step, memory: int = _GIGABYTE) -> None:
        fits = self._fits | (self._repeated_fits if kind in _OF_ALL_TRAININGS else {})
        measured = {
            uri: Step(
                f"{prefix}/{name}",
                _MEASURES[kind],
                MeasureConfig(sae, self._seed),
                {"set": made, "fit": fit},
                memory=memory,
            )
            for uri, (sae, prefix, fit) in fits.items()
        }
        self.tasks.append(MeasuredTask(kind, name, title, made, measured))


def _triplets(uri: str) -> tuple[str, str]:
    """Return where triplets come from, and the digest of a file."""
    if uri == BUNDLED:
        return uri, ""
    filesystem, path = open_filesystem(uri)
    if not filesystem.isfile(path):
        raise InputError(f"{uri} does not exist; give {BUNDLED}, or a .parquet or .jsonl file of triplets")
    read_triplets(uri)  # what is wrong with it is said before anything is done
    return absolute_uri(uri), file_digest(filesystem, path)
