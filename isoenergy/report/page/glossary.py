"""Ten terms of the page, each in a sentence: shown where a term stands, and all together at the end."""

GLOSSARY = {
    "μ": "The modality score of an atom: images’ share of its energy. 1: images alone; 0: captions alone.",
    "bimodal": "An atom with μ between 0.05 and 0.95: it has energy in images and in captions. Others are unimodal.",
    "energy": "The mean squared coefficient of an atom over images, or over captions: what it rebuilds.",
    "gap": "The distance between the mean image and the mean caption (difference in means), or by optimal transport.",
    "R²": "The share of variance that the codes rebuild, about the mean of all entries; the means alone have some.",
    "agreement": "How an atom’s coefficients in image and caption correlate over pairs, and whether beyond chance.",
    "p_acc": "How well an atom’s firing tells the modality, weighted by energy; 1: every atom is of one modality.",
    "ρ": "Of the Σ-bridge, which couples the atoms of paired halves: its weight where a side is bimodal over the rest.",
    "FDA": "As ρ, of moving images’ energies to captions’, over bimodal energy’s odds; 1: as the other atoms.",
    "δ_r": "How much recall changes when the unimodal atoms are removed, pair by pair, in the full gallery.",
}
"""Meaning by term."""
