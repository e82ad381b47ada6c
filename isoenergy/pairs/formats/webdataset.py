"""Pairs from WebDataset tars, as img2dataset writes them."""

import io
import json
import math
import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.bounds import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES
from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.formats.listed import raw_text
from isoenergy.pairs.formats.samples import WINDOW_BYTES, WINDOW_SAMPLES, LateNotes, Sample, captions_in, grouped
from isoenergy.pairs.formats.tar import Damage, Member, read_tar
from isoenergy.pairs.kinds import Role, image_kind, role_of
from isoenergy.pairs.places import absolute_source, listed_tags
from isoenergy.pairs.reach import open_file
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairUnit, RawPairs
from isoenergy.pairs.source_files import source_files
from isoenergy.storage.files import tagged_digest

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
_MOST: dict[Role, int] = {"image": MAX_IMAGE_BYTES, "caption": MAX_CAPTION_BYTES, "json": 2**20}
_TOO_LARGE: dict[Role, Reason] = {"image": Reason.IMAGE_TOO_LARGE, "caption": Reason.CAPTION_TOO_LONG}
_MISSING: dict[Role, Reason] = {"image": Reason.MISSING_IMAGE, "caption": Reason.MISSING_CAPTION}
_READ_AHEAD_BYTES = 8 * 2**20
_BUFFER_BYTES = 2**18
_SIZED_TARS = 32
_MEMBERS_A_SAMPLE = 3
_BYTES_AROUND_A_MEMBER = 512 + 256  # a header, and on average half a block of padding
_TWICE = Rejected(Reason.DUPLICATE_KEY, "the key stands earlier in the tar")
_HOW_TO_SORT = "tar --sort=name -cf sorted.tar -C FOLDER . of the unpacked tar puts them together"


@dataclass(frozen=True)
class _Found:
    """A pair of a tar, or a place at which it is spoilt."""

    key: bytes | None
    rejection: Rejected | None
    image: bytes | None = None
    caption: bytes | None = None
    json: bytes | None = None


