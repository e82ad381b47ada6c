"""A figure as the page shows it, and as the files beside the page."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from matplotlib.figure import Figure

from isoenergy.report.figures import as_bytes

KINDS = ("svg", "png")


@dataclass(frozen=True)
class Drawing:
    """A figure as files, and on the page."""

    name: str
    alt: str
    """What it shows, for those who do not see it."""
    caption: str
    """How to read it."""
    files: Mapping[str, bytes]
    """By kind, `svg` and `png`."""
    wide: bool

    @classmethod
    def of(cls, name: str, alt: str, figure: Figure, wide: bool = False, caption: str = "") -> Self:
        """Draw a figure; wide: it takes both columns of the page."""
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out: once for all kinds
        return cls(name, alt, caption, {kind: as_bytes(figure, kind) for kind in KINDS}, wide)

    @property
    def url(self) -> str:
        """The figure as a data URL."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.files["svg"]).decode()
