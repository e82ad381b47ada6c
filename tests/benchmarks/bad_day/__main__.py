"""`python -m tests.benchmarks.bad_day`: embed, train, tune and evaluate while a seeded schedule breaks what they use.

Drivers, workers and nodes are killed, S3 and MLflow are away for up to a minute, the disk is full, and a second run is
started into the same output. A command that ends with an error, or is killed, is started again, as its user would.
Needs root on Linux: the disk that is filled is a small one of its own.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import tyro

from isoenergy.bundled import BUNDLED_PAIRS
from tests.benchmarks.bad_day import checks
from tests.benchmarks.bad_day.checks import Pass
from tests.benchmarks.bad_day.faults import KINDS, Attempt, Faults, Second
from tests.benchmarks.bad_day.services import Services, services
from tests.benchmarks.results import add_measures
from tests.pairs.made_up_pairs import written_rows
from tests.workflows.embedding_stores import SMALL_ENCODER

_PAIRS, _FILES = 800, 4
_SAES = ["beta-0", "beta-0.001"]
_PASSES, _BETAS = 3, 2
_MOST_STARTS = 25
_STAGES_AT_LEAST = 4
_LONGEST_ATTEMPT = 900.0
_SECONDS_BETWEEN_LOOKS, _SECONDS_BETWEEN_STARTS = 0.2, 3.0


@dataclass(frozen=True)
class Asked:
    """How long, and which day."""

    minutes: float = 30.0
    """In which faults come; the pass that is then under way is brought to its end."""
    seed: tuple[int, ...] = (0,)
    """Decides which faults come when, and for how long; several are days one after the other."""
    output: Path = Path("runs/bad-day.json")
    """Where the summary is put, beside those of other seeds; what drivers print is put below the same name."""


class Day:
    """Runs stages, and starts them again."""

    def __init__(self, asked: Asked, seed: int, folder: Path, there: Services, log: "Log") -> None:
        self.asked, self.seed, self.services, self.log = asked, seed, there, log
        self.faults = Faults(there, seed, 60 * asked.minutes / _STAGES_AT_LEAST, log.say)
        self.starts: Counter[str] = Counter()
        self.failed: list[str] = []
        self._folder = folder
        self._logs = (asked.output.with_suffix("") / f"seed-{seed}").absolute()
        self._logs.mkdir(parents=True, exist_ok=True)
        self._begun = time.monotonic()

    def begin(self) -> None:
        """Let faults come."""
        self._begun = time.monotonic()
        self.faults.begin()

    @property
    def minutes(self) -> float:
        """Since `begin`."""
        return (time.monotonic() - self._begun) / 60

    @property
    def is_over(self) -> bool:
        """Whether no more fault is to come."""
        return self.minutes >= self.asked.minutes

    def make(self, one: Pass, pairs: str) -> bool:
        """Run the stages of a pass; return whether all ended well."""
        return all(self.run(one, stage, arguments) for stage, arguments in stages(one, pairs).items())

    def run(self, one: Pass, stage: str, arguments: list[str]) -> bool:
        """Start a stage until it ends well; return whether it did."""
        name = f"{one.name}, {stage}"
        second = Second()
        for number in range(1, _MOST_STARTS + 1):
            self.starts[stage] += 1
            self.log.say(f"{name}: start {number}")
            file = self._logs / f"{one.name.replace(' ', '-')}-{stage}-{number}.txt"
            start = partial(self._start, arguments)
            attempt = Attempt(name, start(file), start, second, file)
            code = self._wait(attempt)
            self._note(attempt, code, file)
            self._note_second(attempt)
            if code == 0:
                return True
            self._pause(_SECONDS_BETWEEN_STARTS)
        self.failed.append(f"{name}: did not end well in {_MOST_STARTS} starts")
        return False

    def _start(self, arguments: list[str], file: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "workflows.cli", *arguments]
        with file.open("w") as log:
            return subprocess.Popen(
                command, start_new_session=True, stdout=log, stderr=log, env=self.services.environment, cwd=self._folder
            )

    def _wait(self, attempt: Attempt) -> int | None:
        """Let faults happen until a driver ends; return how, or None if it stood still and was ended."""
        give_up = time.monotonic() + _LONGEST_ATTEMPT
        while (code := attempt.process.poll()) is None:
            if self.is_over:
                self.faults.heal()
            self.faults.look(attempt)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if time.monotonic() > give_up:
                attempt.process.kill()
                attempt.process.wait()
                self.failed.append(f"{attempt.stage}: stood still for {_LONGEST_ATTEMPT:.0f} s")
                return None
        return code

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.faults.look(None)
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _note(self, attempt: Attempt, code: int | None, file: Path) -> None:
        """Write down what became of the faults of a driver's time."""
        ended = "went on" if code == 0 else "went on at the next start"
        if code and code > 0:
            ended = f"ended with {code}, went on at the next start"
        if code is None:
            ended = "stood still"
        for event in attempt.events:
            if event is not attempt.second.event:
                event.became = ended
        if code == 0:
            self.log.say(f"{attempt.stage}: done")
        elif code is not None and code > 0:
            self.log.say(f"{attempt.stage}: ended with {code}: {_last_line(file)}")

    def _note_second(self, attempt: Attempt) -> None:
        """Wait for a second run, and write down what became of it."""
        second = attempt.second
        if second.process is None or (second.process.poll() is None and attempt.process.returncode != 0):
            return  # it goes on while the first is started again
        give_up = time.monotonic() + _LONGEST_ATTEMPT
        while second.process.poll() is None and time.monotonic() < give_up:
            self._pause(_SECONDS_BETWEEN_LOOKS)
        text, code = _last_line(second.file), second.process.poll()
        became = "ended well too" if code == 0 else f"ended with {code}"
        if code is None:
            second.process.kill()
            second.process.wait()
            became = "stood still"
            self.failed.append(f"{attempt.stage}: a second run stood still")
        elif "another run is at work" in text:
            became = "refused: another run is at work"
        self.log.say(f"{attempt.stage}: the second run {became}: {text}")
        assert second.event is not None
        second.event.became = became
        second.process = None


