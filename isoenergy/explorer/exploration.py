"""All that a page can ask: autoencoders on a gallery, their atoms, and what is known of the pairs; JSON in and out."""

import base64
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from tqdm import tqdm

from isoenergy.errors import InputError
from isoenergy.evaluation.ways import WAYS
from isoenergy.explorer import atom_page
from isoenergy.explorer.asked_encoder import AskedEncoder
from isoenergy.explorer.asked_query import Query, Term, contributions, encoded_term, nearest, pair_term
from isoenergy.explorer.atom_list import AtomChoice, AtomList, searched_words, with_all
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.compared_dictionaries import compared
from isoenergy.explorer.dictionary_map import DictionaryMap
from isoenergy.explorer.gallery import Gallery
from isoenergy.explorer.notes import LONGEST_NOTE, Notes, require_unicode
from isoenergy.explorer.pictures import Pictures
from isoenergy.explorer.way_scores import WayScores
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import ImageReading

FIRST_WAYS = ("original", "bimodal", "less_unimodal", "centred")
"""Shown until others are chosen."""
MOST_TERMS, MOST_LETTERS, MOST_SHOWN = 4, 2_000, 200
NO_ENCODER = "the store does not say which encoder made it; start with --encoder NAME"
_UNREADABLE = {Reason.EMPTY_IMAGE: "it is empty", Reason.TRUNCATED_IMAGE: "it is cut short"}
_LARGEST = 1e3
_MOST_DIGITS = 12
_IN_A_ROW = 4
"""Pictures in an atom's row of the list."""


@dataclass(frozen=True)
class _Parts:
    """One autoencoder, and what is computed of it."""

    coded: CodedPairs
    scores: WayScores
    atoms: AtomList
    map: DictionaryMap


