"""`isoenergy compare`: runs in MLflow side by side."""

import csv
import io
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from isoenergy.errors import InputError
from isoenergy.report.figures.metric_curves_figure import metric_curves
from isoenergy.report.figures.shared import as_bytes
from isoenergy.storage.files import open_filesystem, write_atomically
from workflows.command import run_command
from workflows.settings.compare_settings import CompareConfig, parse
from workflows.tracking.compared_runs import ComparedRun, find_runs, history

TABLE_FILE = "runs.csv"
CURVES_FILE = "curves.png"
_SYSTEM = "system/"
_METRICS = 12
_LONGEST_CELL = 32
_BEST, _TIED = "*", "="
_LOWEST_IS_BEST = {"loss", "mse", "error", "gap", "dead", "always", "difference", "seconds", "waiting"}
_HIGHEST_IS_BEST = {"r2", "r1", "r5", "r10", "acc", "accuracy", "recall", "bimodal", "rows"}


def run(config: CompareConfig) -> str:
    """Return the table; write files if asked to.

    Raises InputError for runs or metrics that are not there.
    """
    runs = find_runs(config.runs)
    metrics = _chosen(runs, config.metrics)
    lines = [*_blocks(_rows(runs, metrics), shutil.get_terminal_size((120, 24)).columns)]
    if any(best(name, _known(runs, name)) is not None for name in metrics):
        lines += [
            f"{_BEST} the best: the lowest of {', '.join(sorted(_LOWEST_IS_BEST))}, the highest of other marked ones",
            f"{_TIED} as good as another: a tie",
        ]
    if some := _of_some(runs):
        lines += [f"{len(some)} parameters that only some of these runs have are equal where they are"]
    if left_out := len(_names(runs)) - len(metrics):
        lines += [f"{left_out} more metrics; --metrics '*' shows all"]
    if config.output:
        lines += [f"written      {uri}" for uri in _written(config.output, runs, metrics)]
    return "\n".join(lines)


def best(metric: str, values: Sequence[float]) -> float | None:
    """Return the best of a metric's values; None if it is not known what is better, or if all are alike."""
    numbers = [value for value in values if not math.isnan(value)]
    if len(set(numbers)) < 2 or not _words(metric) & (_LOWEST_IS_BEST | _HIGHEST_IS_BEST):
        return None
    return min(numbers) if _words(metric) & _LOWEST_IS_BEST else max(numbers)


def _words(metric: str) -> set[str]:
    return set(re.split(r"[_\W]+", metric.rpartition("/")[2]))


def _known(runs: Sequence[ComparedRun], metric: str) -> list[float]:
    return [run.metrics[metric] for run in runs if metric in run.metrics]


def _names(runs: Sequence[ComparedRun]) -> list[str]:
    return sorted({name for run in runs for name in run.metrics if not name.startswith(_SYSTEM)})


def _chosen(runs: Sequence[ComparedRun], patterns: Sequence[str]) -> list[str]:
    if patterns:
        everything = sorted({name for run in runs for name in run.metrics})
        chosen = [name for name in everything if any(fnmatchcase(name, pattern) for pattern in patterns)]
        if not chosen:
            known = ", ".join(everything[:_METRICS]) or "none"
            raise InputError(f"no run has a metric like {', '.join(patterns)}; there are {known}")
        return chosen

    def rank(name: str) -> tuple[bool, int, bool, str]:
        values = _known(runs, name)
        unordered = not _words(name) & (_LOWEST_IS_BEST | _HIGHEST_IS_BEST)
        return len(values) == len(runs) > 1 == len(set(values)), -len(values), unordered, name

    return sorted(_names(runs), key=rank)[:_METRICS]


def _rows(runs: Sequence[ComparedRun], metrics: Sequence[str]) -> Iterator[list[str]]:
    """Yield the table by rows: what it is, then the runs' values."""
    yield ["run", *(run.name for run in runs)]
    yield ["id", *(run.id[:8] for run in runs)]
    yield ["status", *(run.status for run in runs)]
    yield ["dataset", *(run.datasets or "–" for run in runs)]
    for name in _differing(runs):
        yield [_as_typed(name, runs), *(run.parameters.get(name, "–") for run in runs)]
    for name in metrics:
        values = _known(runs, name)
        top = best(name, values)
        yield [name, *(_number(run.metrics.get(name), top, top is not None and values.count(top) > 1) for run in runs)]


def _as_typed(parameter: str, runs: Sequence[ComparedRun]) -> str:
    """Return a training's parameter as its option is called: `epochs` for `training.epochs`."""
    short = parameter.removeprefix("training.")
    return parameter if any(short in run.parameters for run in runs) else short


def _differing(runs: Sequence[ComparedRun]) -> list[str]:
    """Return the parameters that have several values, those that all runs have first: stages have their own."""
    values = _values(runs)
    several = [name for name in values if len(set(values[name])) > 1]
    return sorted(several, key=lambda name: len(values[name]) < len(runs))


def _of_some(runs: Sequence[ComparedRun]) -> list[str]:
    """Return the parameters that not all runs have and that have one value."""
    return [name for name, values in _values(runs).items() if len(values) < len(runs) and len(set(values)) == 1]


def _values(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """Return each parameter's values, of the runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run.parameters)
    return {name: [run.parameters[name] for run in runs if name in run.parameters] for name in names}


def _number(value: float | None, top: float | None, tied: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.4g} {(_TIED if tied else _BEST) if value == top else ' '}"


def _blocks(rows: Iterator[list[str]], width: int) -> Iterator[str]:
    """Yield the table's lines; runs that do not fit beside the others come below them."""
    table = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    start = 1
    while start < len(widths):
        end, used = start, widths[0]
        while end < len(widths) and (end == start or used + 2 + widths[end] <= width):
            used += 2 + widths[end]
            end += 1
        for row in table:
            cells = [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(start, end))]
            yield "  ".join(cells).rstrip()
        yield ""
        start = end


def _short(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= _LONGEST_CELL else f"{plain[: _LONGEST_CELL - 1]}…"


def _written(output: str, runs: Sequence[ComparedRun], metrics: Sequence[str]) -> Iterator[str]:
    curves = {name: {run.name: history(run, name) for run in runs if name in run.metrics} for name in metrics}
    by_step = {name: lines for name, lines in curves.items() if any(len(points) > 1 for points in lines.values())}
    files = {
        TABLE_FILE: _csv(runs, metrics).encode(),
        CURVES_FILE: as_bytes(metric_curves(by_step or curves), "png"),
    }
    try:
        filesystem, root = open_filesystem(output)
        for name, data in files.items():
            write_atomically(filesystem, f"{root}/{name}", data)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output folder that can") from error
    yield from (f"{output.rstrip('/')}/{name}" for name in files)


def _csv(runs: Sequence[ComparedRun], metrics: Sequence[str]) -> str:
    """Return the table with a run a row and every digit, and with the parameters that only some runs have."""
    text = io.StringIO()
    differing = [*_differing(runs), *_of_some(runs)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "id", "status", "dataset", *(f"parameter.{n}" for n in differing), *metrics])
    for run in runs:
        parameters = [run.parameters.get(name, "") for name in differing]
        numbers = [run.metrics.get(name, "") for name in metrics]
        writer.writerow([run.name, run.id, run.status, run.datasets, *parameters, *numbers])
    return text.getvalue()


def start(config: CompareConfig) -> None:
    """Print the table."""
    print(run(config))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
