"""Going over rejected pairs again: which of them, and what becomes of their unit."""

import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.pairs.rejection import RETRIABLE
from isoenergy.store.manifest import CommitRecord


def retriable_pairs(record: CommitRecord) -> int:
    """Return how many of a unit's pairs were rejected for reasons that may have gone."""
    return sum(count for reason, count in record.rejected_by_reason.items() if reason in RETRIABLE)


def retriable_rows(rejected: pa.Table) -> list[int]:
    """Return the numbers, in their file, of the rejected pairs whose reasons may have gone."""
    numbers: list[int] = rejected.filter(pc.is_in(rejected["reason"], pa.array(sorted(RETRIABLE))))["row"].to_pylist()
    return numbers


def merge(
    shard: pa.Table, rejected: pa.Table, new_shard: pa.Table, new_rejected: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """Return a unit's shard and rejected pairs after some were tried again, in the order of the input.

    new_shard, new_rejected: what came of the pairs that were tried; those that `rejected` does not hold, or not for a
    reason that may have gone, are left out.
    """
    tried = pa.array(sorted({*new_shard["row"].to_pylist(), *new_rejected["row"].to_pylist()}), pa.int64())
    awaited = pa.array(retriable_rows(rejected), pa.int64())
    replaced = pc.and_(pc.is_in(rejected["row"], tried), pc.is_in(rejected["row"], awaited))
    kept = rejected.filter(pc.invert(replaced))
    return (
        pa.concat_tables([shard, new_shard.filter(pc.is_in(new_shard["row"], awaited))]).sort_by("row"),
        pa.concat_tables([kept, new_rejected.filter(pc.is_in(new_rejected["row"], awaited))]).sort_by("row"),
    )
