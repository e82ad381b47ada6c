"""What pages are made of: figures as files and on the page, and the templates' surroundings."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from isoenergy.report import figures
from isoenergy.report.intervals import bounds, number
from isoenergy.report.naming import Naming
from isoenergy.sae import MODALITIES

_KINDS = ("svg", "png")
PLAIN = Naming(MODALITIES)


@dataclass(frozen=True)
class Drawing:
    """A figure as files, and on the page."""

    name: str
    alt: str
    files: Mapping[str, bytes]
    """By kind, `svg` and `png`."""
    wide: bool

    @classmethod
    def of(cls, name: str, alt: str, figure: Figure, wide: bool = False, naming: Naming = PLAIN) -> Self:
        """Draw a figure; wide: it takes both columns of the page."""
        drawn = naming.in_figure(figure)
        return cls(name, naming(alt), {kind: figures.as_bytes(drawn, kind) for kind in _KINDS}, wide)

    @property
    def url(self) -> str:
        """The figure as a data URL."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.files["svg"]).decode()


def environment(naming: Naming = PLAIN) -> Environment:
    """Return what renders the templates: all data is escaped, what is not there is an error."""
    found = Environment(
        loader=PackageLoader("isoenergy", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    found.filters |= {"format_count": "{:,}".format, "number": number, "bounds": bounds, "unbroken": _unbroken}
    found.filters["named"] = naming
    return found


def _unbroken(sentence: str) -> str:
    """Keep what stands in brackets on one line."""
    return re.sub(r"\[[^]]*\]|\([^)]*\)", lambda bracketed: bracketed[0].replace(" ", "\N{NO-BREAK SPACE}"), sentence)
