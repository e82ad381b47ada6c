"""The one exception for input that the user can mend."""


class InputError(Exception):
    """Input, a path or a setting is not usable; the message says what was given, what was expected, what to do.

    The command line prints the message on one line and exits with code 2.
    """
