"""What pages are made with: the templates' filters, and a page with what lies beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.intervals import bounds, number, value_of
from isoenergy.report.naming import Naming
from isoenergy.report.page.glossary import GLOSSARY
from isoenergy.report.tables.table_files import as_files
from isoenergy.settings.modalities import MODALITIES

PLAIN = Naming(MODALITIES)

_TOGETHER = re.compile(r"\[[^]]*\]|\([^)]{,30}\)|{[^}]*}")  # 30 letters fit every screen


@dataclass(frozen=True)
class Page:
    """A page, and what lies beside it."""

    html: str
    drawings: Mapping[str, Drawing]
    """By the names of their files."""
    tables: Mapping[str, pa.Table]
    """By the names of their files."""

    @property
    def files(self) -> dict[str, bytes]:
        """What lies beside the page, by path."""
        figures = {f"{name}.{kind}": data for name, each in self.drawings.items() for kind, data in each.files.items()}
        return {
            **{f"figures/{name}": data for name, data in figures.items()},
            **{f"tables/{name}": data for name, data in as_files(self.tables).items()},
        }


def environment(naming: Naming = PLAIN) -> Environment:
    """Return what renders the templates: all data is escaped, what is not there is an error."""
    found = Environment(
        loader=PackageLoader("isoenergy", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    found.filters |= {
        "format_count": "{:,}".format,
        "number": number,
        "bounds": bounds,
        "value_of": value_of,
        "unbroken": _unbroken,
    }
    found.filters["named"] = naming
    found.globals["GLOSSARY"] = GLOSSARY
    return found


def _unbroken(sentence: str) -> Markup:
    """Keep what stands in brackets on one line where that fits a phone, and intervals and spreads in the background."""
    kept = _TOGETHER.sub(lambda it: it[0].replace(" ", "\N{NO-BREAK SPACE}"), sentence)
    return Markup(re.sub(r"\[[^]]*\]|{[^}]*}", lambda it: f'<span class="bounds">{it[0]}</span>', str(escape(kept))))
