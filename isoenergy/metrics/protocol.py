"""What the paper measures with, where that is a choice."""

PAPER_BATCH = 256
"""Pairs among which the paper retrieves."""
