"""How much of a run's work is done, where steps differ by a thousand times in what they take."""

from collections import Counter, defaultdict
from collections.abc import Iterable

_LEAST_SECONDS = 0.05


class Work:
    """Weighs a step by what others of its kind took in this run; before one has ended, by the mean of all kinds.

    A kind is what stands behind the first slash of a step's name, without the number of a part.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._left = Counter(map(_kind, names))
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._shown = 0.0

    def done(self, name: str, seconds: float) -> None:
        """Note that a step has ended."""
        self._left[_kind(name)] -= 1
        self._seconds[_kind(name)].append(max(seconds, _LEAST_SECONDS))

    @property
    def share(self) -> float:
        """What is done of all, from 0 to 1; it never falls, as what steps take becomes known."""
        if not self._seconds:
            return 0.0
        means = {kind: sum(took) / len(took) for kind, took in self._seconds.items()}
        unknown = sum(means.values()) / len(means)
        done = sum(map(sum, self._seconds.values()))
        left = sum(count * means.get(kind, unknown) for kind, count in self._left.items())
        self._shown = max(self._shown, done / (done + left))
        return self._shown


def _kind(name: str) -> str:
    kind = name.partition("/")[2] or name
    head, _, number = kind.rpartition("/")
    return head if head and number.isdigit() else kind
