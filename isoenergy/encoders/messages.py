"""Other libraries' errors in a line."""

_LONGEST = 300


def in_brief(error: BaseException) -> str:
    """Return the error's type and text on one line of bearable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= _LONGEST else text[:_LONGEST] + ' …'}"
