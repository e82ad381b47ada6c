"""What MLflow calls the run of a stage: the stage, then what people tell its runs apart by."""

from isoenergy.storage.files import last_part, without_secrets

SEPARATOR = " · "
_OF_A_STAGE = "store"
"""What a store in the output of a pipeline, or beside what was made of vectors, is called: each is."""


def run_name(stage: str, *told_by: str) -> str:
    """Return `evaluate · clip · 2 SAEs`."""
    return SEPARATOR.join((stage, *told_by))


def store_name(uri: str, source: str) -> str:
    """Return what people tell a store by: the last part of its place, or of its source's where all are called alike."""
    name = last_part(without_secrets(uri))
    return (last_part(without_secrets(source)) or name) if name == _OF_A_STAGE else name
