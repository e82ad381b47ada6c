"""Steps of an evaluation by names that a person reads: `gap of SAE-A β 0.001, seed 0`."""

import re

_DIGEST = re.compile(r"-[0-9a-f]{6}$")
_SAE = re.compile(r"(null-)?beta-(\d[\d.e+-]*?)(?:-seed-(\d+))?")
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
        return f"{two[1]} of {_of(two[2])} and {_of(two[3])}"
    of, _, work = step.partition("/")
    if not work:
        return step
    part = re.fullmatch(r"(.+)/0*(\d+)", work)
    name = part[1] if part else work
    said = _WORK.get(name, name.replace("/", " ").replace("-", " "))
    return f"{said} of {_of(of)}{f', part {part[2]}' if part else ''}"


def _of(name: str) -> str:
    plain = _DIGEST.sub("", name)
    sae = _SAE.fullmatch(plain)
    if sae is None:
        return plain
    kind = "SAE" if float(sae[2]) == 0 else f"SAE-A β {sae[2]}"
    return f"{'the null of ' * bool(sae[1])}{kind}{f', seed {sae[3]}' if sae[3] else ''}"
