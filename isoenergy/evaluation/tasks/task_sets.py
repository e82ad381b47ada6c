"""The rows that a task is measured on, made once for all SAEs: of the store's pairs and its encoder's prompts."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from isoenergy.errors import InputError
from isoenergy.evaluation.measured_rows import Inputs, Result, Rows
from isoenergy.evaluation.tasks.task_columns import BUNDLED, LABEL_COLUMNS, ColumnClasses
from isoenergy.evaluation.tasks.task_inputs import StoreEncoder, TaskPairs, encode_texts
from isoenergy.metrics.retrieval import equal_rows
from isoenergy.tasks import linear_probe
from isoenergy.tasks.composed_retrieval import NEIGHBOUR
from isoenergy.tasks.mixed_retrieval import RANK, MixedGallery, draw_kinds
from isoenergy.tasks.prompts import fill
from isoenergy.tasks.triplets import Triplet, labelled_triplets, read_triplets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
else:
    DataclassInstance = object

_SET_FILE = "set.safetensors"
_NAMES = "names"
_NAMED = 5

Integers = npt.NDArray[np.int64]


class TaskSet(DataclassInstance):
    """A base for dataclasses of arrays, and one field `names`."""

    names: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write the set as one safetensors file."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self) if f.name != _NAMES}
        save_file(arrays, folder / _SET_FILE, {_NAMES: json.dumps(self.names)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        with safe_open(folder / _SET_FILE, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            return cls(**{**arrays, _NAMES: tuple(json.loads(file.metadata()[_NAMES]))})


@dataclass(frozen=True)
class ZeroShotSet(TaskSet):
    """Images of classes, and the classes' prompts; all embeddings raw."""

    images: Rows
    """`(n, dim)`"""
    labels: Integers
    """`(n,)`"""
    prompts: Rows
    """`(classes · templates, dim)`, see `isoenergy.tasks.prompts.fill`."""
    names: tuple[str, ...]
    """Of the classes."""


@dataclass(frozen=True)
class ProbeSet(TaskSet):
    """Images of classes, some to train on and others to test on; embeddings raw."""

    train: Rows
    """`(m, dim)`"""
    train_labels: Integers
    test: Rows
    """`(n, dim)`"""
    test_labels: Integers
    names: tuple[str, ...]
    """Of the classes."""


@dataclass(frozen=True)
class MixedSet(TaskSet):
    """Images and texts, what is right for what, and what is looked up; see `MixedGallery`."""

    images: Rows
    """`(n, dim)` raw."""
    texts: Rows
    """`(m, dim)` raw."""
    kinds: Integers
    partner: Integers
    image_label: Integers
    text_label: Integers
    image_same: Integers
    text_same: Integers
    image_queries: Integers
    """Numbers of images."""
    text_queries: Integers
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, images: Rows, texts: Rows, labels: tuple[Integers, Integers], partner: Integers, queries: int, seed: int
    ) -> Self:
        """Draw the documents' kinds and the queries; labels: `(n,)` of images, `(m,)` of texts."""
        same = [equal_rows(rows).astype(np.int64) for rows in (images, texts)]
        gallery = MixedGallery(draw_kinds(len(images), seed), partner, *labels, *same)
        drawn = [
            np.sort(np.random.default_rng(seed).permutation(gallery.answerable(modality))[:queries])
            for modality in ("image", "text")
        ]
        return cls(images, texts, **vars(gallery), image_queries=drawn[0], text_queries=drawn[1])

    @property
    def gallery(self) -> MixedGallery:
        """The documents."""
        return MixedGallery(**{f.name: getattr(self, f.name) for f in fields(MixedGallery)})

    @property
    def what(self) -> str:
        """What is measured, in a sentence."""
        return (
            f"{len(self.text_queries):,} texts and {len(self.image_queries):,} images looked up among "
            f"{len(self.images):,} documents, a random third each image alone, text alone, and both (GR-CLIP’s "
            f"protocol); a query’s own document, and those that hold a copy of it, are left out for it; NDCG@{RANK}, "
            f"and the share of the first {RANK} that are of the query’s own modality alone, by chance a third"
        )


