"""What a search has found: every trial, the front, and the one to take."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from isoenergy.settings.variants import number_text
from tune.objectives import Objectives
from tune.passes import PassRecord, SearchFolder

TrialStatus = Literal["finished", "stopped", "failed", "running"]
_SETTINGS = ("beta", "expansion", "k", "learning_rate", "batch_pairs", "alignment", "bias_atoms")


@dataclass(frozen=True)
class Trial:
    """One β of one pass; its measures are means over the pass's seeds."""

    record: PassRecord
    beta: float
    status: TrialStatus
    measures: dict[str, float]
    """Empty if there are none."""
    reason: str
    """Why it failed or was stopped."""

    @property
    def name(self) -> str:
        """Unique in the search."""
        return f"{self.record.id}/beta-{number_text(self.beta)}"

    @property
    def saes(self) -> list[str]:
        """Names of its SAEs, one a seed."""
        return self.record.saes_by_beta[self.beta]

    @property
    def settings(self) -> dict[str, str]:
        """What it was trained with."""
        values = {**self.record.chosen, "beta": self.beta}
        return {
            name: value if isinstance(value, str) else f"{value:.3g}" for name in _SETTINGS for value in [values[name]]
        }


@dataclass(frozen=True)
class Findings:
    """The trials of a search. Those that failed are on no front."""

    folder: SearchFolder
    objectives: Objectives
    within: float
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, folder: SearchFolder, objectives: Objectives, within: float) -> "Findings":
        """Read what is on record."""
        trials = [trial for record in folder.passes() for trial in _trials(record)]
        return cls(folder, objectives, within, tuple(trials))

    @property
    def finished(self) -> list[Trial]:
        """The trials that were trained to the end."""
        return [trial for trial in self.trials if trial.status == "finished"]

    @property
    def measured(self) -> list[Trial]:
        """The trials that ended with an SAE: trained to the end, or stopped early with what they had come to."""
        return [trial for trial in self.trials if trial.status in ("finished", "stopped") and trial.measures]

    @cached_property
    def front(self) -> list[Trial]:
        """The measured trials that no other betters, from the least to the most aligned."""
        found = [self.measured[number] for number in self.objectives.front([t.measures for t in self.measured])]
        return sorted(found, key=lambda trial: self.objectives.gains(trial.measures).tolist(), reverse=True)

    @cached_property
    def recommended(self) -> Trial | None:
        """The finished trial to take; None if none was finished."""
        number = self.objectives.recommended([trial.measures for trial in self.finished], self.within)
        return None if number is None else self.finished[number]

    @property
    def hypervolume(self) -> float:
        """Of the measured trials, in [0, 1]."""
        return self.objectives.hypervolume([trial.measures for trial in self.measured])

    def sae_uris(self, trials: Sequence[Trial]) -> list[str]:
        """Return where the SAEs of measured trials lie."""
        return [f"{self.folder.checkpoint(trial.record.id)}/{name}" for trial in trials for name in trial.saes]

    def rows(self) -> list[dict[str, Any]]:
        """Return all trials as a table."""
        names = [trial.name for trial in self.front]
        return [
            {
                "trial": trial.name,
                **trial.settings,
                "status": trial.status,
                "on_front": trial.name in names,
                "recommended": self.recommended is not None and trial.name == self.recommended.name,
                **trial.measures,
                "seconds": trial.record.reports[-1].seconds if trial.record.reports else 0.0,
                "reason": trial.reason,
            }
            for trial in self.trials
        ]

    def csv(self) -> str:
        """Return all trials as CSV."""
        rows = self.rows()
        fields = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fields)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def table(self) -> str:
        """Return the front for people, and which trial is recommended by what rule."""
        measures = [self.objectives.measure(name) for name in self.objectives.names]
        header = ["trial", *_SETTINGS, *measures, ""]
        lines = [header]
        for trial in self.front:
            mark = "<- recommended" if trial is self.recommended else "stopped early" * (trial.status == "stopped")
            numbers = [f"{trial.measures[name]:.4g}" for name in measures]
            lines.append([trial.name, *trial.settings.values(), *numbers, mark])
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        text = [
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        counts = {
            s: sum(trial.status == s for trial in self.trials) for s in ("finished", "stopped", "failed", "running")
        }
        said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        text.append(
            f"{len(self.trials)} trials: {said}; the front dominates {self.hypervolume:.4f} of the objectives' volume"
        )
        text.append(f"recommended: {self.objectives.rule(self.within)}")
        return "\n".join(text)


def _trials(record: PassRecord) -> list[Trial]:
    measures, trials = record.last_measures(), []
    for beta, names in record.saes_by_beta.items():
        said = [record.diverged[name] for name in names if name in record.diverged]
        if said:
            trials.append(Trial(record, beta, "failed", {}, said[0]))
        else:
            status: TrialStatus = "running" if record.outcome is None else record.outcome.status
            reason = "" if record.outcome is None else record.outcome.reason
            trials.append(Trial(record, beta, status, measures.get(beta, {}), reason))
    return trials
