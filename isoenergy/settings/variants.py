"""Small typed choices, each written alike on a command line, as a parameter and in a file: `name:field=value,…`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from isoenergy.errors import InputError


def number_text(value: float | str) -> str:
    """Return a short text for a number, from which exactly that number is read again; a word as it is."""
    if isinstance(value, str):
        return value
    text = f"{value:g}"
    return text if isinstance(value, float) and float(text) == value else repr(value)


class Variant:
    """Base of a family of frozen dataclasses, of which a setting holds one.

    A family is a direct subclass; its members are subclasses of that, each with a field `name` of one fixed value, so
    that `dataclasses.asdict` keeps which one it is.
    """

    name: str
    noun: ClassVar[str]
    """What a member of the family is called in a message."""

    @classmethod
    def members(cls) -> dict[str, type[Self]]:
        """Return the family's members by name."""
        return {member.name: member for member in cls.__subclasses__()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made `values` of; raises InputError, with what there is, for another."""
        rest = dict(values)
        name = rest.pop("name", None)
        members = cls.members()
        if name not in members:
            raise InputError(f"there is no {cls.noun} {name!r}; expected one of {cls.usage()}")
        member = members[name]
        known: dict[str, Any] = {field.name: field.default for field in member._settings()}
        unknown = set(rest) - set(known)
        if unknown:
            raise InputError(f"{cls.noun} {name} has no {', '.join(sorted(unknown))}; it is written {member.written()}")
        try:
            return member(**{key: type(known[key])(value) for key, value in rest.items()})
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{cls.noun} {name} is written {member.written()} ({error})") from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the member that `name` or `name:field=value,field=value` stands for."""
        name, _, settings = text.partition(":")
        pairs = [part.partition("=")[::2] for part in settings.split(",") if part]
        given = {key.strip().replace("-", "_"): value for key, value in pairs}
        if "name" in given:
            raise InputError(f"{cls.noun} {name} has no name to be set; expected one of {cls.usage()}")
        return cls.from_dict({"name": name, **given})

    @classmethod
    def usage(cls) -> str:
        """Return how each member is written, with its defaults."""
        return ", ".join(member.written() for member in cls.members().values())

    @classmethod
    def written(cls) -> str:
        """Return how this member is written with its defaults."""
        return str(cls())

    def __str__(self) -> str:
        settings = ",".join(
            f"{f.name.replace('_', '-')}={number_text(getattr(self, f.name))}" for f in self._settings()
        )
        return f"{self.name}:{settings}" if settings else self.name

    @classmethod
    def _settings(cls) -> list[dataclasses.Field[Any]]:
        return [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]  # every member is a dataclass
