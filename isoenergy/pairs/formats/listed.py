"""What sources have in common that list captions and name images: COCO, tables, metadata with URLs."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source import PairUnit, RawPairs

Fetch = Callable[[Iterable[Sequence[str | None]]], Iterator[list[bytes | Rejected]]]
"""Gets the images of batches of names, in order: paths or URLs; None: there is no name. It may read ahead."""


@dataclass(frozen=True)
class Listing:
    """The pairs of one list, in its order; row i of each field is one pair."""

    keys: list[bytes | None]
    names: list[str | None]
    """Of the images."""
    captions: list[bytes | None]
    rejections: dict[int, Rejected]
    """Why a row is no pair."""
    passed_through: pa.Table

    def __len__(self) -> int:
        return len(self.keys)

    def with_columns(self, schema: pa.Schema) -> "Listing":
        """Return the list with all columns of `schema`, null where it has none of that name."""
        own = self.passed_through
        columns = [own[f.name] if f.name in own.schema.names else pa.nulls(len(self), f.type) for f in schema]
        return replace(self, passed_through=pa.table(columns, schema))


def read_listed(
    listing: Listing, rows: int, fetch: Fetch, unit: PairUnit, rows_per_batch: int, chosen: Collection[int] | None
) -> Iterator[RawPairs]:
    """Yield the unit's pairs, or those with the numbers `chosen`, in order.

    rows: how many pairs the list had when it was opened. Raises OSError if it has another number now.
    """
    require_same_length(unit.file, rows, len(listing))
    wanted = unit.chosen(chosen, rows if unit.stop is None else unit.stop)
    batches = (list(wanted[first : first + rows_per_batch]) for first in range(0, len(wanted), rows_per_batch))
    return with_images((_chosen(listing, batch) for batch in batches), fetch)


def require_same_length(file: str, then: int, now: int) -> None:
    """Raise OSError if a list or folder has another number of pairs than when it was opened."""
    if then != now:
        raise OSError(f"{file} had {then} pairs when the source was opened and has {now} now")


def with_images(parts: Iterable[tuple[RawPairs, Sequence[str | None]]], fetch: Fetch) -> Iterator[RawPairs]:
    """Yield pairs with the images that are named beside them; one that cannot be got is the pair's rejection."""
    waiting: deque[RawPairs] = deque()

    def names() -> Iterator[Sequence[str | None]]:
        for raw, wanted in parts:
            waiting.append(raw)
            yield wanted

    for images in fetch(names()):
        raw = waiting.popleft()
        why_not = [image if isinstance(image, Rejected) else None for image in images]
        yield replace(
            raw,
            images=[None if isinstance(image, Rejected) else image for image in images],
            rejections=[first or second for first, second in zip(raw.rejections, why_not, strict=True)],
        )


def among(names: Sequence[str | None], rows: Sequence[int]) -> dict[int, str | None]:
    """Return the names of some rows."""
    return {row: names[row] for row in rows if row < len(names)}


def fetched(names: dict[int, str | None], fetch: Fetch) -> dict[int, bytes | None]:
    """Return the images that are named, by the same number; None where one cannot be got."""
    (images,) = fetch([list(names.values())])
    return {row: None if isinstance(image, Rejected) else image for row, image in zip(names, images, strict=True)}


def _chosen(listing: Listing, rows: list[int]) -> tuple[RawPairs, list[str | None]]:
    raw = RawPairs(
        rows=rows,
        keys=[listing.keys[row] for row in rows],
        images=[None] * len(rows),
        captions=[listing.captions[row] for row in rows],
        rejections=[listing.rejections.get(row) for row in rows],
        passed_through=listing.passed_through.take(rows),
    )
    return raw, [None if row in listing.rejections else listing.names[row] for row in rows]


def raw_text(text: str | None) -> bytes | None:
    """Return a text's bytes; half of a surrogate pair becomes bytes that are not UTF-8."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def printable(text: str) -> str:
    """Return a text that Arrow can hold: half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
