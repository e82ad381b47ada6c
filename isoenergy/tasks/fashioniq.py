"""FashionIQ: clothes, and in two sentences how another one differs (Wu et al. 2021, arXiv 1905.12794)."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.storage.files import open_filesystem
from isoenergy.tasks.triplets import Triplet

CATEGORIES = ("dress", "shirt", "toptee")
_IMAGES = "images"


@dataclass(frozen=True)
class FashionIQ:
    """The galleries of all categories, one after the other, and what is asked for in them."""

    images: str
    """The folder that the files are relative to."""
    files: tuple[str, ...]
    """An image of two categories stands twice."""
    keys: tuple[str, ...]
    """`category/asin`, a file each."""
    triplets: tuple[Triplet, ...]
    """By these keys; the group is the category."""
    unknown: tuple[str, ...]
    """Keys that a caption names and no gallery holds: such triplets are left out."""
    digest: str
    """Changes with the captions, the galleries and the images' sizes."""


def read_fashioniq(uri: str, split: str = "val") -> FashionIQ:
    """Read `captions/cap.*.json`, `image_splits/split.*.json` and list `images/`, `asin.jpg` or `.png` each.

    split: `val`, the published galleries, or `train`. Categories that are not there are left out.
    Raises InputError if none is there, there is no folder of images, or a file is not what it should be.
    """
    filesystem, root = open_filesystem(uri)
    if not filesystem.isdir(f"{root}/{_IMAGES}"):
        raise InputError(f"{uri} has no folder {_IMAGES}/; FashionIQ has {_IMAGES}/, captions/ and image_splits/")
    there = {
        _stem(entry["name"]): (entry["name"].rpartition("/")[2], entry.get("size") or 0)
        for entry in filesystem.ls(f"{root}/{_IMAGES}", detail=True)
        if entry["name"].lower().endswith(IMAGE_SUFFIXES)
    }
    files: dict[str, str] = {}
    triplets: list[Triplet] = []
    unknown: dict[str, None] = {}
    digest = hashlib.sha256()
    for category in CATEGORIES:
        captions = f"{root}/captions/cap.{category}.{split}.json"
        if not filesystem.isfile(captions):
            continue
        asins = _strings(_parsed(filesystem, f"{root}/image_splits/split.{category}.{split}.json"), category)
        for asin in asins:
            name, size = there.get(asin, (f"{asin}.png", 0))
            files[f"{category}/{asin}"] = name
            digest.update(f"{category} {name} {size}\n".encode("utf-8", "surrogatepass"))
        for number, entry in enumerate(_parsed(filesystem, captions)):
            triplet = _triplet(entry, category, f"{captions}, entry {number}")
            missing = [key for key in (triplet.source, triplet.target) if key not in files]
            unknown |= dict.fromkeys(missing)
            triplets += [triplet] * (not missing)
        digest.update(filesystem.cat_file(captions))
    if not files:
        raise InputError(f"{uri} has no captions/cap.*.{split}.json of {', '.join(CATEGORIES)}")
    if not triplets:
        raise InputError(f"{uri} has no triplet whose images are both in image_splits/, of {len(unknown)} keys")
    return FashionIQ(
        f"{uri.rstrip('/')}/{_IMAGES}",
        tuple(files.values()),
        tuple(files),
        tuple(triplets),
        tuple(unknown),
        digest.hexdigest(),
    )


def _parsed(filesystem: AbstractFileSystem, path: str) -> list[Any]:
    try:
        parsed = json.loads(filesystem.cat_file(path))
        if not isinstance(parsed, list):
            raise ValueError(f"expected a list, got {type(parsed).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a file of FashionIQ ({type(error).__name__}: {error})") from error
    return parsed


def _strings(values: list[Any], category: str) -> list[str]:
    if bad := [value for value in values if not isinstance(value, str)]:
        raise InputError(f"the image split of {category} must be a list of asins, got {bad[0]!r} in it")
    return list(dict.fromkeys(values))


def _triplet(entry: Any, category: str, where: str) -> Triplet:
    entry = entry if isinstance(entry, dict) else {}
    source, target, captions = entry.get("candidate"), entry.get("target"), entry.get("captions")
    texts = captions if isinstance(captions, list) else []
    added = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not (isinstance(source, str) and isinstance(target, str) and added):
        raise InputError(f"{where} must have candidate, target and captions, got {str(entry)[:80]}")
    return Triplet(f"{category}/{source}", f"{category}/{target}", added, group=category)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]
