"""The arena's standings: who wins by which measure, and what is within noise; their page and tables."""
