"""What servers say about the use of their images by machines."""

from collections.abc import Iterable

_DIRECTIVES = frozenset({"noai", "noimageai"})
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
ROBOT = "isoenergy"


def opts_out(values: Iterable[str]) -> bool:
    """Return whether `X-Robots-Tag` headers say noai or noimageai to all robots, or to this one by its name.

    A header is a list of directives with commas between; `name:` before one addresses it and those after it to one
    robot.
    """
    for value in values:
        addressed = True
        for entry in value.lower().split(","):
            before, colon, after = entry.partition(":")
            directive = entry.strip()
            if colon and before.strip() not in _WITH_VALUES:
                addressed, directive = before.strip() == ROBOT, after.strip()
            if addressed and directive in _DIRECTIVES:
                return True
    return False
