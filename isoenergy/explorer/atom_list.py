"""Which atoms a list shows, in which order: searched by words, filtered, sorted, over a dictionary of any size."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.errors import InputError
from isoenergy.explorer.atom_labels import TOPS
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.gallery import Gallery

SORTS = ("agreement", "energy", "modality_score", "frequency", "atom")
CLASSES = ("bimodal", "image_only", "text_only")
_NUMBER = re.compile(r"\s*(?:atom\s*)?#?\s*(\d{1,9})\s*", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_LONGEST_QUERY = 200
_IN_LABEL = 1.5

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AtomChoice:
    """What a list of atoms is asked for."""

    query: str = ""
    """Words that one caption has all, or a label; or an atom's number."""
    kind: str = ""
    """A class; empty: all."""
    shared: bool = False
    """Only atoms that are shared in meaning: bimodal, and their two sides agree in pairs beyond shuffled ones."""
    noted: bool = False
    """Only those with a note."""
    sort: str = "agreement"
    falling: bool = True

    def __post_init__(self) -> None:
        if self.sort not in SORTS or self.kind not in ("", *CLASSES):
            raise InputError(
                f"atoms are sorted by {', '.join(SORTS)} and are {', '.join(CLASSES)}; got sort {self.sort!r} and "
                f"class {self.kind!r}"
            )
        if len(self.query) > _LONGEST_QUERY:
            raise InputError(f"search for at most {_LONGEST_QUERY} letters")


class AtomList:
    """The atoms of one autoencoder that fire."""

    def __init__(self, coded: CodedPairs, gallery: Gallery) -> None:
        self._coded, self._gallery = coded, gallery
        self._numbers = {name: coded.atoms[name].to_numpy(zero_copy_only=False) for name in _COLUMNS}
        self.live = np.flatnonzero(coded.live)

    def chosen(self, choice: AtomChoice, noted: frozenset[int] = frozenset()) -> npt.NDArray[np.int64]:
        """Return the numbers of the atoms that a choice leaves, in its order.

        Atoms that a search finds come by how well they fit: whole words before parts of words, then by the caption's
        coefficient over the atom's largest; a label alone comes between the two. Those of which a number is not known
        come last.
        """
        kept = np.ones(len(self.live), bool)
        if choice.kind:
            kept &= self._classes[self.live] == choice.kind
        if choice.shared:
            kept &= self.shared[self.live]
        if choice.noted:
            kept &= np.isin(self.live, np.array(sorted(noted), np.int64))
        atoms: npt.NDArray[np.int64] = self.live[kept]
        if numbered := _NUMBER.fullmatch(choice.query):
            return np.array([atom for atom in atoms if atom == int(numbered.group(1))], np.int64)
        if words := searched_words(choice.query):
            fit = self._fit(words)[atoms]
            atoms, fit = atoms[fit > 0], fit[fit > 0]
            return atoms[np.lexsort((atoms, -fit))]
        return atoms[self._order(atoms, choice)]

    def answers(self, query: str, shown: npt.NDArray[np.int64]) -> dict[int, int]:
        """Return, by atom, the pair whose caption answers a search best; none where a label alone does."""
        words = [] if _NUMBER.fullmatch(query) else searched_words(query)
        if not words:
            return {}
        atoms, places, shares, captions, pairs = self._tops
        own = np.flatnonzero(np.isin(atoms, shown))
        fit = _fit_of_captions(captions.take(pa.array(places[own])), slice(None), shares[own], words)
        best = own[np.argsort(fit, kind="stable")][np.sort(fit) > 0]
        return dict(zip(atoms[best].tolist(), pairs[best].tolist(), strict=True))  # of an atom's, the last stays

    def row(self, atom: int) -> dict[str, Any]:
        """Return what is known of an atom, as JSON values."""
        row: dict[str, Any] = self._coded.atoms.slice(atom, 1).to_pylist()[0]
        return row

    def _order(self, atoms: npt.NDArray[np.int64], choice: AtomChoice) -> npt.NDArray[np.int64]:
        name = "correlation_low" if choice.sort == "agreement" else choice.sort
        values = self._numbers[name][atoms].astype(np.float64)
        values = -values if choice.falling else values
        return np.lexsort((atoms, -self._numbers["energy"][atoms], np.nan_to_num(values, nan=np.inf)))

    @cached_property
    def shared(self) -> npt.NDArray[np.bool_]:
        """`(atoms,)`: those that are shared in meaning."""
        found: npt.NDArray[np.bool_] = (self._classes == "bimodal") & self._numbers["agrees"].astype(bool)
        return found

    @cached_property
    def _classes(self) -> npt.NDArray[np.object_]:
        return np.array(self._coded.classes, object)

    @cached_property
    def _tops(self) -> tuple[_Ints, _Ints, npt.NDArray[np.float64], pa.Array, _Ints]:
        """The atom of each strong pair, the place of its caption, its coefficient over the atom's, captions, pairs."""
        tops = [entries.tops(TOPS) for entries in self._coded.entries]
        atoms, pairs, values = (np.concatenate([top[part] for top in tops]) for part in range(3))
        different, places = np.unique(pairs, return_inverse=True)
        captions = pc.utf8_lower(self._gallery.pairs["caption"].take(different).combine_chunks())
        most = np.zeros(len(self._classes))
        np.maximum.at(most, atoms, np.abs(values))
        return atoms, places, np.abs(values) / most[atoms], captions, pairs

    @cached_property
    def _labels(self) -> pa.Array:
        return pa.array(self._coded.labels)

    def _fit(self, words: list[str]) -> npt.NDArray[np.float64]:
        """`(atoms,)`: 0 where nothing has all words; in (0, 1] parts of words, 1.5 the label, in (2, 3] whole words."""
        atoms, places, shares, captions, _ = self._tops
        fit = np.zeros(len(self._classes))
        of_captions = _fit_of_captions(captions, places, shares, words)
        found = of_captions > 0
        np.maximum.at(fit, atoms[found], of_captions[found])
        in_label = with_all(self._labels, words, True)
        fit[in_label] = np.maximum(fit[in_label], _IN_LABEL)
        return fit


_COLUMNS = (
    "atom",
    "energy",
    "modality_score",
    "frequency",
    "correlation_low",
    "agrees",
)


def searched_words(query: str) -> list[str]:
    """Return the words of a search, in lower case; what has no letters and no digits is taken as it is."""
    return list(dict.fromkeys(_WORD.findall(query.lower()) or query.lower().split()))


def _fit_of_captions(
    captions: pa.Array, places: _Ints | slice, shares: npt.NDArray[np.float64], words: list[str]
) -> npt.NDArray[np.float64]:
    """`(n,)` of pairs, by their captions' places: 0 without all words, the share for parts, whole ones 2 more."""
    return with_all(captions, words, False)[places] * shares + 2.0 * with_all(captions, words, True)[places]


def with_all(texts: pa.Array | pa.ChunkedArray, words: list[str], whole: bool) -> npt.NDArray[np.bool_]:
    """Return which texts, in lower case, have all words, as words or as parts of some."""
    places = np.arange(len(texts))
    for word in words:
        left = texts.take(pa.array(places)) if len(places) < len(texts) else texts
        places = places[np.asarray(pc.match_substring(left, word)).astype(bool)]
    if whole:
        for word in words:
            pattern = rf"(^|[^\pL\pN]){re.escape(word)}([^\pL\pN]|$)"
            places = places[np.asarray(pc.match_substring_regex(texts.take(pa.array(places)), pattern)).astype(bool)]
    found = np.zeros(len(texts), bool)
    found[places] = True
    return found