@dataclass
class Exploration:
    """What one server shows."""

    gallery: Gallery
    coded: Sequence[CodedPairs]
    folder: Path
    """Of the caches."""
    pictures: Pictures
    notes: Notes
    encoder: AskedEncoder | None
    reading: ImageReading
    title: str
    step: str = ""
    """Stands before the name of the bar, which says how far it is prepared."""
    _parts: dict[str, _Parts] = field(init=False)
    _comparisons: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._parts = {
            coded.name: _Parts(
                coded,
                WayScores(self.gallery, coded, self.folder),
                AtomList(coded, self.gallery),
                DictionaryMap(coded, self.folder),
            )
            for coded in self.coded
        }
        scores = [parts.scores for parts in self._parts.values()]
        first = [(each, way) for each in scores for way in FIRST_WAYS if way in each.maps]
        for each, way in tqdm(first, f"{self.step}prepare the first ways", unit=" ways", delay=1):
            each.norms(way)

    def about(self) -> dict[str, Any]:
        """Return what the page says of itself, and what it can be asked."""
        first = next(iter(self._parts.values()))
        return {
            "title": self.title,
            "pairs": len(self.gallery),
            "total": self.gallery.total,
            "fitted": {"pairs": int(self.gallery.fitted.sum()), "which": self.gallery.fitted_split},
            "modalities": list(first.coded.sae.config.modalities),
            "encoder": self.encoder.name if self.encoder else "",
            "trouble": self.encoder.trouble if self.encoder else NO_ENCODER,
            "pictures": self.pictures.there,
            "limits": {
                "terms": MOST_TERMS,
                "letters": MOST_LETTERS,
                "note": LONGEST_NOTE,
                "coefficient": _LARGEST,
            },
            "saes": [self._about(parts) for parts in self._parts.values()],
        }

    def _about(self, parts: _Parts) -> dict[str, Any]:
        config, classes = parts.coded.sae.config, parts.coded.classes
        return {
            "name": parts.coded.name,
            "beta": config.beta,
            "atoms": config.atoms,
            "live": len(parts.atoms.live),
            "k": config.k,
            "classes": {kind: classes.count(kind) for kind in ("bimodal", "image_only", "text_only")},
            "shared": int(parts.atoms.shared.sum()),
            "ways": [
                {"name": way, "title": WAYS[way].title, "definition": WAYS[way].definition} for way in parts.scores.maps
            ],
            "first_ways": [way for way in FIRST_WAYS if way in parts.scores.maps],
        }

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the atoms that make up a query, and its neighbours in some ways.

        asked: `sae`; `terms`, each a `text`, a `pair` with its `side`, or a `row` in base64 with its `side`, and a
        `weight`; `coefficients` by atom; `ways`; `count` of neighbours. Raises InputError for what is none of that.
        """
        parts = self.parts(asked.get("sae"))
        given = asked.get("terms")
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_TERMS:
            raise InputError(f"give one to {MOST_TERMS} terms, a text, an image or a pair each")
        terms = tuple(self._term(parts, each, number) for number, each in enumerate(given))
        query = Query(terms, _coefficients(asked.get("coefficients") or {}, parts.coded))
        ways = _ways(asked.get("ways"), parts.scores)
        count = _whole(asked.get("count", 24), "count", 1, MOST_SHOWN)
        atoms, whole = contributions(query, parts.coded)
        found = nearest(query, parts.scores, ways, count)
        pairs = {row["pair"] for way in found.values() for row in way["neighbours"]}
        pairs |= {term.pair for term in terms if term.pair is not None}
        return {
            "atoms": atoms,
            "whole": whole,
            "ways": found,
            "captions": self.captions(pairs),
            "cut": self._cut(given),
            "unknown": self._unknown(given),
        }

    def image(self, raw: bytes) -> dict[str, Any]:
        """Return the embedding of an image file, to be asked for; raises InputError for one that cannot be read."""
        if self.encoder is None:
            raise InputError(NO_ENCODER)
        try:
            image = decode_image(raw, self.reading)
        except Rejected as error:
            why = _UNREADABLE.get(error.reason) or error.detail or error.reason
            raise InputError(f"the image cannot be read: {why}") from error
        row = self.encoder.image(image)
        return {"row": base64.b64encode(row.float().numpy().astype("<f4").tobytes()).decode(), "side": 0}

    def atoms(
        self, sae: str | None, choice: AtomChoice, first: int, count: int, looked_for: int | None = None
    ) -> dict[str, Any]:
        """Return some of the atoms of a list, from its place `first` on, how many it has, and the `place` of one."""
        parts = self.parts(sae)
        notes = self.notes.of(parts.coded.digest)
        chosen = parts.atoms.chosen(choice, frozenset(notes))
        some = chosen[first : first + min(count, MOST_SHOWN)]
        answers = parts.atoms.answers(choice.query, some)
        rows = [
            parts.atoms.row(int(atom))
            | {"top": atom_page.strip(parts.coded, int(atom), _IN_A_ROW), "note": notes.get(int(atom), "")}
            | {"answer": answers.get(int(atom))}
            for atom in some
        ]
        pairs = {each["pair"] for row in rows for each in row["top"]} | set(answers.values())
        place = next(iter(np.flatnonzero(chosen == looked_for).tolist()), None)
        return {"count": len(chosen), "first": first, "rows": rows, "captions": self.captions(pairs), "place": place}

    def atom(self, sae: str | None, number: int) -> dict[str, Any]:
        """Return all about one atom."""
        parts = self.parts(sae)
        atom_page.require_atom(parts.coded, number)
        found: dict[str, Any] = {
            "sae": parts.coded.name,
            "numbers": parts.atoms.row(number),
            "bands": atom_page.examples(parts.coded, number),
            "histogram": atom_page.histogram(parts.coded, number),
            "partners": atom_page.partners(parts.coded, number),
            "similar": atom_page.similar(parts.coded, number),
            "note": self.notes.of(parts.coded.digest).get(number, ""),
        }
        pairs = {each["pair"] for band in found["bands"] for each in band["examples"]}
        pairs |= {each["pair"] for kind in ("partners", "similar") for row in found[kind] for each in row["top"]}
        return found | {"captions": self.captions(pairs)}

    def map(self, sae: str | None, by: str) -> dict[str, Any]:
        """Return the places of the live atoms, `by` pca or umap; of umap `places` is null while it is not found."""
        parts = self.parts(sae)
        places = parts.map.umap() if by == "umap" else parts.map.principal()
        atoms = parts.map.atoms
        energy = parts.coded.atoms["energy"].to_numpy()[atoms]
        return {
            "atoms": atoms.tolist(),
            "classes": [parts.coded.classes[atom] for atom in atoms],
            "labels": [parts.coded.labels[atom] for atom in atoms],
            "energy": energy.tolist(),
            "places": None if places is None else places.tolist(),
            "has_umap": parts.map.has_umap,
        }

    def hover(self, sae: str | None, number: int) -> dict[str, Any]:
        """Return the three pairs that stand for an atom on the map."""
        parts = self.parts(sae)
        atom_page.require_atom(parts.coded, number)
        top = atom_page.strip(parts.coded, number, 3)
        return {"top": top, "captions": self.captions({each["pair"] for each in top})}

    def bonds(self, sae: str | None, number: int) -> list[dict[str, Any]]:
        """Return an atom's partners across pairs, for the map's lines."""
        parts = self.parts(sae)
        atom_page.require_atom(parts.coded, number)
        return atom_page.partners(parts.coded, number, 24)

    def compare(self, first: str | None, second: str | None) -> dict[str, Any]:
        """Return two dictionaries side by side; worked out once."""
        both = self.parts(first).coded, self.parts(second).coded
        key = both[0].name, both[1].name
        with self._lock:
            if key not in self._comparisons:
                self._comparisons[key] = compared(*both)
            found = self._comparisons[key]
        rows = [row for pair in found["pairs"] for row in (pair["first"], pair["second"])]
        rows += [
            row for kind in ("splits", "joins") for group in found[kind] for row in (group["atom"], *group["parts"])
        ]
        captions = self.captions(each["pair"] for row in rows for each in row["top"])
        return found | {"first": key[0], "second": key[1], "captions": captions}

    def pairs(self, query: str, count: int) -> dict[str, Any]:
        """Return pairs whose captions have all words of a query; without one, pairs from all over the gallery."""
        if words := searched_words(query):
            captions = pc.utf8_lower(self.gallery.pairs["caption"])
            chosen = np.flatnonzero(with_all(captions, words, False))[:count]
        else:
            chosen = np.unique(np.linspace(0, len(self.gallery) - 1, count).astype(np.int64))
        return {"pairs": chosen.tolist(), "captions": self.captions(map(int, chosen))}

    def write_note(self, sae: str | None, number: int, text: str, read: str) -> None:
        """Keep a note on an atom in place of the one that was `read`; an empty one takes it away.

        Raises NoteChanged if there is another by now.
        """
        parts = self.parts(sae)
        atom_page.require_atom(parts.coded, number)
        self.notes.write(parts.coded.digest, parts.coded.name, number, text, read)

    def captions(self, pairs: Any) -> dict[int, str]:
        """Return the captions of some pairs."""
        wanted = sorted(set(pairs))
        captions = self.gallery.pairs["caption"].take(pa.array(wanted, pa.int64())).to_pylist()
        return dict(zip(wanted, captions, strict=True))

    def require_pairs(self, pairs: Sequence[int]) -> None:
        """Raise InputError unless the gallery has all these pairs."""
        if any(not 0 <= pair < len(self.gallery) for pair in pairs):
            raise InputError(f"pairs are numbered from 0 to {len(self.gallery) - 1}")

    def parts(self, name: Any) -> _Parts:
        """Return an autoencoder by its name, the first if there is none; raises InputError for an unknown one."""
        if name is None or name == "":
            return next(iter(self._parts.values()))
        if not isinstance(name, str) or name not in self._parts:
            raise InputError(f"there is no autoencoder {str(name)[:80]!r}; there are {', '.join(self._parts)}")
        return self._parts[name]

    def _cut(self, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the texts of a question that its encoder does not read to the end, and how many letters it reads."""
        reads = [(text, self.encoder.letters_read(text)) for text in _texts(given) if self.encoder is not None]
        return [{"text": text, "read": read, "of": len(text)} for text, read in reads if read < len(text)]

    def _unknown(self, given: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the words of a question that its encoder does not know."""
        return [word for text in _texts(given) if self.encoder is not None for word in self.encoder.unknown_words(text)]

    def _term(self, parts: _Parts, given: Any, number: int) -> Term:
        if not isinstance(given, Mapping):
            raise InputError("a term is a text, an image or a pair")
        weight = _number(given.get("weight", 1.0), "the weight of a term")
        if not number and weight != 1:
            raise InputError(f"the first term has weight 1, those of others are relative to it; got {weight:g}")
        if isinstance(text := given.get("text"), str):
            if self.encoder is None:
                raise InputError(
                    "the store does not say which encoder made it; start with --encoder NAME, or ask by a pair"
                )
            if not text.strip() or len(text) > MOST_LETTERS:
                raise InputError(f"a text has 1 to {MOST_LETTERS:,} letters")
            require_unicode(text, "a text")
            return encoded_term(parts.coded, self.encoder.text(text.strip()), 1, weight)
        side = _whole(given.get("side"), "side", 0, 1)
        if "pair" in given:
            return pair_term(parts.scores, _whole(given["pair"], "pair", 0, len(self.gallery) - 1), side, weight)
        return encoded_term(parts.coded, _row(given.get("row"), self.gallery.dim), side, weight)


def _texts(given: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text.strip() for term in given if isinstance(text := term.get("text"), str)]


def _row(given: Any, dim: int) -> Tensor:
    try:
        row = np.frombuffer(base64.b64decode(given, validate=True), "<f4")
    except (ValueError, TypeError) as error:
        raise InputError("a term is a text, an image or a pair") from error
    if len(row) != dim or not np.isfinite(row).all() or not row.any():
        raise InputError(f"a row has {dim} finite numbers, not all 0")
    return torch.from_numpy(row.astype(np.float32))


def _coefficients(given: Any, coded: CodedPairs) -> dict[int, float]:
    if not isinstance(given, Mapping) or len(given) > MOST_LETTERS:
        raise InputError("coefficients are numbers by atom")
    found = {}
    for atom, value in given.items():
        number = _whole(atom, "atom", 0, coded.sae.config.atoms - 1)
        found[number] = _number(value, f"the coefficient of atom {number}")
    return found


def _ways(given: Any, scores: WayScores) -> list[str]:
    if not given:
        return [way for way in FIRST_WAYS if way in scores.maps]
    if not isinstance(given, list):
        raise InputError(f"ways are a list of names, got {str(given)[:40]!r}")
    if unknown := [way for way in given if not isinstance(way, str) or way not in scores.maps]:
        raise InputError(f"there is no way {str(unknown[0])[:40]!r}; there are {', '.join(scores.maps)}")
    return list(dict.fromkeys(given))


def _whole(given: Any, name: str, least: int, most: int) -> int:
    text = str(given)
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    if isinstance(given, bool) or not is_number or not least <= int(text) <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {text[:40]!r}")
    return int(text)


def _number(given: Any, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= _LARGEST:
        raise InputError(f"{name} must be a number between ±{_LARGEST:g}, got {str(given)[:40]!r}")
    return float(given)
