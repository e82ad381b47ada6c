"""Steps of an evaluation by names that a person reads: `gap of SAE-A β 0.001, seed 0`."""

import re

from isoenergy.sae.spoken_names import spoken_sae

_OF_TWO = re.compile(r"(stability|difference)/(.+)~(.+)")
_WORK = {
    "atom-map": "map of the atoms",
    "bridges": "bridge",
    "codes": "codes",
    "dictionary": "dictionary",
    "explorer": "atoms to look at",
    "fit": "classes of the atoms",
    "geometry": "gap",
    "held": "kept pairs",
    "pictures": "pictures",
    "search": "nearest neighbours",
    "statistics": "energies",
}


def spoken(step: str) -> str:
    """Return what a step does and of what; a step that no evaluation has by its own name."""
    if two := _OF_TWO.fullmatch(step):
        return f"{two[1]} of {spoken_sae(two[2])} and {spoken_sae(two[3])}"
    of, _, work = step.partition("/")
    if not work:
        return step
    part = re.fullmatch(r"(.+)/0*(\d+)", work)
    name = part[1] if part else work
    said = _WORK.get(name, name.replace("/", " ").replace("-", " "))
    return f"{said} of {spoken_sae(of)}{f', part {part[2]}' if part else ''}"
