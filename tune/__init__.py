"""Searching for the settings of an SAE: what may vary, how it is tried, and what is worth keeping."""
