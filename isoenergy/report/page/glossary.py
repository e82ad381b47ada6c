"""Ten terms of the page, each in a sentence: shown where a term stands, and all together at the end."""

GLOSSARY = {
    "μ": "The modality score of an atom: images’ share of its energy. 1: images alone; 0: captions alone.",
    "bimodal": "An atom with μ between 0.05 and 0.95: it has energy in images and in captions. Others are unimodal.",
    "energy": "The mean squared coefficient of an atom over images, or over captions: what it rebuilds.",
    "gap": "The distance between the mean image and the mean caption (difference in means), or by optimal transport.",
    "R²": "The share of variance that the codes rebuild, about the mean of all entries; the means alone have some.",
    "agreement": "Whether an atom’s coefficients in image and caption go together in pairs, beyond shuffled ones.",
    "p_acc": "How well an atom’s firing tells the modality, weighted by energy; 1: every atom is of one modality.",
    "ρ": "How much more the Σ-bridge, which couples atoms across pairs, weighs where a side is bimodal.",
    "FDA": "The same odds for the transport between both modalities’ energies, over the odds of the energy itself.",
    "δ_r": "How much recall changes when the unimodal atoms are removed, pair by pair, in the full gallery.",
}
"""Meaning by term."""
