"""Two dictionaries side by side: which atoms are one and the same, and what one splits and the other joins."""

from typing import Any

import numpy as np
import numpy.typing as npt

from isoenergy.explorer.atom_page import strip
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.metrics.gram_panels import unit_rows
from isoenergy.metrics.stability import match_atoms
from isoenergy.metrics.transport import strongest_atoms

MOST_ATOMS = 4096
"""Of a dictionary, the strongest: the time of the assignment grows with their cube."""
SAME = 0.7
"""From this cosine on two atoms count as one."""
PART = 0.5
"""From this cosine on an atom counts as part of one of the other dictionary that it is nearest to."""

_PICTURES = 2
"""Pairs that stand for an atom: the strongest of each modality, if they are two."""


def compared(first: CodedPairs, second: CodedPairs) -> dict[str, Any]:
    """Match the live atoms of two dictionaries one to one (Hungarian, by cosine), and find splits.

    Each atom has its number, label and class, and `top`, the pairs that stand for it.
    `pairs`: the matched, the most alike first. `splits`: atoms of the first that are nearest to two or more of the
    second, each at a cosine of `PART` or more; `joins`: the same the other way round. `alone`: how many atoms of each
    have no match of `SAME` or more.
    """
    chosen = [_strongest(coded) for coded in (first, second)]
    dictionaries = [coded.dictionary.numpy()[atoms] for coded, atoms in zip((first, second), chosen, strict=True)]
    matching = match_atoms(*dictionaries)
    order = np.argsort(-matching.cosine, kind="stable")
    pairs = [
        {
            "first": _atom(first, chosen[0][matching.first[place]]),
            "second": _atom(second, chosen[1][matching.second[place]]),
            "cosine": float(matching.cosine[place]),
        }
        for place in order
    ]
    same = int((matching.cosine >= SAME).sum())
    cosines = unit_rows(dictionaries[0]) @ unit_rows(dictionaries[1]).T
    return {
        "pairs": pairs,
        "mean": matching.mean,
        "same": same,
        "atoms": [len(atoms) for atoms in chosen],
        "alone": [len(atoms) - same for atoms in chosen],
        "left_out": [
            int(coded.sae.config.atoms - len(atoms)) for coded, atoms in zip((first, second), chosen, strict=True)
        ],
        "splits": _splits(first, second, chosen[0], chosen[1], cosines),
        "joins": _splits(second, first, chosen[1], chosen[0], cosines.T),
    }


def _splits(
    whole: CodedPairs,
    parts: CodedPairs,
    atoms: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.floating],
) -> list[dict[str, Any]]:
    """Atoms of `whole`, rows of the cosines, that are nearest to two or more of `parts`, the largest groups first."""
    if not cosines.size:
        return []
    nearest = cosines.argmax(axis=0)
    near = cosines[nearest, np.arange(cosines.shape[1])]
    groups: dict[int, list[int]] = {}
    for part in np.flatnonzero(near >= PART):
        groups.setdefault(int(nearest[part]), []).append(int(part))
    found = [
        {
            "atom": _atom(whole, atoms[place]),
            "parts": [
                _atom(parts, others[part]) | {"cosine": float(cosines[place, part])}
                for part in sorted(members, key=lambda part: -cosines[place, part])
            ],
        }
        for place, members in groups.items()
        if len(members) > 1
    ]
    return sorted(found, key=lambda group: -len(group["parts"]))


def _strongest(coded: CodedPairs) -> npt.NDArray[np.int64]:
    return np.flatnonzero(strongest_atoms(coded.atoms["energy"].to_numpy(), MOST_ATOMS))


def _atom(coded: CodedPairs, atom: np.integer[Any]) -> dict[str, Any]:
    number = int(atom)
    top = strip(coded, number, _PICTURES)
    return {"atom": number, "label": coded.labels[number], "class": coded.classes[number], "top": top}
