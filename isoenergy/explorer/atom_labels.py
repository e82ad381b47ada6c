"""A label for each atom: the words that the captions of its strongest pairs have more often than others."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY

_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+\d{0,3}(?![^\W_])")
"""Letters, and a number behind them at most (`mp3`, `covid19`): what has more digits is a file's name or hash."""
_ADDRESS = re.compile(r"\w*\(0x[0-9a-f]+\)")
"""What Perl prints of a thing without a name, as in captions of Openclipart: `HASH(0x8a3cd28)`."""
NAMING = "2"
"""Another one for another way to name: atoms that were named otherwise are named anew."""
_FUNCTION_WORDS = """
a about above across after against all along also although am among an and another any are around as at away be
because been before behind being below beneath beside between beyond both but by could did do does doing during
each either every few for from had has have having he her here hers herself him himself his how if in into is it its
itself just like me more most must my myself near no nor not of off on one onto or other our ours out over own per
shall she should since so some such than that the their theirs them themselves then there these they this those
through to too toward towards under until upon us very was we were what when where which while who whom whose why
with within without would you your yours
"""
"""Articles, prepositions, conjunctions, pronouns and auxiliary verbs of English. Libraries' lists have words that name
something in a picture too: scikit-learn's has "fire", "front", "mill", "side" and "thin"."""
_NAMING_NOTHING = frozenset(_FUNCTION_WORDS.split())
TOPS = 12
"""Strongest pairs of a modality that name an atom."""
_USUAL_CAPTIONS = 20_000
_MOST = 0.5
"""An atom that so large a share of a modality fires has no words of its own."""
_WORDS_A_LABEL = 3
_LEAST_SHARE = 0.2
"""Of the captions: a word of fewer names something else."""
_COMMON = 0.15
"""Words that so large a share of the usual captions have name nothing."""


def words_of(caption: str) -> list[str]:
    """Return the words of a caption that can name something, once each and in lower case.

    They have two letters or more; names of files and function words are none.
    """
    words = dict.fromkeys(_WORD.findall(_ADDRESS.sub(" ", caption.lower())))
    return [word for word in words if len(word) > 1 and word not in _NAMING_NOTHING]


def labels_of_strongest(
    tops: Sequence[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]],
    fires: Sequence[npt.NDArray[np.integer] | npt.NDArray[np.floating]],
    captions: pa.ChunkedArray,
    modalities: Sequence[str],
) -> list[str]:
    """Return a label for each atom, which those that fire on most rows of a modality get of that.

    tops: a modality's entries, the atom and the pair of each, `TOPS` an atom. fires: `(atoms,)` pairs in which each
    fires, a modality. captions: of all pairs.
    """
    numbers, pairs = (np.concatenate([top[part] for top in tops]) for part in (0, 1))
    different, places = np.unique(pairs, return_inverse=True)
    own = captions.take(pa.array(different)).to_pylist()
    step = max(1, len(captions) // _USUAL_CAPTIONS)
    usual = captions.take(pa.array(np.arange(0, len(captions), step))).to_pylist()
    labels = atom_labels(numbers, places, own, usual, len(fires[0]))
    for modality, rows in zip(modalities, fires, strict=True):
        called = "caption" if modality == "text" else modality
        for atom in np.flatnonzero(rows > _MOST * len(captions)):
            every = rows[atom] > ALWAYS_ON_FREQUENCY * len(captions)
            labels[atom] = f"nearly every {called}" if every else f"most {called}s"
    return labels


def atom_labels(
    atoms: npt.NDArray[np.integer],
    captions_of: npt.NDArray[np.integer],
    captions: Sequence[str],
    usual: Sequence[str],
    count: int,
) -> list[str]:
    """Return at most three words for each of `count` atoms; none where nothing sets its captions apart.

    atoms, captions_of: an entry a strong pair, its atom and the place of its caption in `captions`. usual: captions of
    all kinds. A word counts p · log(p / q): p is the share of the atom's captions that have it, q that of the usual.
    """
    everyday = Counter(word for caption in usual for word in words_of(caption))
    vocabulary: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for number, caption in enumerate(captions):
        for word in words_of(caption):
            rows.append(number)
            columns.append(vocabulary.setdefault(word, len(vocabulary)))
    words = list(vocabulary)
    held = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(captions), max(len(words), 1)))
    of_atom = sparse.csr_array((np.ones(len(atoms)), (atoms, captions_of)), shape=(count, max(len(captions), 1)))
    counts = (of_atom @ held if len(captions) else sparse.csr_array((count, 1))).tocsr()
    totals = np.bincount(np.asarray(atoms, np.int64), minlength=count)
    usually = (np.array([everyday[word] for word in words]) + 0.5) / (len(usual) + 1)
    labels = []
    for atom in range(count):
        own = slice(counts.indptr[atom], counts.indptr[atom + 1])
        places, share = counts.indices[own], counts.data[own] / max(totals[atom], 1)
        if not len(places):
            labels.append("")
            continue
        score = share * np.log(share / usually[places])
        score[usually[places] > _COMMON] = 0
        score[(share < _LEAST_SHARE) & (counts.data[own] < 2) | (score <= 0)] = 0
        if totals[atom] > 1:
            score[counts.data[own] < 2] = 0
        best = np.lexsort((places, -score))[:_WORDS_A_LABEL]
        labels.append(" · ".join(words[places[place]] for place in best if score[place] > 0))
    return labels
