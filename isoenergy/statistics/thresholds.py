"""Where atoms are cut into classes, when one counts as always on, and what an event never seen may still be."""

EPSILON = 0.05
"""An atom is bimodal whose modality score lies between this and 1 less this (paper 1.5)."""
ALWAYS_ON_FREQUENCY = 0.9
ZERO_OF_N = 3.0
"""If an event is not seen in n trials its probability is below 3/n, at a level of 95 % (the rule of three)."""
