"""What one atom is: examples over all of its range, histograms, partners across pairs, and its nearest atoms."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from isoenergy.errors import InputError
from isoenergy.explorer.coded_pairs import CodedPairs

BANDS = (("strongest", 0.0), ("upper tenth", 0.1), ("upper quarter", 0.25), ("middle", 0.5), ("lowest tenth", 0.9))
"""Where examples are taken from: names, and shares of the firing pairs that are stronger."""
_EXAMPLES, _STRONGEST = 6, 12
_BINS = 30
_PARTNERS = 8


def require_atom(coded: CodedPairs, atom: int) -> None:
    """Raise InputError unless the dictionary has an atom of this number."""
    if not 0 <= atom < coded.sae.config.atoms:
        raise InputError(f"{coded.name} has atoms 0 to {coded.sae.config.atoms - 1}, and none of number {atom}")


def examples(coded: CodedPairs, atom: int) -> list[dict[str, Any]]:
    """Return pairs whose image, and whose text, fires an atom, in bands from the strongest to the weakest.

    No pair stands twice in one modality's bands: an atom that fires rarely fills the first ones alone.
    """
    found = []
    for side, entries in enumerate(coded.entries):
        pairs, values = entries[atom]
        first = 0
        for name, above in BANDS:
            start = max(int(above * len(pairs)), first)
            stop = min(start + (_STRONGEST if above == 0 else _EXAMPLES), len(pairs))
            if start >= stop:
                continue
            some = [
                {"pair": int(pair), "value": float(value)}
                for pair, value in zip(pairs[start:stop], values[start:stop], strict=True)
            ]
            found.append({"band": name, "side": side, "examples": some, "of": len(pairs)})
            first = stop
    return found


def histogram(coded: CodedPairs, atom: int) -> dict[str, Any]:
    """Return how many images and texts fire an atom how strongly, in bins of one width from the least to the most."""
    both = [entries[atom][1] for entries in coded.entries]
    everything = np.concatenate(both)
    if not len(everything):
        return {"edges": [], "counts": [[], []]}
    edges = np.histogram_bin_edges(everything, _BINS)
    return {"edges": edges.tolist(), "counts": [np.histogram(values, edges)[0].tolist() for values in both]}


def partners(coded: CodedPairs, atom: int, count: int = _PARTNERS) -> list[dict[str, Any]]:
    """Return the atoms that an atom is bound to across the Σ-bridge, C ∘ A uncut: they fire in the other half of pairs.

    C[j, l] is the mean over pairs of z_image[j] · z_text[l], A the atoms' cosines (see `isoenergy.metrics.bridges`);
    the row and the column of one atom take only the pairs in which it fires.
    """
    cosines = (coded.dictionary @ coded.dictionary[atom]).numpy()
    found = []
    for side, entries in enumerate(coded.entries):
        pairs, values = entries[atom]
        other = coded.codes[1 - side]
        chosen = torch.from_numpy(np.array(pairs, np.int64))
        met = other.values[chosen].numpy() * np.asarray(values)[:, None]
        sums = np.bincount(other.indices[chosen].numpy().ravel(), met.ravel(), len(cosines))
        weights = sums / len(other) * cosines
        weights[atom] = 0
        for partner in _largest(np.abs(weights), count):
            found.append({"atom": int(partner), "weight": float(weights[partner]), "side": side})
    found.sort(key=lambda each: -abs(each["weight"]))
    return [_named(coded, each) for each in found[:count]]


def similar(coded: CodedPairs, atom: int, count: int = _PARTNERS) -> list[dict[str, Any]]:
    """Return the other atoms that point most the same way, by cosine."""
    cosines = (coded.directions @ coded.directions[atom]).numpy()
    cosines[atom] = -np.inf
    cosines[~coded.live] = -np.inf
    chosen = np.argsort(-cosines, kind="stable")[:count]
    return [
        _named(coded, {"atom": int(other), "cosine": float(cosines[other])})
        for other in chosen
        if np.isfinite(cosines[other])
    ]


def _named(coded: CodedPairs, row: dict[str, Any]) -> dict[str, Any]:
    atom = row["atom"]
    return row | {"label": coded.labels[atom], "class": coded.classes[atom], "top": strip(coded, atom, 3)}


def strip(coded: CodedPairs, atom: int, count: int) -> list[dict[str, Any]]:
    """Return the first pairs of an atom, those of the two modalities in turn."""
    both = [
        [
            {"pair": int(pair), "side": side, "value": float(value)}
            for pair, value in zip(pairs[:count], values[:count], strict=True)
        ]
        for side, entries in enumerate(coded.entries)
        for pairs, values in [entries[atom]]
    ]
    mixed = [part[place] for place in range(count) for part in both if place < len(part)]
    different = {each["pair"]: each for each in reversed(mixed)}
    order = dict.fromkeys(each["pair"] for each in mixed)
    return [different[pair] for pair in order][:count]


def _largest(values: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.int64]:
    chosen = np.argsort(-values, kind="stable")[:count]
    return chosen[values[chosen] > 0]
