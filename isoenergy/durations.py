"""Times as people say them."""


def duration(seconds: float) -> str:
    """Return a time in two units at most: `< 0.1 s`, `7.2 s`, `12 s`, `1 min 12 s`, `2 h 5 min`."""
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
