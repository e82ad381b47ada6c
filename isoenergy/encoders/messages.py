"""Other libraries' errors in a line."""

import re

_LONGEST = 300
_SECRET = re.compile(r"(?<=Bearer )[^'\"]+|(?<=://)[^/\s@]+(?=@)")


def in_brief(error: BaseException) -> str:
    """Return the error's type and text on one line of bearable length, without tokens and passwords."""
    text = _SECRET.sub("…", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text if len(text) <= _LONGEST else text[:_LONGEST] + ' …'}"