class Log:
    """Lines with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self._start) / 60

    def say(self, text: str) -> None:
        """Print a line."""
        seconds = int(60 * self.minutes)
        print(f"{seconds // 60:02d}:{seconds % 60:02d}  {text}", flush=True)


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1][:240] if lines else ""


def stages(one: Pass, pairs: str) -> dict[str, list[str]]:
    """Return the command of each stage of a pass."""
    place, small = one.place, ["--expansion", "2", "--k", "4", "--learning-rate", "5e-3"]
    store = ["--store", f"{place}/store"]
    return {
        "embed": [
            "embed", "--pairs", pairs, "--output", f"{place}/store", "--encoder", SMALL_ENCODER,
            "--precision", "float32", "--rows-per-unit", "50", "--batch-rows", "20",
        ],
        "train": [
            "train", *store, "--output", f"{place}/saes", "--workers", "1,2" if one.elastic else "2",
            "--beta", "0,0.001", *small, "--epochs", "30", "--batch-pairs", "60", "--checkpoint-every", "30",
        ],
        "tune": [
            "tune", *store, "--output", f"{place}/searches", "--searcher", "random", "--passes", f"{_PASSES}",
            "--trials", f"{_BETAS}", "--no-early-stopping", "--space.beta", "1e-4..1e-2", "--space.expansion", "2,4",
            "--space.k", "3,4", "--space.learning-rate", "5e-3", "--space.batch-pairs", "60", "--epochs", "10",
        ],
        "evaluate": [
            "evaluate", *store, "--saes", f"{place}/saes/{_SAES[-1]}", "--output",
            f"{place}/evaluation", "--sample", "50", "--in-batches", "100", "--queries", "50", "--part-pairs", "100",
        ],
    }  # fmt: skip


def main(asked: Asked) -> int:
    """Have bad days; return 0 if nothing came of them."""
    log = Log()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        with services(folder) as there:
            log.say("S3, MLflow and the nodes are up")
            rows = pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet"))[0]).to_pylist()[:_PAIRS]
            bucket = there.s3.bucket()
            for number in range(_FILES):
                file = written_rows(rows[number::_FILES], folder / f"{number}.parquet")
                there.s3.filesystem.put(str(file), f"{bucket}/pairs/{number}.parquet")
            undisturbed = Pass("undisturbed", f"s3://{bucket}/undisturbed", elastic=False)
            before = Day(asked, 0, folder, there, log)
            keys = [row["key"] for row in rows]
            failed = [] if before.make(undisturbed, f"s3://{bucket}/pairs") else before.failed
            failed = failed or _unlike([undisturbed], undisturbed, there, keys)
            for seed in asked.seed if not failed else ():
                failed += _day(Day(asked, seed, folder, there, log), undisturbed, bucket, keys)
        left = checks.processes_left(there.mark)
    print("\n".join([f"FAILED: {each}" for each in failed + left] or ["all is well, and no process is left"]))
    return int(bool(failed + left))


def _day(day: "Day", undisturbed: Pass, bucket: str, keys: list[str]) -> list[str]:
    """Make passes until the time is over; print what there was and return what does not hold."""
    there, log, seed = day.services, day.log, day.seed
    log.say(f"seed {seed}: {day.asked.minutes:g} minutes")
    day.begin()
    passes: list[Pass] = []
    while not day.is_over and not day.failed:
        number = len(passes) + 1
        place = f"s3://{bucket}" if (number + seed) % 2 else f"{there.disk}"
        elastic = number % 4 in (2, 3)
        passes.append(Pass(f"pass {number}", f"{place}/seed-{seed}-pass-{number}", elastic))
        day.make(passes[-1], f"s3://{bucket}/pairs")
    day.faults.heal()
    minutes = day.minutes
    log.say("looking at what there is")
    failed = [*day.failed, *checks.workers_left(there)]
    if not day.failed:
        failed += _unlike(passes, undisturbed, there, keys)
    for one in passes:
        shutil.rmtree(one.place, ignore_errors=True)
    summary = day.faults.summary()
    print(f"\nseed {seed}: {'fault':<20} {'times':>5}  what became of it")
    for kind in KINDS:
        became = "; ".join(f"{times} × {what}" for what, times in summary[kind].items())
        print(f"        {kind:<20} {sum(summary[kind].values()):>5}  {became}")
    starts = ", ".join(f"{stage} {number}" for stage, number in day.starts.items())
    print(f"        {len(passes)} passes in {minutes:.1f} minutes; starts: {starts}")
    print("\n".join([f"FAILED: {each}" for each in failed] or ["        pairs, weights, search and statuses hold"]))
    measures = {
        "minutes": day.asked.minutes,
        "took_minutes": round(minutes, 1),
        "passes": len(passes),
        "starts": dict(day.starts),
        "faults": summary,
        "failed": failed,
    }
    add_measures(day.asked.output, f"seed {seed}", measures)
    return failed


def _unlike(passes: list[Pass], undisturbed: Pass, there: Services, keys: list[str]) -> list[str]:
    """Return what is not as it is to be, in passes or in MLflow."""
    said = checks.statuses(there, passes, _PASSES * _BETAS)
    return said + [each for one in passes for each in checks.differences(one, undisturbed, keys, _SAES, _PASSES)]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Asked, description=__doc__)))
