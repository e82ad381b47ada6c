"""Ray's start, a cluster's size and growth, progress bars and locks."""
