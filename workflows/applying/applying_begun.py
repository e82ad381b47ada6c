"""Whether an output may go on with what a command line asks for, said by the options of the command line."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from isoenergy.store import Manifest

_FOLLOWING = {"applied.seed": "applied.writes", "applied.fitted": "applied.fitted_on"}
"""What differs anyway where something else does."""
_OF_THE_STORE = ("dim", "widths")
"""Nobody asks for these."""


def _list(option: str) -> Callable[[Any], str]:
    return lambda names: f"--{option} {','.join(names)}" if names else f"no --{option}"


_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "applied.writes": _list("write"),
    "applied.layouts": _list("layouts"),
    "passed_through": _list("columns"),
    "applied.normalised": lambda asked: "--normalise" if asked else "no --normalise",
    "dtype": lambda name: f"--dtype {name}",
    "applied.seed": lambda seed: f"--seed {seed}",
    "applied.sae": lambda digest: f"an SAE of digest {digest[:8]}…",
    "applied.modalities": lambda names: f"vectors of {', '.join(names)}",
    "applied.fitted_on": lambda source: f"classes and means of the {source}" if source else "none fitted",
    "applied.fitted": lambda digest: f"classes and means of digest {digest[:8]}…",
}


def require_as_begun(output: str, there: Manifest, here: Manifest) -> None:
    """Raise InputError, naming what was asked for then and what is now, unless an output may go on.

    there: the manifest in the output. here: what it would be now.
    """
    place = without_secrets(output)
    if not there.applied:
        raise InputError(f"{place} holds a store that `isoenergy {there.stage}` made; give another --output")
    before, now = (json.loads(json.dumps(of.what_counts())) for of in (there, here))
    differing = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if not differing:
        return
    if named := [name for name in _TEXTS if name in differing and _FOLLOWING.get(name) not in differing]:
        then, asked = (", ".join(_TEXTS[name](of.get(name)) for name in named) for of in (before, now))
    else:
        names = [name for name in differing if name not in _OF_THE_STORE] or differing
        then, asked = f"the store {there.source}", f"{here.source}, which differs in {', '.join(names)}"
    raise InputError(
        f"{place} was begun with {then}, and is now given {asked}; give what it was begun with, or another --output"
    )