@dataclass(frozen=True)
class ComposedSet(TaskSet):
    """Images, texts and triplets; see `isoenergy.tasks.composed_retrieval.Triplets`."""

    images: Rows
    """`(images, dim)` raw."""
    texts: Rows
    """`(texts, dim)` raw."""
    source: Integers
    target: Integers
    added: Integers
    removed: Integers
    gallery: Integers
    group: Integers
    """`(n,)` place among the names; -1: of no group."""
    names: tuple[str, ...]
    """Of the groups."""

    @classmethod
    def of(
        cls, images: Rows, keys: Sequence[str], gallery: Integers, triplets: Sequence[Triplet], encoder: StoreEncoder
    ) -> tuple[Self, list[str]]:
        """Find the triplets' images by key and embed their texts; return also the keys that are not there.

        images: `(images, dim)`, of these keys. Triplets of other keys are left out; raises InputError if all are.
        """
        place = {key: number for number, key in enumerate(keys)}
        chosen = [
            each for each in triplets if each.source in place and each.target in place and each.source != each.target
        ]
        unknown = list(
            dict.fromkeys(key for each in triplets for key in (each.source, each.target) if key not in place)
        )
        if not chosen:
            raise InputError(
                f"none of {len(triplets)} triplets has its source and its target among the {len(keys):,} images that "
                f"are measured, such as {', '.join(unknown[:_NAMED]) or 'nothing'}"
            )
        texts = {text: None for each in chosen for text in (*each.added, *each.removed)}
        number = {text: n for n, text in enumerate(texts)}
        names = tuple(sorted({each.group for each in chosen if each.group}))
        found = cls(
            images=images,
            texts=encode_texts(encoder.load(), list(texts)),
            source=np.array([place[each.source] for each in chosen]),
            target=np.array([place[each.target] for each in chosen]),
            added=_padded([[number[text] for text in each.added] for each in chosen]),
            removed=_padded([[number[text] for text in each.removed] for each in chosen]),
            gallery=gallery,
            group=np.array([names.index(each.group) if each.group else -1 for each in chosen]),
            names=names,
        )
        return found, unknown

    @property
    def what(self) -> str:
        """What is measured, in a sentence."""
        sizes, asked = np.bincount(self.gallery), self.gallery[self.target]
        chance = float(np.mean(1 / np.maximum(sizes[asked] - 1, 1)))
        galleries = " or ".join(f"{sizes[number]:,}" for number in np.unique(asked))
        return (
            f"{len(self.source):,} queries, a source image plus the mean of the added texts minus that of the removed, "
            f"each with one exact target among {galleries} images without the source; R@1 by chance is "
            f"{chance:.4f}; in-distribution: cosine distance to the {NEIGHBOUR}th nearest image, and J, how well the "
            f"best threshold on it tells queries from their targets (accuracy (1 + J) / 2); bootstrap over sources"
        )


@dataclass(frozen=True)
class ZeroShotConfig:
    """Classes, and how prompts are made of them."""

    classes: ColumnClasses
    encoder: StoreEncoder
    templates: tuple[str, ...]


def make_zero_shot(config: ZeroShotConfig, inputs: Inputs, output: Path) -> Result:
    """Label the store's images by a column, and embed a prompt a class and template."""
    pairs = TaskPairs.load(inputs["pairs"])
    values = pairs.values(config.classes.column)
    names, labels = _labelled(values, config.classes.values or _sorted(values), config.classes.column)
    there = np.flatnonzero(labels >= 0)
    prompts = encode_texts(config.encoder.load(), fill(config.templates, names))
    found = ZeroShotSet(pairs.images[there], labels[there], prompts, names)
    found.save(output)
    return {"what": zero_shot_sentence(found, len(config.templates))}


def zero_shot_sentence(found: ZeroShotSet, templates: int) -> str:
    """Return what is measured."""
    return (
        f"{len(found.labels):,} images to the nearest of {len(found.names)} classes, each the mean of {templates} "
        f"prompt{'s' * (templates > 1)}; top 1 by chance is {1 / len(found.names):.3f}; balanced: the mean over classes"
    )


