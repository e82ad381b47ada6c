"""What a training comes to, in the form in which an evaluation ends: sentences, a table, and what holds of SAE-A."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from isoenergy.report.console import aligned, wrapped
from isoenergy.report.intervals import middle, number, ranging
from isoenergy.report.page.verdict import ALWAYS_ON_SHARE, MARKS, State, agreed
from isoenergy.report.saes import Sae, is_null, sae_label
from isoenergy.training.training_metrics import MANY_DEAD, R2_LOSS

MEASURES: Sequence[tuple[str, str, str]] = (
    ("validation_r2", "R²", ".3f"),
    ("bimodal_energy", "bimodal energy", ".1%"),
    ("always_on_energy", "always-on energy", ".1%"),
    ("l0", "atoms a row", ".1f"),
    ("dead_atoms", "dead atoms", ",.0f"),
)
"""What a training measures: MLflow's name, the column's and the format."""

_R2, _BIMODAL, _ALWAYS_ON, _, _DEAD = (name for name, _, _ in MEASURES)

Measures = Mapping[str, float]


@dataclass(frozen=True)
class _Trained:
    """SAEs that differ in nothing but the seed."""

    label: str
    config: Mapping[str, float]
    runs: Sequence[Measures]

    def all(self, name: str) -> list[float]:
        return [measures.get(name, math.nan) for measures in self.runs]

    def told(self, name: str, form: str) -> str:
        """Return the median of all trainings, and in brackets from the least to the largest."""
        return f"{number(median(self.all(name)), form)}{ranging(self.all(name), form)}"


def told_training(saes: Sequence[Sae], last: Mapping[str, Measures]) -> list[str]:
    """Return the lines that say what a training comes to.

    saes: `name` and `config` of each. last: each one's last measures, by its name: R² of validation pairs, the others
    of the train pairs of the last steps.
    """
    trained = _by_label(saes, last)
    shown = _shown(trained)
    plain = next((each for each in trained if not each.config["beta"] and each is not shown), None)
    rows = [(each.label, [number(median(each.all(name)), form) for name, _, form in MEASURES]) for each in trained]
    lines = []
    for sentence in _sentences(shown, plain):
        lines += [*wrapped(sentence), ""]
    lines += [*aligned(("", *(heading for _, heading, _ in MEASURES)), rows), ""]
    lines += [line for state, claim in _claims(shown, plain) for line in wrapped(claim, f"{MARKS[state]} ", "  ")]
    return [*lines, "", *wrapped(_how_to_read(len(shown.runs)))]


def _by_label(saes: Sequence[Sae], last: Mapping[str, Measures]) -> list[_Trained]:
    """Return them in the order in which an evaluation has them: by β, null models last."""
    groups: dict[str, list[Sae]] = {}
    for sae in sorted(saes, key=lambda sae: (is_null(sae), sae["config"]["beta"])):
        groups.setdefault(sae_label(sae), []).append(sae)
    return [
        _Trained(label, its[0]["config"], [last.get(sae["name"], {}) for sae in its]) for label, its in groups.items()
    ]


def _shown(trained: Sequence[_Trained]) -> _Trained:
    """Return the largest β whose atoms are not always on, as an evaluation's sentences are about."""
    sound = [each for each in trained if not median(each.all(_ALWAYS_ON)) >= ALWAYS_ON_SHARE]
    return max(sound or trained, key=lambda each: each.config["beta"])


def _sentences(shown: _Trained, plain: _Trained | None) -> Iterator[str]:
    def without(name: str, form: str) -> str:
        return f", {plain.told(name, form)} without alignment" if plain else ""

    worse = ""
    if median(shown.all(_R2)) < 0:
        worse = (
            " That is worse than the mean of all entries, which has R² 0: train it longer (--epochs), or with another "
            "--learning-rate, or a smaller --beta."
        )
    yield f"{shown.label} rebuilds the validation pairs at R² {shown.told(_R2, '.3f')}{without(_R2, '.3f')}.{worse}"
    held = f"Its bimodal atoms hold {shown.told(_BIMODAL, '.1%')} of the energy{without(_BIMODAL, '.1%')}"
    yield f"{held}, in the last steps' train pairs."
    yield (
        "Whether removing the others closes the gap and keeps retrieval, and whether it takes pairs that belong "
        "together, is what `isoenergy evaluate` measures."
    )


def _claims(shown: _Trained, plain: _Trained | None) -> Iterator[tuple[State, str]]:
    yield (
        agreed(_above(r2, 0) for r2 in shown.all(_R2)),
        f"{shown.label} rebuilds more than the mean does: R² {shown.told(_R2, '.3f')} (asked: above 0)",
    )
    if plain and len(plain.runs) == len(shown.runs):
        cost = [before - after for before, after in zip(plain.all(_R2), shown.all(_R2), strict=True)]
        yield (
            agreed(_above(-each, -R2_LOSS) for each in cost),
            f"alignment costs {number(median(cost), '.3f')}{ranging(cost, '.3f')} of R² (asked: below {R2_LOSS:g})",
        )
    always_on = shown.told(_ALWAYS_ON, ".1%")
    yield (
        agreed(_above(-share, -ALWAYS_ON_SHARE) for share in shown.all(_ALWAYS_ON)),
        f"atoms that are always on hold {always_on} of the energy (asked: below {ALWAYS_ON_SHARE:.0%})",
    )
    dead = [atoms / shown.config["atoms"] for atoms in shown.all(_DEAD)]
    yield (
        agreed(_above(-share, -MANY_DEAD) for share in dead),
        f"{number(median(dead), '.1%')}{ranging(dead, '.1%')} of the atoms are dead (asked: below {MANY_DEAD:.0%})",
    )


def _above(value: float, least: float) -> State:
    return "undecided" if math.isnan(value) else "holds" if value > least else "fails"


def _how_to_read(trainings: int) -> str:
    differing = f"; ≠: trainings differ, of {trainings} {middle(trainings)} is told" if trainings > 1 else ""
    return (
        f"(✓, ✗: holds, or not; ?: was not measured{differing}. There are no intervals: R² is of at most "
        f"--validation-pairs pairs, the rest of the last steps)"
    )
