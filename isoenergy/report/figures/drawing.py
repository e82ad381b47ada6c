"""A figure as files and on a page, with what it shows and how to read it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from matplotlib.figure import Figure

from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.naming import Naming


@dataclass(frozen=True)
class Drawing:
    """A figure as files, and on the page."""

    name: str
    alt: str
    """What it shows, for those who do not see it."""
    caption: str
    """How to read it."""
    figure: Figure
    wide: bool
    narrow: Figure | None = None
    """The same for a phone, its panels one below the other; None: it is as narrow already."""

    @classmethod
    def of(
        cls,
        name: str,
        alt: str,
        figure: Figure,
        wide: bool = False,
        caption: str = "",
        narrow: Figure | None = None,
    ) -> Self:
        """Return the drawing of a figure; wide: it takes both columns of the page."""
        return cls(name, alt, caption, figure, wide, narrow)

    def named(self, naming: Naming) -> Self:
        """Return it with the modalities' names."""
        figure, narrow = naming.in_figure(self.figure), self.narrow and naming.in_figure(self.narrow)
        return replace(self, alt=naming(self.alt), caption=naming(self.caption), figure=figure, narrow=narrow)

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG."""
        return as_bytes(self.figure, "svg")

    @property
    def files(self) -> Mapping[str, bytes]:
        """The figure by kind, `svg` and `png`."""
        return {"svg": self.svg, "png": as_bytes(self.figure, "png")}

    @property
    def url(self) -> str:
        """The figure as a data URL."""
        return _url(self.svg)

    @cached_property
    def narrow_url(self) -> str:
        """The figure for a phone as a data URL; empty if there is none of its own."""
        return _url(as_bytes(self.narrow, "svg")) if self.narrow else ""


def _url(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
