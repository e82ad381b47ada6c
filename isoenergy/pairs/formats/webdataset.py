"""Pairs from WebDataset tars, as img2dataset writes them."""

import io
import json
import math
import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

import pyarrow as pa

from isoenergy.pairs.beside import Beside
from isoenergy.pairs.columns import usual_column
from isoenergy.pairs.decoding import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES
from isoenergy.pairs.formats.tar import Damage, Member, read_tar
from isoenergy.pairs.reach import open_file, source_files
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairUnit, RawPairs
from isoenergy.storage.files import absolute_uri, file_digest

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})
_MOST = {"image": MAX_IMAGE_BYTES, "caption": MAX_CAPTION_BYTES, "json": 2**20}
_TOO_LARGE = {"image": Reason.IMAGE_TOO_LARGE, "caption": Reason.CAPTION_TOO_LONG}
_READ_AHEAD_BYTES = 8 * 2**20
_BUFFER_BYTES = 2**18
_SIZED_TARS = 32
_MEMBERS_A_SAMPLE = 3
_BYTES_AROUND_A_MEMBER = 512 + 256  # a header, and on average half a block of padding


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    image: bytes | None = None
    caption: bytes | None = None
    json: bytes | None = None
    rejection: Rejected | None = None
    suffixes: set[str] = field(default_factory=set)

    def add(self, suffix: str, member: Member) -> None:
        """Keep a member if it has a role that none before it had."""
        self.suffixes.add(suffix)
        role = _role(suffix)
        if role is None or getattr(self, role) is not None:
            return
        setattr(self, role, member.content)
        if member.content is None and role in _TOO_LARGE:
            self.rejection = Rejected(_TOO_LARGE[role], f"{member.size:,} bytes, at most {_MOST[role]:,} are read")

    def raw_caption(self) -> bytes | None:
        """Return the caption of the `.txt` member, else of the `.json` one."""
        if self.caption is not None or self.json is None:
            return self.caption
        try:
            content = json.loads(self.json)
            caption = content[usual_column(list(content), "caption")]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return caption.encode("utf-8", "surrogatepass") if isinstance(caption, str) else None


class WebDatasetPairs:
    """A tar or a folder of tars with `.jpg`, `.txt` and `.json` members grouped by key; see `PairSource`.

    A member's key is its name up to the first dot of its last part, and a sample is a run of members of one key. The
    pair's key is the tar's name and the sample's key, so tars may number their samples alike. The caption is the `.txt`
    member, or the caption in the `.json` one, which passes through as text.
    """

    format: ClassVar[Format] = "webdataset"
    keys_may_repeat = False
    passed_through = pa.schema([("json", pa.string())])

    def __init__(self, uri: str) -> None:
        """List the tars; none is opened. Raises InputError if there are none."""
        self._filesystem, self._root, self.files, others = source_files(uri, SUFFIXES)
        self.beside = Beside.of(self.files, others)
        self.uri = absolute_uri(uri)

    def file_digest(self, file: str) -> str:
        """Return a digest of the tar's size and both its ends."""
        return file_digest(self._filesystem, self._path(file))

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Return one unit a tar: how many samples it holds only reading it tells."""
        del rows_per_unit
        return [PairUnit(file, 0, None) for file in self.files]

    def estimated_pairs(self, content_bytes: float) -> int:
        """Return about how many samples there are, from the size of some tars.

        content_bytes: of the members of an average sample, which have headers and padding beside it.
        """
        some = self.files[:: math.ceil(len(self.files) / _SIZED_TARS)]
        size = sum(self._filesystem.size(self._path(file)) for file in some) / len(some)
        return round(size * len(self.files) / (content_bytes + _MEMBERS_A_SAMPLE * _BYTES_AROUND_A_MEMBER))

    def keys(self, file: str) -> pa.ChunkedArray:
        """Never asked: keys cannot repeat between tars, and within one they are checked as it is read."""
        raise NotImplementedError

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Stream the tar's samples in order.

        Each place at which the tar is spoilt is a pair too, which says so; what follows it is found again.
        """
        numbered: Iterator[tuple[int, _Sample]] = enumerate(self._samples(unit.file))
        if rows is not None:
            numbered = _only(numbered, rows)
        while batch := list(islice(numbered, rows_per_batch)):
            yield _raw(batch)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some samples of one tar, by their number; it is read up to the last of them."""
        return {row: sample.image for row, sample in _only(enumerate(self._samples(file)), rows)}

    def _samples(self, file: str) -> Iterator[_Sample]:
        seen: set[str] = set()
        for row, sample in enumerate(self._grouped(file)):
            if isinstance(sample, Damage):
                rejection = Rejected(Reason.UNREADABLE_FILE, f"the tar is spoilt: {sample.detail}")
                yield _Sample(f"{file}/unreadable-{row:09d}", rejection=rejection)
                continue
            if sample.key in seen:
                sample.rejection = Rejected(Reason.DUPLICATE_KEY, "the key stands earlier in the tar")
            seen.add(sample.key)
            sample.key = f"{file}/{sample.key}"
            yield sample

    def _grouped(self, file: str) -> Iterator[_Sample | Damage]:
        sample: _Sample | None = None
        with (
            open_file(self._filesystem, self._path(file), block_size=_READ_AHEAD_BYTES) as stream,
            io.BufferedReader(stream, _BUFFER_BYTES) as buffered,
        ):
            for member in read_tar(buffered, _most_bytes):
                if isinstance(member, Damage):
                    yield member
                    continue
                key, suffix = _key_and_suffix(member.name)
                if not key:
                    continue
                if sample is None or key != sample.key or suffix in sample.suffixes:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                sample.add(suffix, member)
        if sample is not None:
            yield sample

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


def _only(numbered: Iterator[tuple[int, _Sample]], rows: Collection[int]) -> Iterator[tuple[int, _Sample]]:
    wanted = frozenset(rows)
    up_to_the_last = islice(numbered, max(wanted, default=-1) + 1)
    return ((row, sample) for row, sample in up_to_the_last if row in wanted)


def _key_and_suffix(name: str) -> tuple[str, str]:
    """Split a member's name; both are empty where it belongs to no sample."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem, dot, suffix = base.partition(".")
    return (posixpath.join(folder, stem), suffix.lower()) if stem and dot else ("", "")


def _role(suffix: str) -> str | None:
    return "image" if suffix in _IMAGES else {"txt": "caption", "json": "json"}.get(suffix)


def _most_bytes(name: str) -> int:
    role = _role(_key_and_suffix(name)[1])
    return _MOST[role] if role else 0


def _raw(samples: Sequence[tuple[int, _Sample]]) -> RawPairs:
    texts = [None if sample.json is None else sample.json.decode("utf-8", "replace") for _, sample in samples]
    return RawPairs(
        rows=[row for row, _ in samples],
        keys=[sample.key.encode("utf-8", "surrogateescape") for _, sample in samples],
        images=[sample.image for _, sample in samples],
        captions=[sample.raw_caption() for _, sample in samples],
        rejections=[sample.rejection for _, sample in samples],
        passed_through=pa.table([pa.array(texts, pa.string())], WebDatasetPairs.passed_through),
    )
