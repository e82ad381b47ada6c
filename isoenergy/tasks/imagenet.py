"""Images in a folder a class, as ImageNet lies on most disks."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.storage.files import last_part, open_filesystem

_PARTS = ("train", "val")


@dataclass(frozen=True)
class ImageClasses:
    """Images and their classes."""

    uri: str
    """The folder that the files are relative to."""
    files: tuple[str, ...]
    labels: tuple[int, ...]
    """A file's class, by its number."""
    classes: tuple[str, ...]
    """Names for prompts, in the order of the folders."""
    digest: str
    """Changes with the files' names and sizes, and with those of classes."""


def image_folders(uri: str) -> dict[str, str]:
    """Return the folders `train` and `val` of a data set; a folder without them is `val` itself."""
    filesystem, root = open_filesystem(uri)
    there = {name: f"{uri.rstrip('/')}/{name}" for name in _PARTS if filesystem.isdir(f"{root}/{name}")}
    return there if "val" in there else {"val": uri}


def read_image_classes(uri: str, names: str = "", most_a_class: int = 0) -> ImageClasses:
    """List a folder of class folders.

    names: file with the classes' names by folder (ImageNet's are WordNet ids): JSON, `{folder: name}`, Keras's
        `{number: [folder, name]}` or a list of names in the folders' order; or text, `folder name, other name` a line.
        Without one a folder's name is that of its class.
    most_a_class: take so many images of a class, evenly among the sorted ones; 0: all.
    Raises InputError if there are no class folders, one holds no image, or one has no name.
    """
    filesystem, root = open_filesystem(uri)
    if not filesystem.isdir(root):
        raise InputError(f"{uri} is no folder; give one that holds a folder of images for each class")
    folders = sorted(
        name
        for entry in filesystem.ls(root, detail=True)
        if entry["type"] == "directory" and not (name := last_part(entry["name"])).startswith(".")
    )
    if len(folders) < 2:
        raise InputError(
            f"{uri} holds {len(folders)} class folders; give a folder with one for each of several classes"
        )
    classes = _class_names(names, folders) if names else [folder.replace("_", " ") for folder in folders]
    files: list[str] = []
    labels: list[int] = []
    digest = hashlib.sha256(json.dumps(classes).encode())
    for label, folder in enumerate(folders):
        images = _images(filesystem, f"{root}/{folder}")
        if not images:
            raise InputError(f"{uri}/{folder} holds no images ({', '.join(IMAGE_SUFFIXES)}); fill it, or remove it")
        chosen = np.linspace(0, len(images) - 1, min(most_a_class or len(images), len(images))).round().astype(int)
        for name, size in (images[place] for place in chosen):
            digest.update(f"{folder}/{name} {size}\n".encode("utf-8", "surrogateescape"))
            files.append(f"{folder}/{name}")
            labels.append(label)
    return ImageClasses(uri, tuple(files), tuple(labels), tuple(classes), digest.hexdigest())


def _images(filesystem: AbstractFileSystem, folder: str) -> list[tuple[str, int]]:
    entries = ((last_part(entry["name"]), entry) for entry in filesystem.ls(folder, detail=True))
    return sorted(
        (name, entry.get("size") or 0)
        for name, entry in entries
        if entry["type"] == "file" and name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    )


def _class_names(uri: str, folders: list[str]) -> list[str]:
    filesystem, path = open_filesystem(uri)
    if not filesystem.isfile(path):
        raise InputError(f"{uri} does not exist; give a file with the name of each class folder")
    try:
        text = filesystem.cat_file(path).decode("utf-8-sig")
        named = _from_json(json.loads(text), folders) if path.lower().endswith(".json") else _from_lines(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{uri} does not name classes ({error}); see `isoenergy evaluate --help`") from error
    if missing := [folder for folder in folders if not named.get(folder)]:
        raise InputError(f"{uri} has no name for {len(missing)} of {len(folders)} class folders, such as {missing[0]}")
    return [named[folder] for folder in folders]


def _from_json(parsed: Any, folders: list[str]) -> dict[str, str]:
    if isinstance(parsed, list):
        if len(parsed) != len(folders):
            raise ValueError(f"it lists {len(parsed)} names for {len(folders)} folders")
        parsed = dict(zip(folders, parsed, strict=True))
    if not isinstance(parsed, Mapping):
        raise ValueError("expected a JSON object or list")
    pairs = (value if isinstance(value, list) else (key, value) for key, value in parsed.items())
    return {folder: str(name).replace("_", " ") for folder, name in pairs}


def _from_lines(text: str) -> dict[str, str]:
    parted = (line.strip().partition(" ") for line in text.replace("\t", " ").splitlines())
    return {folder: names.partition(",")[0].strip() for folder, _, names in parted if folder}
