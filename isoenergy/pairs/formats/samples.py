"""Which members of a tar are one sample: WebDataset's way, and what people's tars have that it does not know."""

import json
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import get_args

from isoenergy.pairs.captions import texts_of
from isoenergy.pairs.columns import usual_column
from isoenergy.pairs.formats.tar import Damage, Member
from isoenergy.pairs.kinds import Role, image_kind, role_of, stem_of

WINDOW_BYTES = 64 * 2**20
WINDOW_SAMPLES = 4096
"""How much of a tar may lie between the members of one sample."""


@dataclass(frozen=True)
class Sample:
    """The members of one key, at most one a role."""

    key: str
    members: dict[Role, Member]
    again: bool
    """Whether a sample of this key that has image and text stands before it."""
    dropped: bool = False
    """Whether what it lacks was not near, so that the contents are not there any more."""
    far_apart: bool = False
    """Whether what it lacked came later, too far away."""

    def content(self, role: Role) -> bytes | None:
        """Return what the member of a role holds."""
        return self.members[role].content if role in self.members else None


@dataclass(frozen=True)
class LateNotes:
    """Notes that came when their pairs had been made, so that they are lost."""

    count: int


def grouped(members: Iterable[Member | Damage]) -> Iterator[Sample | Damage | LateNotes]:
    """Yield the samples of a tar in the order of their first members, and the places at which it is spoilt.

    A sample's members share what their names have before the first dot of their last part, as WebDataset has it. Where
    that would put several pairs into one sample, as `Screen 10.2.jpg` and `Screen 10.3.jpg` with their texts, they
    share what is before the suffixes that say what they are. Members need not be adjacent: a sample that lacks its
    image or its text is waited for while `WINDOW_BYTES` or `WINDOW_SAMPLES` of others go by. Then its contents are
    dropped, and it comes at the end, unless image and text follow together: they are a sample without what was before.
    Once members of a sample were seen apart, and at the beginning of a tar whose samples have no text or no note, those
    that are whole wait as long, for a text or note of theirs may follow. A text that comes later still is a sample that
    comes again; notes that do are counted at the end.
    """
    window = _Window()
    for member in members:
        if isinstance(member, Damage):
            yield member
        else:
            window.add(member)
            yield from window.ready()
    yield from window.rest()


def captions_in(described: bytes) -> list[str | None]:
    """Return the captions in the content of a `.json` member; one that is None if it has none."""
    try:
        content = json.loads(described)
        return texts_of(content[usual_column(list(content), "caption")])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [None]


@dataclass(frozen=True)
class _Part:
    """A member with a role in its sample."""

    role: Role
    stem: str
    """Its name without the suffixes that say what it is."""
    is_plain: bool
    """Whether these begin at the first dot, and are one."""
    has_text: bool
    member: Member


@dataclass
class _Group:
    """The members so far of one of WebDataset's samples, or of one that is told by its stem."""

    key: str
    suffixes: set[str] = field(default_factory=set)
    stems: dict[str, list[_Part]] = field(default_factory=dict)
    is_closed: bool = False
    """Whether another has begun to take what has its key."""
    bytes: int = 0
    roles: set[Role] = field(default_factory=set)
    _with_image: set[str] = field(default_factory=set)
    _with_text: set[str] = field(default_factory=set)
    _whole: set[str] = field(default_factory=set)

    def add(self, part: _Part) -> None:
        """Take a member in; what is asked of a group is kept as it grows, for it may have most members of a tar."""
        self.stems.setdefault(part.stem, []).append(part)
        self.bytes += len(part.member.content or b"")
        self.roles.add(part.role)
        if part.role == "image":
            self._with_image.add(part.stem)
        if part.has_text:
            self._with_text.add(part.stem)
        if part.stem in self._with_image and part.stem in self._with_text:
            self._whole.add(part.stem)

    @property
    def parts(self) -> list[_Part]:
        return [part for parts in self.stems.values() for part in parts]

    @property
    def has_image(self) -> bool:
        return bool(self._with_image)

    @property
    def is_whole(self) -> bool:
        return bool(self._with_image) and bool(self._with_text)

    @property
    def is_several(self) -> bool:
        """Whether its stems are samples of their own: two are whole pairs, or one that is not named as the group is."""
        return len(self.stems) > 1 and (len(self._whole) > 1 or not self._whole <= {self.key})

    @property
    def has_several_images(self) -> bool:
        """Whether there are images of several stems, none of which is named as the group is."""
        return len(self._with_image) > 1 and self.key not in self._with_image

    def members(self) -> dict[Role, Member]:
        """Choose a member a role: plain ones before others, and if they are a pair no others."""
        plain = [part for part in self.parts if part.is_plain]
        others = [part for part in self.parts if not part.is_plain]
        if {"image", "caption"} <= {part.role for part in plain}:
            others = []
        chosen: dict[Role, Member] = {}
        for part in [*plain, *sorted(others, key=lambda part: part.stem != self.key)]:
            chosen.setdefault(part.role, part.member)
        return chosen


