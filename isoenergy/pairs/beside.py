"""What a source's folder holds beside the files that are read."""

import posixpath
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

_LISTED = 6
_SIDECAR_SUFFIXES = (".json", ".txt", ".caption", ".parquet", ".idx")
_LONGEST_SUFFIX = 12


@dataclass(frozen=True)
class Beside:
    """The files that no pair is read from."""

    sidecars: int = 0
    """Those that go with the files that are read: notes of the same name, as img2dataset's `00000_stats.json` and
    `00000.parquet` beside `00000.tar`, and names with a leading underscore, such as `_SUCCESS`."""
    left_aside: str = ""
    """All others, counted by suffix."""

    @classmethod
    def of(cls, read: Iterable[str], others: Collection[str]) -> Self:
        """Tell sidecars from what is left aside; paths are relative to the source."""
        stems = {_stem(file) for file in read}
        left = [file for file in others if not _is_sidecar(file, stems)]
        return cls(len(others) - len(left), counted(left) if left else "")

    def __str__(self) -> str:
        """Return what follows the number of files that are read; nothing if there are no others."""
        sidecars = f", {self.sidecars:,} sidecar{'s' * (self.sidecars > 1)}" if self.sidecars else ""
        return sidecars + (f"; left aside: {self.left_aside}" if self.left_aside else "")


def counted(files: Iterable[str]) -> str:
    """Return how many files there are of each suffix, the most frequent first."""
    kinds = Counter(map(_suffix, files)).most_common()
    shown = [f"{count:,} {suffix}" for suffix, count in kinds[:_LISTED]]
    more = sum(count for _, count in kinds[_LISTED:])
    return ", ".join([*shown, *([f"{more:,} others"] if more else [])]) or "nothing"


def _is_sidecar(file: str, stems: set[str]) -> bool:
    noted = file.lower().endswith(_SIDECAR_SUFFIXES) and _stem(file).removesuffix("_stats") in stems
    return noted or posixpath.basename(file).startswith("_")


def _stem(file: str) -> str:
    folder, name = posixpath.split(file)
    return posixpath.join(folder, name.partition(".")[0])


def _suffix(file: str) -> str:
    suffix = posixpath.splitext(file)[1].lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= _LONGEST_SUFFIX else "no suffix"
