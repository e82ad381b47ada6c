"""How captions that are joined to vectors by key, and these, have found each other."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from isoenergy.counts import counted
from isoenergy.pairs.formats.row_groups import NO_LETTER, bytes_of, readable
from isoenergy.store.column_files import ColumnFile, JoinedColumns, are_in, joined_part, keys_of, whole_columns

_FILES_AT_ONCE = 32


@dataclass(frozen=True)
class JoinedCaptions:
    """A table of captions beside files of vectors, and how many rows of either have a fellow."""

    table: str
    """Its place, for people."""
    rows: int
    """Of vectors."""
    captioned: int
    """Those of which the table has a text."""
    table_rows: int
    placed: int
    """Those of the table whose key a row of vectors has."""
    first: str
    """Of the table's others; empty if there are none."""
    wanted: str
    """A key of the vectors' rows."""
    not_utf8: int
    """Keys of the table that are no UTF-8."""

    @classmethod
    def of(cls, parts: Iterable[Sequence[ColumnFile]]) -> Self | None:
        """Look through the keys of all files that a table of captions is joined to; None if there is none.

        parts: files whose rows belong together. Holds the keys, some 28 bytes a row.
        """
        joined = [part for together in parts for part in map(joined_part, together) if part and part.caption]
        if not joined:
            return None
        table, key, caption = joined[0].of, joined[0].key, joined[0].caption
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            wanted = pa.chunked_array(list(pool.map(_wanted, joined)), pa.binary())
        own = keys_of(table, key)
        texts = bytes_of(whole_columns(table, [caption])[caption])
        with_text = own.filter(pa.array([bool(text) for text in texts], pa.bool_()))
        placed = are_in(own, wanted)
        first = int(np.argmin(placed)) if len(placed) and not placed.all() else -1
        return cls(
            table=table.at.shown,
            rows=len(wanted),
            captioned=int(are_in(wanted, with_text).sum()),
            table_rows=len(own),
            placed=int(placed.sum()),
            first="" if first < 0 else f"row {first}, key {readable(own[first].as_py())!r}",
            wanted=readable(wanted[0].as_py()) if len(wanted) else "",
            not_utf8=_not_utf8(own),
        )

    @property
    def why_useless(self) -> str:
        """Why the table is not one of these rows, if no row of it goes to any; else empty."""
        if self.placed or not self.rows:
            return ""
        return (
            f"{self.table} has the key of no row of vectors: {self.first or 'it has no rows'}, and theirs are such as "
            f"{self.wanted!r}{self._encoding}; give the table of these keys, --key NAME, or --key none to take it row "
            f"by row"
        )

    def told(self) -> list[str]:
        """Return what there is to say of rows of either that have no fellow, a sentence a kind."""
        if self.why_useless:
            return [self.why_useless]
        without, extra = self.rows - self.captioned, self.table_rows - self.placed
        lines = [f"{without:,} of {counted(self.rows, 'row')} have no caption in {self.table}"] if without else []
        if extra:
            lines.append(
                f"{extra:,} of {counted(self.table_rows, 'row')} of {self.table} are captions of no row, such as "
                f"{self.first}{self._encoding}"
            )
        return lines

    @property
    def _encoding(self) -> str:
        return f" ({counted(self.not_utf8, 'key')} of it not UTF-8: save it as UTF-8)" if self.not_utf8 else ""


def _wanted(joined: JoinedColumns) -> pa.Array:
    return keys_of(joined.order, joined.order_key)


def _not_utf8(keys: pa.Array) -> int:
    try:
        keys.view(pa.string()).validate(full=True)
    except pa.ArrowInvalid:
        return sum(NO_LETTER in readable(key) for key in keys.to_pylist())
    return 0
