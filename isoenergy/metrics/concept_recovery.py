"""Whether known concepts are found in both modalities, and as one atom."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.recovery import cosines

Floats = npt.NDArray[np.floating]


class ConceptRecovery(NamedTuple):
    """Shares of the true concepts, in [0, 1]."""

    found: float
    """An atom of the image dictionary has the direction of its image instance, and one of the text's that of its
    text."""
    joined: float
    """And it is one atom: the same column of both modalities' codes."""


def concept_recovery(
    image_dictionary: Floats, text_dictionary: Floats, images: Floats, texts: Floats, from_cosine: float = 0.9
) -> ConceptRecovery:
    """Compare dictionaries, `(atoms, dim)` each, row j of both one concept, with `(concepts, dim)` true instances.

    An instance is found by an atom with a cosine of `from_cosine` or more. With one dictionary and instances at a
    cosine τ a joined concept is an atom near both: none can be where √((1 + τ) / 2) < from_cosine.
    """
    by_image, by_text = (
        cosines(np.asarray(true, np.float64), np.asarray(learned, np.float64))
        for true, learned in ((images, image_dictionary), (texts, text_dictionary))
    )
    found = (by_image.max(1) >= from_cosine) & (by_text.max(1) >= from_cosine)
    both = np.minimum(by_image, by_text).max(1) >= from_cosine
    return ConceptRecovery(float(found.mean()), float((found & both).mean()))
