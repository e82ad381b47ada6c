"""The one exception for input that the user can mend, and other libraries' errors in a line."""

import re

_LONGEST = 300
_SECRET = re.compile(r"(?<=Bearer )[^'\"]+|(?<=://)[^/\s@]+(?=@)")


class InputError(Exception):
    """Input, a path or a setting is not usable; the message says what was given, what was expected, what to do.

    The command line prints the message on one line and exits with code 2.
    """


def one_line(said: object, longest: int | None = None) -> str:
    """Return a text, or what an error says, on one line; of one that is longer than `longest` letters the beginning."""
    return " ".join(str(said).split())[:longest]


def in_brief(error: BaseException) -> str:
    """Return the error's type and text on one line of bearable length, without tokens and passwords."""
    text = _SECRET.sub("…", one_line(error))
    return f"{type(error).__name__}: {text if len(text) <= _LONGEST else text[:_LONGEST] + ' …'}"
