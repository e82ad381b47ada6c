"""What the steps' results are called: the files that others read, and the words and thresholds that stand in them.

Imports nothing, so that what draws results needs nothing of what computes them.
"""

CLASSES = ("bimodal", "image_only", "text_only")
UNEQUAL_Q = 0.05
"""Below this false discovery rate an atom counts as one whose energies differ."""

ATOMS_FILE = "atoms.parquet"
EXEMPLARS_FILE = "exemplars.parquet"
PROJECTION_FILE = "projection.parquet"
EXPLORER_FILE = "explorer.parquet"
CAPTIONS_FILE = "captions.parquet"
PLACES_FILE = "places.parquet"
"""Atoms in two dimensions."""
EDGES_FILE = "edges.parquet"
"""The bridges between them."""
CURVES_FILE = "curves.parquet"
"""The bridges' mass with a bimodal side, over the threshold of being bimodal."""
DENSITIES_FILE = "densities.parquet"
SCORES_FILE = "scores.parquet"
