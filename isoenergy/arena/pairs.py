"""The pairs of an arena: drawn once, from a store or from known atoms, and the same for every method."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.arena.budget import MOST_NEAREST
from isoenergy.arena.labels import class_numbers, classes_that_count, label_values
from isoenergy.errors import InputError
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.pairs.splits import SPLITS, Split
from isoenergy.settings.differences import differing_fields
from isoenergy.settings.modalities import MODALITIES
from isoenergy.storage.files import without_secrets
from isoenergy.store.arrays import PairArrays
from isoenergy.store.manifest import Manifest
from isoenergy.store.reader import EmbeddingStore
from isoenergy.synthetic.experiment_config import SyntheticConfig
from isoenergy.synthetic.generator import generate

PAIRS_FILE = "pairs.safetensors"
_TRUTH = ("image_concepts", "text_concepts")
_TRANSFER = "transfer"


@dataclass(frozen=True)
class Rows:
    """Pairs of one split: row i of every array belongs to pair i."""

    image: Tensor
    """`(pairs, dim)` float32 unit rows."""
    text: Tensor
    """`(pairs, dim)` float32 unit rows."""
    reference_image: Tensor
    """`(pairs, width)` float32 unit rows, what the images are as another encoder sees them."""
    reference_text: Tensor
    """`(pairs, width)` float32 unit rows, likewise of the texts, in one space with the images'."""
    labels: Tensor
    """`(pairs,)` int64 class of each pair, -1 for none."""

    def __len__(self) -> int:
        return len(self.image)

    def of(self, modality: str) -> Tensor:
        """Return the unit rows of a modality."""
        found: Tensor = getattr(self, modality)
        return found

    def first(self, pairs: int) -> "Rows":
        """Return the first pairs, which are a random sample: the order is drawn."""
        return Rows(*(getattr(self, name)[:pairs] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class ArenaPairs:
    """Three splits, and what is known of the truth."""

    train: Rows
    validation: Rows
    test: Rows
    concepts: tuple[Tensor, Tensor] | None = None
    """`(concepts, dim)` true directions in images and in texts, if the pairs are made of known atoms."""
    transfer: Rows | None = None
    """Test pairs of another store, of which nothing is fitted; they are their own reference, without labels."""

    def save(self, folder: Path) -> None:
        """Write all of it as safetensors."""
        tensors = {
            f"{part}.{name}": getattr(getattr(self, part), name).clone()
            for part in (*SPLITS, *(() if self.transfer is None else (_TRANSFER,)))
            for name in Rows.__dataclass_fields__
        }
        if self.concepts is not None:
            tensors |= {name: part.clone() for name, part in zip(_TRUTH, self.concepts, strict=True)}
        save_file(tensors, folder / PAIRS_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        tensors = load_file(folder / PAIRS_FILE)
        rows = {
            part: Rows(*(tensors[f"{part}.{name}"] for name in Rows.__dataclass_fields__))
            for part in (*SPLITS, _TRANSFER)
            if f"{part}.image" in tensors
        }
        known = (tensors[_TRUTH[0]], tensors[_TRUTH[1]]) if _TRUTH[0] in tensors else None
        return cls(rows["train"], rows["validation"], rows["test"], known, rows.get(_TRANSFER))


@dataclass(frozen=True)
class Sizes:
    """The most pairs of each split; a store with more gives a random draw of them."""

    train: int
    validation: int
    test: int
    seed: int
    """Of the draw."""


@dataclass(frozen=True)
class StorePairs:
    """Pairs of an embedding store."""

    fingerprint: str
    sizes: Sizes
    labels: str = ""
    """Column with each pair's class; empty: none."""
    reference_fingerprint: str = ""
    """Of the second store; empty: the pairs' own embeddings are the reference, which is no independent one."""
    transfer_fingerprint: str = ""
    """Of a third store, by the same encoder, on whose test pairs too it is measured; empty: none."""
    store: str = field(default="", metadata={"identity": False})
    reference: str = field(default="", metadata={"identity": False})
    transfer: str = field(default="", metadata={"identity": False})


@dataclass(frozen=True)
class MadePairs:
    """Pairs of known atoms."""

    data: SyntheticConfig
    sizes: Sizes


def require_pairs(store: EmbeddingStore, splits: Collection[Split] = SPLITS) -> None:
    """Raise InputError unless the store has two modalities of one width, and pairs enough in each of the splits."""
    uri, widths = without_secrets(store.uri), store.manifest.modalities
    told = ", ".join(f"{name} (width {width})" for name, width in widths.items())
    if len(widths) != len(MODALITIES):
        raise InputError(
            f"{uri} has vectors of {len(widths)} modalities: {told}; the arena compares methods for pairs: give a "
            f"store of two"
        )
    if len(set(widths.values())) > 1:
        raise InputError(
            f"{uri} has vectors of two widths: {told}; the arena's methods take both of one: give a store of images "
            f"and texts in one space"
        )
    if empty := [split for split in splits if not store.pairs_in(split)]:
        raise InputError(
            f"{uri} has no {' and no '.join(empty)} pairs, and the arena needs pairs in these splits: "
            f"{', '.join(splits)}; give a store that has them"
        )
    if few := [split for split in splits if split != "train" and store.pairs_in(split) <= MOST_NEAREST]:
        told = " and ".join(f"{store.pairs_in(split)} {split} pairs" for split in few)
        raise InputError(
            f"{uri} has {told}, of which any partner is among the {MOST_NEAREST} nearest, and that is what the arena "
            f"measures; give a store with more"
        )


def require_drawable(config: StorePairs) -> None:
    """Raise InputError for what `draw_pairs` would refuse of these stores; keys and labels are all that is read."""
    store, reference, transfer = _opened(config)
    if config.labels:
        values = label_values(store, config.labels, "test")
        classes_that_count(values[_places(len(values), config.sizes, "test")], config.labels)
    if reference is not None:
        keys = {split: _keys(store, split) for split in SPLITS}
        drawn = {split: own[_places(len(own), config.sizes, split)] for split, own in keys.items()}
        _require_keys(reference, np.concatenate([_keys(reference, split) for split in SPLITS]), drawn)
    if transfer is not None:
        _require_same_encoder(store, transfer)


def draw_pairs(config: StorePairs | MadePairs, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Draw an arena's pairs and write them to `output`. A step's function.

    Raises InputError if a split is empty, if labels make fewer than two classes, if the second store lacks a pair, if
    the third is of another encoder or width, or if a store is another one than the config has the fingerprint of.
    """
    pairs = _from_store(config) if isinstance(config, StorePairs) else _made(config)
    pairs.save(output)
    return {
        **{split: len(getattr(pairs, split)) for split in SPLITS},
        "dim": pairs.train.image.shape[1],
        "classes": len(pairs.test.labels[pairs.test.labels >= 0].unique()),
        "known_concepts": 0 if pairs.concepts is None else len(pairs.concepts[0]),
        "transfer": 0 if pairs.transfer is None else len(pairs.transfer),
        "of_one_image": _of_one_image(pairs.test),
    }


def _of_one_image(rows: Rows) -> int:
    """Return how many pairs have an image that another of them has too."""
    times = np.unique(row_labels(rows.image.numpy()), return_counts=True)[1]
    return int(times[times > 1].sum())


def _made(config: MadePairs) -> ArenaPairs:
    """Both encoders of the truth agree: a pair's reference are the concepts that it is made of, biases left out."""
    made = generate(config.data, config.sizes.seed)
    truth = made.merged
    concepts = torch.from_numpy(truth.image_codes.toarray()[:, truth.where("concept")]).float()
    images, texts = (normalize(torch.from_numpy(part).float(), dim=1) for part in (made.images, made.texts))
    none = torch.full((len(images),), -1)
    every = Rows(images, texts, normalize(concepts, dim=1), normalize(concepts, dim=1), none)
    ends = np.cumsum([config.sizes.train, config.sizes.validation, config.sizes.test])
    if ends[-1] > len(images):
        raise InputError(f"the splits need {ends[-1]} pairs, and {len(images)} are to be made; give more pairs")
    train, validation, test = (
        _chosen(every, torch.arange(first, last)) for first, last in zip((0, *ends[:-1]), ends, strict=True)
    )
    instances = made.instances
    known = [
        torch.from_numpy(instances.dictionary[instances.where(f"{modality} instance")]).float()
        for modality in MODALITIES
    ]
    return ArenaPairs(train, validation, test, (known[0], known[1]))


def _from_store(config: StorePairs) -> ArenaPairs:
    store, judge, other = _opened(config)
    drawn = {split: _drawn(store, split, config.sizes) for split in SPLITS}
    labels = {split: torch.full((len(arrays),), -1) for split, arrays in drawn.items()}
    if config.labels:
        labels = _labels(store, config.labels, config.sizes)
    reference = None if judge is None else _reference(judge, {split: arrays.keys for split, arrays in drawn.items()})

    def rows(split: Split) -> Rows:
        image, text = _unit(drawn[split].images), _unit(drawn[split].texts)
        seen = reference[split] if reference else (image, text)
        return Rows(image, text, *seen, labels[split])

    transfer = None if other is None else _transfer(store, other, config.sizes)
    return ArenaPairs(rows("train"), rows("validation"), rows("test"), transfer=transfer)


def _opened(config: StorePairs) -> tuple[EmbeddingStore, EmbeddingStore | None, EmbeddingStore | None]:
    """Return the store, the judge and the one for transfer; raises InputError if one is not what was planned with."""

    def opened(uri: str, fingerprint: str) -> EmbeddingStore:
        store = EmbeddingStore.open(uri)
        if store.fingerprint != fingerprint:
            raise InputError(
                f"{without_secrets(uri)} has other pairs than when the arena was planned ({store.fingerprint[:12]}, "
                f"not {fingerprint[:12]}); run the same `isoenergy arena` again"
            )
        return store

    return (
        opened(config.store, config.fingerprint),
        opened(config.reference, config.reference_fingerprint) if config.reference else None,
        opened(config.transfer, config.transfer_fingerprint) if config.transfer else None,
    )


def _transfer(store: EmbeddingStore, other: EmbeddingStore, sizes: Sizes) -> Rows:
    _require_same_encoder(store, other)
    drawn = _drawn(other, "test", sizes)
    image, text = _unit(drawn.images), _unit(drawn.texts)
    return Rows(image, text, image, text, torch.full((len(drawn),), -1))


def _require_same_encoder(store: EmbeddingStore, other: EmbeddingStore) -> None:
    here, there = store.manifest, other.manifest
    told = bool(here.encoder_digest and there.encoder_digest)  # imported vectors say nothing of their encoder
    if differences := differing_fields(_made_by(there, told), _made_by(here, told)):
        raise InputError(
            f"what is trained on {without_secrets(store.uri)} cannot be measured on {without_secrets(other.uri)}: "
            f"{differences}; give a store by the same encoder"
        )


def _made_by(manifest: Manifest, told: bool) -> dict[str, Any]:
    return {
        "encoder_digest": manifest.encoder_digest if told else "",
        "layer": manifest.hidden_states.get("layer"),
        **{f"width of {name}": width for name, width in manifest.modalities.items()},
    }


def _drawn(store: EmbeddingStore, split: Split, sizes: Sizes) -> PairArrays:
    arrays = store.to_arrays(split)
    places = _places(len(arrays), sizes, split)
    return PairArrays(arrays.keys[places], arrays.images[places], arrays.texts[places])


def _places(pairs: int, sizes: Sizes, split: Split) -> npt.NDArray[np.int64]:
    most: int = getattr(sizes, split)
    return np.random.default_rng(sizes.seed).permutation(pairs)[:most]


def _keys(store: EmbeddingStore, split: Split) -> npt.NDArray[np.object_]:
    parts = [store.read_unit(record.unit, ["key"], split)["key"].to_pylist() for record in store.commits]
    return np.array([key for part in parts for key in part], dtype=object)


def _labels(store: EmbeddingStore, column: str, sizes: Sizes) -> dict[Split, Tensor]:
    """Return each drawn pair's class; -1 where the column has nothing, or a class of which the test pairs have few."""
    every = {split: label_values(store, column, split) for split in SPLITS}
    drawn = {split: own[_places(len(own), sizes, split)] for split, own in every.items()}
    classes = classes_that_count(drawn["test"], column)
    return {split: class_numbers(own, classes) for split, own in drawn.items()}


def _reference(
    judge: EmbeddingStore, keys: Mapping[Split, npt.NDArray[np.object_]]
) -> dict[Split, tuple[Tensor, Tensor]]:
    arrays = judge.to_arrays()
    _require_keys(judge, arrays.keys, keys)
    place = {key: number for number, key in enumerate(arrays.keys)}
    rows = {split: [place[key] for key in own] for split, own in keys.items()}
    return {split: (_unit(arrays.images[own]), _unit(arrays.texts[own])) for split, own in rows.items()}


def _require_keys(
    judge: EmbeddingStore, there: npt.NDArray[np.object_], keys: Mapping[Split, npt.NDArray[np.object_]]
) -> None:
    known = set(there)
    if missing := [key for own in keys.values() for key in own if key not in known]:
        raise InputError(
            f"{without_secrets(judge.uri)} lacks {len(missing)} of the pairs, such as {missing[0]!r}; embed the same "
            f"pairs with another encoder; of a store with a row a token (pair#token) one of the same tokens judges"
        )


def _chosen(rows: Rows, places: Tensor) -> Rows:
    return Rows(*(getattr(rows, name)[places] for name in Rows.__dataclass_fields__))


def _unit(rows: npt.NDArray[np.floating]) -> Tensor:
    return normalize(torch.from_numpy(np.asarray(rows, np.float32)), dim=1)
