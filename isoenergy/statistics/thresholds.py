"""Where atoms are cut, when one is always on, what an event never seen may be, and what an interval wants."""

EPSILON = 0.05
"""An atom is bimodal whose modality score lies between this and 1 less this (paper 1.5)."""
ALWAYS_ON_FREQUENCY = 0.9
ZERO_OF_N = 3.0
"""If an event is not seen in n trials its probability is below 3/n, at a level of 95 % (the rule of three)."""
LEAST_IMAGES = 20
"""Of fewer independent images there is no interval. The bootstrap's is too narrow for few: of a mean that varies
normally it holds the truth in 93 % of samples of 20, not in 95, in 90 % of 10 and in 85 % of 5 (Student's t with n - 1
degrees of freedom, within ± 1.96 √((n - 1) / n))."""
