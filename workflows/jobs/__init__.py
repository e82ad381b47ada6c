"""Submitting a stage as a job to a Ray cluster, and following it to its end."""
