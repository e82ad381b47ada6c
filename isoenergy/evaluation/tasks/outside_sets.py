"""Tasks on the data of others, embedded by the store's encoder: ImageNet, COCO, FashionIQ."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isoenergy.errors import InputError
from isoenergy.evaluation.measured_rows import NOT_IDENTITY, Inputs, Result
from isoenergy.evaluation.tasks.task_inputs import EmbeddedImages, StoreEncoder, encode_texts
from isoenergy.evaluation.tasks.task_sets import (
    ComposedSet,
    MixedSet,
    ProbeSet,
    ZeroShotSet,
    probe_sentence,
    zero_shot_sentence,
)
from isoenergy.pairs.formats.coco import CocoPairs
from isoenergy.tasks.fashioniq import FashionIQ, read_fashioniq
from isoenergy.tasks.imagenet import ImageClasses, image_folders, read_image_classes
from isoenergy.tasks.prompts import fill

_NAMED = 5


@dataclass(frozen=True)
class ImageNetConfig:
    """A folder of class folders, or of such for training and validation."""

    uri: str = field(metadata=NOT_IDENTITY)
    class_names: str
    """File that names the classes; empty: the folders do."""
    most_a_class: int
    digest: str
    """Of the lists of images."""
    encoder: StoreEncoder
    templates: tuple[str, ...]

    def listed(self) -> dict[str, ImageClasses]:
        """Return the images for `val` and, if there are any, for `train`. Raises InputError if the classes differ."""
        found = {
            part: read_image_classes(folder, self.class_names, self.most_a_class)
            for part, folder in image_folders(self.uri).items()
        }
        if len({images.classes for images in found.values()}) > 1:
            raise InputError(f"{self.uri}: train and val have different class folders; give them the same")
        return found


def make_imagenet_zero_shot(config: ImageNetConfig, inputs: Inputs, output: Path) -> Result:
    """Label the validation images, and embed a prompt a class and template."""
    listed, images = config.listed()["val"], EmbeddedImages.load(_parts(inputs, "val"))
    prompts = encode_texts(config.encoder.load(), fill(config.templates, listed.classes))
    found = ZeroShotSet(images.rows, np.array(listed.labels)[images.places], prompts, listed.classes)
    found.save(output)
    return {"what": zero_shot_sentence(found, len(config.templates)), **images.told}


def make_imagenet_probe(config: ImageNetConfig, inputs: Inputs, output: Path) -> Result:
    """Label the images to train on, and those of the validation folder to test on."""
    listed = config.listed()
    train, test = (EmbeddedImages.load(_parts(inputs, part)) for part in ("train", "val"))
    labels = [np.array(listed[part].labels)[i.places] for part, i in (("train", train), ("val", test))]
    found = ProbeSet(train.rows, labels[0], test.rows, labels[1], listed["val"].classes)
    found.save(output)
    return {"what": probe_sentence(found), **test.told, "train_rejected": len(train.rejected)}


@dataclass(frozen=True)
class CocoConfig:
    """A captions file, and how many of its images are looked at."""

    uri: str = field(metadata=NOT_IDENTITY)
    images: str = field(metadata=NOT_IDENTITY)
    digest: str
    most_images: int
    queries: int
    seed: int
    encoder: StoreEncoder


def coco_images(uri: str, images: str, most: int) -> tuple[list[str], str]:
    """Return the file names of a captions file's images, evenly so many of them, and a digest of the file."""
    source = CocoPairs(uri, images)
    names = sorted({name for name in source.annotations().names if name is not None})
    chosen = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[place] for place in chosen], source.file_digest(source.files[0])


def make_coco(config: CocoConfig, inputs: Inputs, output: Path) -> Result:
    """Embed the captions; a document is an image and its first caption, the others are queries."""
    names, _ = coco_images(config.uri, config.images, config.most_images)
    images = EmbeddedImages.load(_parts(inputs, "images"))
    captions: dict[str, list[str]] = {}
    listing = CocoPairs(config.uri, config.images).annotations()
    for name, caption in zip(listing.names, listing.captions, strict=True):
        text = (caption or b"").decode("utf-8", "replace").strip()
        if name is not None and text:
            captions.setdefault(name, []).append(text)
    kept = [place for place, name in enumerate(np.array(names)[images.places]) if name in captions]
    rows = images.rows[kept]
    of_image = [captions[names[place]] for place in images.places[kept]]
    counts = np.array([len(texts) for texts in of_image], np.int64)
    texts = encode_texts(config.encoder.load(), [text for texts in of_image for text in texts])
    labels = np.arange(len(rows)), np.repeat(np.arange(len(rows)), counts)
    found = MixedSet.of(rows, texts, labels, np.cumsum(counts) - counts, config.queries, config.seed)
    found.save(output)
    return {"what": f"{found.what}; right is the document of the caption’s image", **images.told}


@dataclass(frozen=True)
class FashionIQConfig:
    """A folder of FashionIQ."""

    uri: str = field(metadata=NOT_IDENTITY)
    digest: str
    encoder: StoreEncoder

    def listed(self) -> FashionIQ:
        """Return what it holds."""
        return read_fashioniq(self.uri)


def make_fashioniq(config: FashionIQConfig, inputs: Inputs, output: Path) -> Result:
    """Find the triplets' images; each category is a gallery of its own."""
    listed, images = config.listed(), EmbeddedImages.load(_parts(inputs, "images"))
    keys = [listed.keys[place] for place in images.places]
    gallery = np.unique([key.partition("/")[0] for key in keys], return_inverse=True)[1].astype(np.int64)
    found, unknown = ComposedSet.of(images.rows, keys, gallery, listed.triplets, config.encoder)
    found.save(output)
    unknown = [*listed.unknown, *unknown]
    return {
        "what": found.what,
        **images.told,
        "unknown_keys": len(unknown),
        "named": ", ".join(filter(None, (str(images.told["named"]), *unknown[:_NAMED]))),
    }


def _parts(inputs: Mapping[str, Path], name: str) -> list[Path]:
    return [folder for key, folder in inputs.items() if key.startswith(f"{name}-")]
