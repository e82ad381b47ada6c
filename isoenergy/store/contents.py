"""What a store holds, as its manifest and its commit records say: nothing of its shards is read for it."""

import hashlib

from isoenergy.pairs.splits import Pairs
from isoenergy.storage.files import absolute_uri
from isoenergy.store.manifest import CommitRecord, Manifest


class StoreContents:
    """How a store was made, and the units that it has."""

    def __init__(self, uri: str, manifest: Manifest, commits: list[CommitRecord]) -> None:
        self.uri, self.manifest, self.commits = absolute_uri(uri), manifest, commits

    def __len__(self) -> int:
        """Return the number of rows: embedded pairs, or where all tokens were taken, pairs of their hidden states."""
        return self.pairs_in("all")

    @property
    def embedded(self) -> int:
        """The source's pairs that were embedded; rows_in is this and the rejected ones."""
        return sum(record.embedded for record in self.commits)

    @property
    def rows_in(self) -> int:
        """Pairs that were read, embedded or rejected."""
        return sum(record.rows_in for record in self.commits)

    def pairs_in(self, split: Pairs) -> int:
        """Return the number of rows of a split, or of all."""
        return sum(record.pairs_in(split) for record in self.commits)

    @property
    def rejected(self) -> dict[str, int]:
        """Rejected pairs by reason."""
        total: dict[str, int] = {}
        for record in self.commits:
            for reason, count in record.rejected_by_reason.items():
                total[reason] = total.get(reason, 0) + count
        return total

    @property
    def fingerprint(self) -> str:
        """Digest of what is committed: equal stores, equal fingerprints."""
        return hashlib.sha256("".join(record.shard_sha256 for record in self.commits).encode()).hexdigest()
