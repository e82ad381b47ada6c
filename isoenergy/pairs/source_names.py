"""What a user may write for a source of several files: lists, braces as a shell has them, and globs."""

import re
from collections.abc import Callable, Iterator
from itertools import islice, product

from isoenergy.errors import InputError

_CHAINED = {"zip", "tar", "libarchive", "simplecache", "filecache", "blockcache", "cached", "dir", "reference"}
"""Filesystems of fsspec that lie in another, which follows behind `::`."""
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_MOST_NAMES = 1_000_000
_MOST_COMMAS = 8
"""In one name, beside which others are listed."""
MAGIC = re.compile(r"[*?[]")
_SPECIAL = re.compile(r"[*?[{,]")


def listed_places(uri: str) -> list[str]:
    """Split a list with `::` between its URIs, as WebDataset has it; a chain of filesystems is one URI."""
    uris: list[str] = []
    chained = False
    for part in uri.split("::"):
        if chained:
            uris[-1] += f"::{part}"
        else:
            uris.append(part)
        chained = part.partition("://")[0] in _CHAINED
    return [uri for uri in uris if uri]


def listed_names(uri: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the names that stand between the commas of a list.

    The commas of a name that exists, and of a folder that does, are letters of it. Blanks around a name are not.
    """
    parts, names = split_at_commas(uri), []

    def is_one(count: int) -> bool:
        name = ",".join(parts[:count])
        return "://" not in name.partition(",")[2] and (
            exists(name) or len(split_at_commas(name[len(literal_folder(name, exists)) :])) == 1
        )

    while parts:
        is_there = exists(parts[0])
        several = range(2, min(len(parts), _MOST_COMMAS + 1) + 1)
        count = 1 if is_there else next(filter(is_one, several), 1)
        names.append(",".join(parts[:count]) if is_there or count > 1 else parts[0].strip())
        del parts[:count]
    return [name for name in names if name]


def literal_folder(name: str, exists: Callable[[str], bool]) -> str:
    """Return the folders at the beginning of a name in which nothing stands for something else.

    Letters of patterns are letters in a folder that exists under exactly that name.
    """
    end, first = 0, _SPECIAL.search(name)
    while first:
        slash = name.find("/", first.start())
        if slash < 0 or not exists(name[:slash]):
            return name[: max(end, name.rfind("/", 0, first.start()) + 1)]
        end, first = slash + 1, _SPECIAL.search(name, slash)
    return name[: name.rfind("/") + 1]


def expanded(name: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the URIs that a name's braces make: `{0000..0003}.tar`, `{a,b}/{1..9..2}`.

    Raises InputError if they are more than a million.
    """
    folder = literal_folder(name, exists)
    found = [folder + rest for rest in islice(_unbraced(name[len(folder) :]), _MOST_NAMES + 1)]
    if len(found) > _MOST_NAMES:
        raise InputError(f"{name} stands for more than {_MOST_NAMES:,} files; give fewer")
    return found


def is_pattern(uri: str) -> bool:
    """Return whether a source's name may stand for several files."""
    return bool(MAGIC.search(uri)) or "::" in uri or "," in uri or "{" in uri


def split_at_commas(text: str) -> list[str]:
    """Split at the commas that are in no braces."""
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == ",":
            parts.append(text[start:at])
            start = at + 1
        at = max(at, _closing(text, at) if text[at] == "{" else 0) + 1
    return [*parts, text[start:]]


def _unbraced(text: str) -> Iterator[str]:
    start = text.find("{")
    end = _closing(text, start)
    if end < 0:
        yield text
        return
    inner = text[start + 1 : end]
    if found := _RANGE.fullmatch(inner):
        middles = _numbers(*found.groups())
    elif len(choices := split_at_commas(inner)) > 1:
        middles = (name for choice in choices for name in _unbraced(choice))
    else:
        middles = (f"{{{name}}}" for name in _unbraced(inner))
    for middle, rest in product(middles, list(_unbraced(text[end + 1 :]))):
        yield text[:start] + middle + rest


def _closing(text: str, start: int) -> int:
    """Return where the brace that opens at `start` closes; -1 if nowhere."""
    depth = 0
    for at in range(start, len(text)) if start >= 0 else ():
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return at
    return -1


def _numbers(first: str, last: str, step: str | None) -> Iterator[str]:
    """Yield the numbers of a range, as wide as its ends where one of them begins with 0."""
    begin, end = int(first), int(last)
    if abs(end - begin) > _MOST_NAMES:
        raise InputError(f"{{{first}..{last}}} stands for more than {_MOST_NAMES:,} files; give fewer")
    stride = max(1, abs(int(step or 1)))
    padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-")[0] == "0" for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    numbers = range(begin, end + 1, stride) if begin <= end else range(begin, end - 1, -stride)
    return (f"{number:0{width}d}" for number in numbers)