class _Window:
    """What is waited for, in the order in which it began."""

    def __init__(self) -> None:
        self._waiting: deque[_Group] = deque()
        self._open: dict[str, _Group] = {}
        self._told_by_stem: set[str] = set()
        self._dropped: dict[str, _Group] = {}
        self._whole: set[str] = set()  # keys of samples that had image and text
        self._last: _Group | None = None  # to which the newest member went
        self._newest: _Part | None = None
        self._bytes = 0
        self._linked: set[str] = set()  # names that symbolic links have given others
        self._late_notes = 0
        self._is_first = True  # whether this is the first window, and nothing has had image, text and note together
        self._is_unsorted = False  # whether members of one sample were seen apart

    def add(self, member: Member) -> None:
        """Put a member into its sample."""
        if member.target:
            self._linked.add(member.target)
        key, suffix = _key_and_suffix(member.name)
        is_image = image_kind(member.content or b"") is not None
        if not key or (not suffix and not is_image):
            return
        stem = self._stem(member.name, key, is_image)
        if key in self._told_by_stem:
            if not is_image and role_of(member.name) is None:
                return  # it belongs to a sample, but is none of what is read, and makes none by itself
            suffix, key = suffix.removeprefix(stem.removeprefix(key).lower()), stem
        part = _part(member, stem, suffix, is_image)
        dropped = self._dropped.get(key) if key not in self._open else None
        if dropped is not None and dropped.has_image:
            if suffix not in dropped.suffixes and part is not None:
                dropped.suffixes.add(suffix)
                _add_without_content(dropped, part)
            return
        group = self._open.get(key)
        self._is_unsorted |= group is not None and group is not self._last
        if group is None or suffix in group.suffixes:
            if group is not None:
                group.is_closed = True
            group = self._open[key] = _Group(key)
            self._waiting.append(group)
        group.suffixes.add(suffix)
        self._last = group
        if part is not None:
            group.add(part)
            self._newest = part
            self._is_first &= len(group.roles) < len(get_args(Role))
            self._bytes += len(member.content or b"")
            if group.is_several:
                self._split(group)

    def _stem(self, name: str, key: str, is_image: bool) -> str:
        """Return a name without its suffixes.

        Of an image that only its bytes tell, the last one is taken for a suffix unless what has the whole name is
        waiting, or the name ends as a number does: `Screen 10.2.bin`, but `Screen 10.2`.
        """
        name = name.removeprefix("./")
        stem = stem_of(name)
        without, suffix = posixpath.splitext(stem)
        if not is_image or role_of(name) or not suffix[1:2].isalpha():
            return stem
        group = self._open.get(key)
        is_whole_name = stem in self._open or (group is not None and stem in group.stems)
        return stem if is_whole_name or without == key else stem_of(without)

    def ready(self) -> Iterator[Sample]:
        """Yield the samples at the front that are not waited for any longer."""
        while self._waiting:
            first = self._waiting[0]
            stems = len(self._waiting) + len(first.stems) - 1
            is_full = self._bytes > WINDOW_BYTES or stems > WINDOW_SAMPLES
            if is_full and first.has_several_images and not first.is_whole:
                self._split(first)  # also while it grows: all of a tar may have one key
            elif first is self._last:
                return
            elif first.is_closed or (first.is_whole and (is_full or not (self._is_unsorted or self._is_first))):
                self._is_first &= not is_full
                yield from self._samples(self._taken())
            elif is_full:
                self._drop(self._taken())
            else:
                return

    def rest(self) -> Iterator[Sample | LateNotes]:
        """Yield what is left at the end of the tar."""
        while self._waiting:
            first = self._waiting[0]
            if first.has_several_images and not first.is_whole:
                self._split(first)
            else:
                group = self._taken()
                if group.key in self._dropped and not group.is_whole:
                    self._drop(group)
                else:
                    yield from self._samples(group)
        for group in self._dropped.values():
            yield from self._samples(group, dropped=True)
        if self._late_notes:
            yield LateNotes(self._late_notes)

    def _taken(self) -> _Group:
        group = self._waiting.popleft()
        self._bytes -= group.bytes
        if self._open.get(group.key) is group:
            del self._open[group.key]
        return group

    def _samples(self, group: _Group, dropped: bool = False) -> Iterator[Sample]:
        key = next(iter(group.stems)) if len(group.stems) == 1 else group.key
        members = group.members()
        again = key in self._whole
        if again and not {"image", "caption"} & members.keys():
            self._late_notes += 1
            return
        if not group.is_whole and group.stems and all(self._is_blob(part.member.name) for part in group.parts):
            return
        if group.is_whole:
            self._whole.add(key)
        yield Sample(key, members, again, dropped, far_apart=dropped and group.is_whole)

    def _is_blob(self, name: str) -> bool:
        """Return whether a name says nothing, and a link has given the file another, as in the Hugging Face cache."""
        return name in self._linked and "." not in posixpath.basename(name)

    def _split(self, group: _Group) -> None:
        """Put a group's stems in its place."""
        self._told_by_stem.add(group.key)
        parts = []
        for stem, of_stem in group.stems.items():
            suffixes = {part.member.name.rpartition(posixpath.basename(stem))[2].lower() for part in of_stem}
            apart = _Group(stem, suffixes)
            for part in of_stem:
                apart.add(part)
            parts.append(apart)
        place = self._waiting.index(group)
        del self._waiting[place]
        for offset, apart in enumerate(parts):
            self._waiting.insert(place + offset, apart)
        if self._open.get(group.key) is group:
            del self._open[group.key]
        self._open |= {part.key: part for part in parts}
        if self._last is group:
            self._last = parts[-1]
            for apart in parts:
                if self._newest in apart.parts:
                    self._last = apart

    def _drop(self, group: _Group) -> None:
        dropped = self._dropped.setdefault(group.key, _Group(group.key))
        dropped.suffixes |= group.suffixes
        for part in group.parts:
            _add_without_content(dropped, part)


def _add_without_content(group: _Group, part: _Part) -> None:
    group.add(replace(part, member=replace(part.member, content=None)))


def _part(member: Member, stem: str, suffix: str, is_image: bool) -> _Part | None:
    role = "image" if is_image else role_of(f"x{suffix}")
    if role is None:
        return None
    has_text = role == "caption" or (role == "json" and any(captions_in(member.content or b"")))
    return _Part(role, stem, is_plain=suffix.count(".") < 2, has_text=has_text, member=member)


def _key_and_suffix(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part; the key is empty where it belongs to no sample."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem, dot, suffix = base.partition(".")
    return (posixpath.join(folder, stem), (dot + suffix).lower()) if stem else ("", "")