class WebDatasetPairs:
    """Tars with images, `.txt` and `.json` members, grouped into samples as in `samples`; see `PairSource`.

    The pair's key is the tar's name and the sample's key, so tars may number their samples alike. The caption is the
    `.txt` member, or what is that in the `.json` one, which passes through as text.
    """

    format: ClassVar[Format] = "webdataset"
    keys_may_repeat = False
    passed_through = pa.schema([("json", pa.string())])

    def __init__(self, uri: str, captions: Captions = EACH_CAPTION) -> None:
        """List the tars; they are read up to the first sample. Raises InputError if there are none, or no sample."""
        self._filesystem, self._root, self.files, others = source_files(uri, SUFFIXES)
        self.beside = Beside.of(self.files, others)
        self.uri = absolute_source(uri)
        self._captions = captions
        why_none = (self._why_no_sample(file) for file in self.files)
        if (first := next(why_none)) is not None and None not in why_none:
            raise InputError(f"{uri} holds no pairs: no image and no text in its {len(self.files)} tars{first}")

    def file_digest(self, file: str) -> str:
        """Return a digest of the tar's size and both its ends."""
        return tagged_digest(self._filesystem, self._path(file))

    def listed_tags(self) -> dict[str, str]:
        """Return what an object store lists of the files."""
        return listed_tags(self._filesystem, self._root)

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Return one unit a tar: how many samples it holds only reading it tells."""
        del rows_per_unit
        return [PairUnit(file, 0, None) for file in self.files]

    def estimated_pairs(self, content_bytes: float) -> int:
        """Return about how many samples there are, from the size of some tars.

        content_bytes: of the members of an average sample, which have headers and padding beside it.
        """
        some = self.files[:: math.ceil(len(self.files) / _SIZED_TARS)]
        size: float = sum(self._filesystem.size(self._path(file)) for file in some) / len(some)
        return round(size * len(self.files) / (content_bytes + _MEMBERS_A_SAMPLE * _BYTES_AROUND_A_MEMBER))

    def keys(self, file: str) -> pa.ChunkedArray:
        """Never asked: keys cannot repeat between tars, and within one they are checked as it is read."""
        raise NotImplementedError

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Stream the tar's samples in order.

        Each place at which the tar is spoilt is a pair too, which says so; what follows it is found again.
        """
        numbered: Iterator[tuple[int, _Found]] = enumerate(self._samples(unit.file))
        if rows is not None:
            numbered = _only(numbered, rows)
        while batch := list(islice(numbered, rows_per_batch)):
            yield _raw(batch)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some samples of one tar, by their number; it is read up to the last of them."""
        return {row: sample.image for row, sample in _only(enumerate(self._samples(file)), rows)}

    def _samples(self, file: str) -> Iterator[_Found]:
        with (
            open_file(self._filesystem, self._path(file), block_size=_READ_AHEAD_BYTES) as stream,
            io.BufferedReader(stream, _BUFFER_BYTES) as buffered,
        ):
            numbered: set[bytes | None] = set()  # keys that a caption's number may have made, or that look so
            for place, sample in enumerate(grouped(read_tar(buffered, _most_bytes))):
                if isinstance(sample, Damage):
                    rejection = Rejected(Reason.UNREADABLE_FILE, f"the tar is spoilt: {sample.detail}")
                    yield _Found(f"{file}/unreadable-{place:09d}".encode(), rejection)
                    continue
                if isinstance(sample, LateNotes):
                    yield _Found(f"{file}/late-notes".encode(), _late(sample.count))
                    continue
                key = f"{file}/{sample.key}".encode("utf-8", "surrogateescape")
                image, caption, described = (sample.content(role) for role in _MOST)
                pairs: list[tuple[bytes | None, bytes | None]] = [(key, caption)]
                if caption is None and described is not None:
                    chosen = self._captions.chosen(key, captions_in(described))
                    pairs = [(pair_key, raw_text(text)) for pair_key, text in chosen]
                for pair_key, text in pairs:
                    why = _TWICE if pair_key in numbered else _why_none(sample)
                    if b"#" in (pair_key or b"") and None not in (image, text):
                        numbered.add(pair_key)
                    yield _Found(pair_key, why, image, text, described)

    def _why_no_sample(self, file: str) -> str | None:
        """Return None if a tar holds a sample, else what to say of it behind that."""
        try:
            with open_file(self._filesystem, self._path(file), block_size=_READ_AHEAD_BYTES) as stream:
                for member in read_tar(io.BufferedReader(stream, _BUFFER_BYTES), _most_bytes):
                    if isinstance(member, Damage) and member.is_no_tar:
                        return f"; {file} is none: {member.detail}"
                    if _is_of_a_pair(member):
                        return None
                return ""
        except OSError:  # whatever it holds: its unit will say what is wrong
            return None

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


def _is_of_a_pair(member: Member | Damage) -> bool:
    """Return whether a member may be an image or hold a caption; a spoilt place may have held one."""
    if isinstance(member, Damage):
        return True
    if posixpath.basename(member.name).startswith("."):
        return False
    if image_kind(member.content or b""):
        return True
    role = role_of(member.name)
    return role in ("image", "caption") or (role == "json" and any(captions_in(member.content or b"")))


def _only(numbered: Iterator[tuple[int, _Found]], rows: Collection[int]) -> Iterator[tuple[int, _Found]]:
    wanted = frozenset(rows)
    up_to_the_last = islice(numbered, max(wanted, default=-1) + 1)
    return ((row, sample) for row, sample in up_to_the_last if row in wanted)


def _most_bytes(name: str, head: bytes) -> int:
    role: Role | None = "image" if image_kind(head) else role_of(name)
    return _MOST[role or "json"]  # a link may give a role to what has none


def _why_none(sample: Sample) -> Rejected | None:
    """Return why a sample is no pair, where the tar says it."""
    if sample.again:
        return _TWICE
    for role, reason in _TOO_LARGE.items():
        member = sample.members.get(role)
        if member is not None and member.fault:
            return Rejected(_MISSING[role], f"{member.name} is {member.fault}")
        if member is not None and member.size > _MOST[role]:
            return Rejected(reason, f"{member.size:,} bytes, at most {_MOST[role]:,} are read")
    if sample.far_apart:
        return Rejected(
            Reason.NOT_ADJACENT,
            f"image and text are over {WINDOW_BYTES >> 20} MiB or {WINDOW_SAMPLES:,} samples apart in the tar; "
            f"{_HOW_TO_SORT}",
        )
    if sample.dropped:
        return Rejected(_MISSING["caption" if "image" in sample.members else "image"])
    return None


def _text_of_json(content: bytes) -> str:
    """Return a text in any coding that JSON may have, without a byte order mark."""
    return content.decode(json.detect_encoding(content), "replace").removeprefix("\ufeff")


def _late(notes: int) -> Rejected:
    what = f"{notes:,} .json members come when their pairs have been read, which are embedded without them"
    return Rejected(Reason.NOT_ADJACENT, f"{what}; {_HOW_TO_SORT}")


def _raw(samples: Sequence[tuple[int, _Found]]) -> RawPairs:
    texts = [None if sample.json is None else _text_of_json(sample.json) for _, sample in samples]
    return RawPairs(
        rows=[row for row, _ in samples],
        keys=[sample.key for _, sample in samples],
        images=[sample.image for _, sample in samples],
        captions=[sample.caption for _, sample in samples],
        rejections=[sample.rejection for _, sample in samples],
        passed_through=pa.table([pa.array(texts, pa.string())], WebDatasetPairs.passed_through),
    )
