"""What the paper measures, as pure functions of arrays and mergeable sums."""
