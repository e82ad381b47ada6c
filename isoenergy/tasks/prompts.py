"""Prompts: a class as a sentence, and as the mean of several (Radford et al. 2021, CLIP)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem

if TYPE_CHECKING:
    from torch import Tensor

PLACE = "{}"
"""Where a template takes the class's name."""
_MOST_BYTES = 2**20

_CLIP = (
    "a bad photo of a {}.|a photo of many {}.|a sculpture of a {}.|a photo of the hard to see {}.|"
    "a low resolution photo of the {}.|a rendering of a {}.|graffiti of a {}.|a bad photo of the {}.|"
    "a cropped photo of the {}.|a tattoo of a {}.|the embroidered {}.|a photo of a hard to see {}.|"
    "a bright photo of a {}.|a photo of a clean {}.|a photo of a dirty {}.|a dark photo of the {}.|a drawing of a {}.|"
    "a photo of my {}.|the plastic {}.|a photo of the cool {}.|a close-up photo of a {}.|"
    "a black and white photo of the {}.|a painting of the {}.|a painting of a {}.|a pixelated photo of the {}.|"
    "a sculpture of the {}.|a bright photo of the {}.|a cropped photo of a {}.|a plastic {}.|a photo of the dirty {}.|"
    "a jpeg corrupted photo of a {}.|a blurry photo of the {}.|a photo of the {}.|a good photo of the {}.|"
    "a rendering of the {}.|a {} in a video game.|a photo of one {}.|a doodle of a {}.|a close-up photo of the {}.|"
    "a photo of a {}.|the origami {}.|the {} in a video game.|a sketch of a {}.|a doodle of the {}.|a origami {}.|"
    "a low resolution photo of a {}.|the toy {}.|a rendition of the {}.|a photo of the clean {}.|"
    "a photo of a large {}.|a rendition of a {}.|a photo of a nice {}.|a photo of a weird {}.|a blurry photo of a {}.|"
    "a cartoon {}.|art of a {}.|a sketch of the {}.|a embroidered {}.|a pixelated photo of a {}.|itap of the {}.|"
    "a jpeg corrupted photo of the {}.|a good photo of a {}.|a plushie {}.|a photo of the nice {}.|"
    "a photo of the small {}.|a photo of the weird {}.|the cartoon {}.|art of the {}.|a drawing of the {}.|"
    "a photo of the large {}.|a black and white photo of a {}.|the plushie {}.|a dark photo of a {}.|itap of a {}.|"
    "graffiti of the {}.|a toy {}.|itap of my {}.|a photo of a cool {}.|a photo of a small {}.|a tattoo of the {}."
)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    "clip": tuple(_CLIP.split("|")),
    "icon": ("{}", "an icon of {}", "{} emoji"),
}
"""The class's name; CLIP's one sentence; CLIP's 80 for ImageNet, which the paper takes; the bundled pairs' own."""


def load_templates(name: str) -> tuple[str, ...]:
    """Return the templates of one of `TEMPLATES`, or of a text file with one a line, each with `{}` for the class.

    Raises InputError if there are none such, or a line has no `{}`.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    filesystem, path = open_filesystem(name)
    if not filesystem.isfile(path):
        raise InputError(f"no templates {name!r}: give {', '.join(TEMPLATES)}, or a text file with one a line")
    try:
        lines = filesystem.cat_file(path, end=_MOST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 ({error}); give a text file with a template a line") from error
    templates = tuple(line.strip() for line in lines if line.strip())
    if not templates:
        raise InputError(f"{name} holds no templates; give one a line")
    if without := [line for line in templates if PLACE not in line]:
        raise InputError(f"{name} has a template without {PLACE} for the class: {without[0]!r}")
    return templates


def fill(templates: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the prompts: all templates of the first class, then of the second, and so on."""
    return [template.replace(PLACE, name) for name in classes for template in templates]


def class_embeddings(prompts: "Tensor", classes: int) -> "Tensor":
    """Return `(classes, dim)` unit rows, the means of each class's `(classes · templates, dim)` prompts at norm 1."""
    from torch.nn.functional import normalize  # whoever only names templates needs no torch

    unit = normalize(prompts, dim=1).view(classes, -1, prompts.shape[1])
    return normalize(unit.mean(dim=1), dim=1)
