"""What MLflow calls the run of a stage: the stage, then what people tell its runs apart by."""

from isoenergy.storage.files import without_secrets

SEPARATOR = " · "


def run_name(stage: str, *told_by: str) -> str:
    """Return `evaluate · clip · 2 SAEs`."""
    return SEPARATOR.join((stage, *told_by))


def last_part(uri: str) -> str:
    """Return the name of a file or folder at a path or URL."""
    return without_secrets(uri).rstrip("/").rpartition("/")[2]


def counted_saes(count: int) -> str:
    """Return `1 SAE`, `2 SAEs`."""
    return f"{count:,} SAE{'s' * (count != 1)}"
