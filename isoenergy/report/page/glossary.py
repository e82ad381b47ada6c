"""Ten terms of the page, each in a sentence: shown where a term stands, and all together at the end."""

from isoenergy.metrics.protocol import PAPER_BATCH

GLOSSARY = {
    "μ": "The modality score of an atom: images’ share of its energy. 1: images alone; 0: captions alone.",
    "bimodal": "An atom with μ between 0.05 and 0.95: it has energy in images and in captions. Others are unimodal.",
    "energy": "The mean squared coefficient of an atom over images, or over captions: what it rebuilds.",
    "gap": "The distance between the mean image and the mean caption (difference in means; it depends on the rows’ "
    "norms), or by optimal transport.",
    "R²": "The share of variance that the codes rebuild, about the mean of all entries; the means alone have some.",
    "agreement": "Of an atom: how its coefficients in image and caption correlate over pairs; it agrees if beyond "
    "shuffled ones, where a rare atom’s lie closer to 0 than its own interval reaches. Of an SAE: such atoms’ share of "
    "bimodal energy, in the measured pairs.",
    "p_acc": "Each atom’s direction is a linear probe for the modality. An atom of one modality scores the probe’s "
    "accuracy, a bimodal one 1 if the probe cannot tell and 0.5 if it tells all; averaged by energy.",
    "ρ": "The Σ-bridge couples atoms that fire in the two halves of pairs; ρ is its weight on couples with a bimodal "
    "atom, over its weight on the others.",
    "FDA": "The same ratio where images’ energies are moved to captions’, over the odds of the bimodal energy; 1: "
    "bimodal atoms bridge as much as their energy lets expect.",
    "δ_r": "How much recall changes when the unimodal atoms are removed, pair by pair, in galleries of "
    f"{PAPER_BATCH} pairs.",
}
"""Meaning by term."""
