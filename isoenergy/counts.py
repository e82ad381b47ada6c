"""Numbers of things as people say them."""


def counted(count: int, name: str) -> str:
    """Return `1 file`, `0 files`, `1,200 files`, where `name` is of one: `file`."""
    return f"{count:,} {name}{'s' * (count != 1)}"


def counted_range(fewest: int, most: int, name: str) -> str:
    """Return `1 to 4 workers`, and `1 worker` where both are one."""
    return counted(most, name) if fewest == most else f"{fewest:,} to {counted(most, name)}"
