"""What MLflow calls the run of a stage: the stage, then what people tell its runs apart by."""

SEPARATOR = " · "


def run_name(stage: str, *told_by: str) -> str:
    """Return `evaluate · clip · 2 SAEs`."""
    return SEPARATOR.join((stage, *told_by))