def make_probe(config: ColumnClasses, inputs: Inputs, output: Path) -> Result:
    """Label the images of the train pairs and of those measured by a column; a class is one of the train pairs'."""
    train, test = TaskPairs.load(inputs["train"]), TaskPairs.load(inputs["pairs"])
    values = train.values(config.column)
    names, train_labels = _labelled(values, config.values or _sorted(values), config.column)
    test_labels = _labels(test.values(config.column), names)
    inside, tested = np.flatnonzero(train_labels >= 0), np.flatnonzero(test_labels >= 0)
    if not len(tested):
        raise InputError(
            f"no measured pair has a value of {config.column!r} that train pairs have, such as {names[0]!r}"
        )
    found = ProbeSet(train.images[inside], train_labels[inside], test.images[tested], test_labels[tested], names)
    found.save(output)
    return {"what": probe_sentence(found)}


def probe_sentence(found: ProbeSet) -> str:
    """Return what is measured."""
    chance = linear_probe.chance(found.train_labels, found.test_labels)
    return (
        f"logistic regression on standardised image embeddings, trained on {len(found.train_labels):,} images of the "
        f"train split, tested on {len(found.test_labels):,} others, {len(found.names)} classes; always the most "
        f"frequent one is right for {chance:.3f}; balanced: the mean over classes, by chance {1 / len(found.names):.3f}"
    )


@dataclass(frozen=True)
class MixedConfig:
    """What is right for what, and how many queries of each modality are drawn."""

    column: str
    queries: int
    seed: int


def make_mixed(config: MixedConfig, inputs: Inputs, output: Path) -> Result:
    """Make documents of the store's pairs; those with equal values of a column are right for each other."""
    pairs = TaskPairs.load(inputs["pairs"])
    values = pairs.values(config.column)
    there = np.array([place for place, value in enumerate(values) if value is not None], np.int64)
    labels = np.unique([values[place] for place in there], return_inverse=True)[1].astype(np.int64)
    found = MixedSet.of(
        pairs.images[there], pairs.texts[there], (labels, labels), np.arange(len(there)), config.queries, config.seed
    )
    if not len(found.text_queries) + len(found.image_queries):
        raise InputError(f"no two measured pairs share a value of {config.column!r}: nothing is right for a query")
    found.save(output)
    return {"what": f"{found.what}; right are documents with the query’s {config.column}"}


@dataclass(frozen=True)
class ComposedConfig:
    """Where the triplets come from."""

    triplets: str
    """`BUNDLED`, or a file's place."""
    digest: str
    """Of the file."""
    encoder: StoreEncoder


def make_composed(config: ComposedConfig, inputs: Inputs, output: Path) -> Result:
    """Find triplets among the measured pairs; the gallery is all their images."""
    pairs = TaskPairs.load(inputs["pairs"])
    keys = pairs.columns["key"].to_pylist()
    if config.triplets == BUNDLED:
        triplets = labelled_triplets(keys, *([value or "" for value in pairs.values(c)] for c in LABEL_COLUMNS))
    else:
        triplets = read_triplets(config.triplets)
    found, unknown = ComposedSet.of(pairs.images, keys, np.zeros(len(keys), np.int64), triplets, config.encoder)
    found.save(output)
    return {"what": found.what, "unknown_keys": len(unknown), "named": ", ".join(unknown[:_NAMED])}


def _sorted(values: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value is not None}))


def _labels(values: Sequence[str | None], names: Sequence[str]) -> Integers:
    number = {name: place for place, name in enumerate(names)}
    return np.array([-1 if value is None else number.get(value, -1) for value in values], np.int64)


def _labelled(values: Sequence[str | None], names: tuple[str, ...], column: str) -> tuple[tuple[str, ...], Integers]:
    """Return the classes and `(n,)` labels, -1 for other values. Raises InputError for a class of no pair, or one."""
    labels = _labels(values, names)
    if missing := [name for place, name in enumerate(names) if not (labels == place).any()]:
        there = ", ".join(name for name, _ in Counter(v for v in values if v is not None).most_common(_NAMED))
        raise InputError(f"no pair has {missing[0]!r} in column {column!r}; it has, most often first, {there}")
    if len(names) < 2:
        raise InputError(f"column {column!r} has {len(names)} classes; a task needs two")
    return names, labels


def _padded(numbers: Sequence[Sequence[int]]) -> Integers:
    padded = np.full((len(numbers), max(map(len, numbers), default=0)), -1, np.int64)
    for row, some in zip(padded, numbers, strict=True):
        row[: len(some)] = some
    return padded
