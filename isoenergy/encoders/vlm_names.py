"""The name of an encoder that is a layer of a vision-language model: `vlm:SOURCE@LAYER?SETTING=VALUE&…`.

All that its rows depend on is in its name, so that whoever loads it again, as the explorer does for a question, gets
rows of the same kind.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode

from isoenergy.errors import InputError
from isoenergy.settings.hidden_states import UNCHANGED, HiddenStates

FAMILY = "vlm:"


@dataclass(frozen=True)
class VlmName:
    """What a name says."""

    source: str
    """A folder or an id on the hub."""
    layer: int
    """How many blocks of the language model a hidden state has gone through; 0: what enters the first."""
    reading: HiddenStates = UNCHANGED

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return what `name` says; raises InputError if it is not of this form."""
        source, _, rest = name.removeprefix(FAMILY).rpartition("@")
        layer, _, settings = rest.partition("?")
        if not name.startswith(FAMILY) or not source or not layer.isdecimal():
            raise InputError(f"{name!r} is not vlm:FOLDER@LAYER or vlm:ID@LAYER, LAYER a number from 0")
        return cls(source, int(layer), _reading(name, settings))

    def __str__(self) -> str:
        settings = urlencode(self.reading.chosen(), quote_via=quote, safe="{}")
        return f"{FAMILY}{self.source}@{self.layer}{'?' * bool(settings)}{settings}"


def encoder_names(text: str, reading: HiddenStates) -> list[str]:
    """Return the names in a list with commas between: `vlm:FOLDER@4,8` is two layers of one model.

    reading: of those that are layers and have no settings behind them.
    Raises InputError if there are settings, and no layer to read with them.
    """
    names: list[str] = []
    layers = False
    for part in (part.strip() for part in text.split(",")):
        if part.isdecimal() and names and names[-1].startswith(FAMILY):
            names.append(str(replace(VlmName.parse(names[-1]), layer=int(part))))
        elif part.startswith(FAMILY):
            name = VlmName.parse(part)
            names.append(str(name if "?" in part.rpartition("@")[2] else replace(name, reading=reading)))
            layers = True
        else:
            names.append(part)
    if reading != UNCHANGED and not layers:
        chosen = ", ".join(f"--vlm.{name.replace('_', '-')}" for name in reading.chosen())
        raise InputError(f"{chosen}: of vlm:FOLDER@LAYER encoders alone, and {text} is none")
    return names


def short_name(name: str) -> str:
    """Return the name without its settings, for a folder's name."""
    return str(replace(VlmName.parse(name), reading=UNCHANGED)) if name.startswith(FAMILY) else name


def by_model(names: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the names, those together that are layers of one model, read alike."""
    groups: dict[object, list[int]] = {}
    for number, name in enumerate(names):
        layer = VlmName.parse(name) if name.startswith(FAMILY) else None
        groups.setdefault((layer.source, layer.reading) if layer else number, []).append(number)
    return list(groups.values())


def _reading(name: str, settings: str) -> HiddenStates:
    values: dict[str, object] = {}
    defaults = asdict(UNCHANGED)
    for key, value in parse_qsl(settings, keep_blank_values=True):
        default = defaults.get(key)
        if default is None or (type(default) is int and not value.isdecimal()):
            raise InputError(f"{name!r}: {key}={value} is no setting; there are {', '.join(defaults)}")
        values[key] = value == "True" if isinstance(default, bool) else type(default)(value)
    return HiddenStates(**values)  # type: ignore[arg-type]
