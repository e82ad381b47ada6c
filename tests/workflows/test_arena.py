"""`isoenergy arena`: the plan, a small run from end to end, and that it goes on."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray.tune

from isoenergy.arena.roster import METHODS
from isoenergy.errors import InputError
from tests.store.stores import write_store
from tests.workflows.processes import files_in, run_until
from workflows import arena
from workflows.settings.arena_settings import PRESETS, ArenaConfig, parse
from workflows.steps import step_plan

SMALL = replace(
    PRESETS["shared"],
    here=True,
    methods=("centred", "sae", "matched", "group-masked"),
    seeds=2,
    epochs=1,
    train_pairs=300,
    validation_pairs=60,
    test_pairs=120,
    known_dim=40,
)


def test_the_plan_has_a_step_for_each_method_strength_and_seed() -> None:
    plan = arena.plan_arena(replace(SMALL, methods=()))
    names = [step.name for step in plan.steps]
    expected = sum(len(m.strengths) * (2 if m.sparse else 1) for m in METHODS.values())
    assert len(names) == len(set(names)) == 2 + expected
    assert [step.name for step in plan.first_steps] == names[:2] + [name for name in names if "seed-0" in name]
    further = plan.further_steps({"sae": 0.0, "sae-a": 1e-3, "cosae": None, "raw": 0.0})
    assert [step.name for step in further] == ["sae/seed-1", "sae-a/strength-0.001/seed-1"]


def test_what_is_run_does_not_depend_on_how_many_seeds_are_asked_for() -> None:
    few, many = (
        {step.name: step.fingerprint for step in arena.plan_arena(replace(SMALL, seeds=seeds)).steps}
        for seeds in (1, 3)
    )
    assert few.items() <= many.items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"store": ""}, "the arena needs pairs"),
        ({"store": "a", "known_cosine": 0.5}, "the arena needs pairs"),
        ({"store": "a", "seeds": 0}, "seeds must be at least 1, got 0"),
        ({"known_cosine": 0.5, "labels": "group"}, "reference, transfer and labels are of a store"),
        ({"known_cosine": 0.5, "transfer": "b"}, "reference, transfer and labels are of a store"),
        ({"store": "a", "methods": ("sae", "sae")}, "different ones"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        ArenaConfig(**settings)


def test_an_unknown_method_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"no method sea; the methods are raw, .*cosae"):
        arena.plan_arena(replace(SMALL, methods=("sea",)))


@pytest.mark.parametrize("arguments", [["--store", "x", "--methods"], ["split", "--methods", "--here"]])
def test_methods_without_a_name_do_not_run_all(arguments: list[str]) -> None:
    with pytest.raises(InputError, match="--methods takes a name"):
        parse(arguments)


def test_a_learning_rate_below_zero_is_refused_before_any_step() -> None:
    with pytest.raises(InputError, match="learning_rate must be above 0 and finite, got -1"):
        arena.plan_arena(replace(SMALL, learning_rate=-1.0))


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"image": 8, "text": 8, "audio": 8}, r"3 modalities: image \(width 8\), text \(width 8\), audio \(width 8\)"),
        ({"image": 8}, r"1 modalities: image \(width 8\)"),
        ({"image": 8, "text": 6}, r"two widths: image \(width 8\), text \(width 6\)"),
        ({"image": 3, "text": 3}, "has no validation and no test pairs"),
    ],
)
def test_a_store_without_pairs_for_the_arena_is_refused_before_any_step(
    tmp_path: Path, widths: dict[str, int], message: str
) -> None:
    store = write_store(str(tmp_path / "store"), train=[20])
    file = tmp_path / "store" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"widths": widths}))
    with pytest.raises(InputError, match=message):
        arena.plan_arena(ArenaConfig(store=store.uri))


def test_a_store_is_not_its_own_judge(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), train=[20], others=200)
    with pytest.raises(InputError, match="reference and store are the same"):
        arena.plan_arena(ArenaConfig(store=store.uri, reference=store.uri))


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("colour", "has no column 'colour' for labels; its columns are key, "),
        ("classes", r"column 'classes' has 1 classes with 10 or more of the \d+ test pairs, of 1 values"),
        ("image", r"column 'image' holds fixed_size_list<.*labels are texts or numbers"),
    ],
)
def test_labels_that_make_no_classes_are_refused_before_any_step(
    tmp_path: Path, dry_run: bool, labels: str, message: str
) -> None:
    store = write_store(str(tmp_path / "store"), train=[20], others=200, classes=lambda _: "a")
    output = tmp_path / "arena"
    config = ArenaConfig(store=store.uri, output=str(output), labels=labels, k=2, here=True, dry_run=dry_run)
    with pytest.raises(InputError, match=message):
        arena.run(config)
    assert not output.exists()


def test_a_judge_without_these_pairs_and_another_encoders_store_are_refused_before_any_step(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), train=[20], others=200)
    few = write_store(str(tmp_path / "few"), train=[5], others=150)
    with pytest.raises(InputError, match=r"few lacks \d+ of the pairs"):
        arena.plan_arena(ArenaConfig(store=store.uri, reference=few.uri, k=2))
    file = tmp_path / "few" / "manifest.json"
    file.write_text(file.read_text().replace("d" * 64, "e" * 64))
    with pytest.raises(InputError, match=r"cannot be measured on .*few: encoder_digest is"):
        arena.plan_arena(ArenaConfig(store=store.uri, transfer=few.uri, k=2))


def test_an_output_that_goes_on_with_other_pairs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another store at the same place is told, and so are other labels; the same store elsewhere is the same."""
    store = write_store(str(tmp_path / "store"), train=[20], others=200)
    config = ArenaConfig(store=store.uri, output=str(tmp_path / "arena"), methods=("centred",), k=2, here=True)
    first = arena.plan_arena(config).pairs
    step_plan.run_here(step_plan.plan([first], f"{config.output}/steps"), f"{config.output}/steps")

    def told(config: ArenaConfig) -> str:
        arena.run(replace(config, dry_run=True))
        return " ".join(line for line in capsys.readouterr().out.splitlines() if "other pairs" in line)

    shutil.move(tmp_path / "store", tmp_path / "moved")
    moved = replace(config, store=str(tmp_path / "moved"))
    assert told(config=moved) == told(replace(moved, seeds=2)) == ""
    assert told(replace(moved, output=str(tmp_path / "new"))) == ""
    assert "sizes is" in told(replace(moved, test_pairs=50))
    other = write_store(store.uri, train=[21], others=200)
    assert f'fingerprint is "{store.fingerprint[:35]}' in told(config)
    assert f'and "{other.fingerprint[:35]}' in told(config)


@pytest.mark.slow
def test_no_password_of_a_store_stands_in_what_is_written(tmp_path: Path) -> None:
    store = write_store("memory://user:secret@arena/store", train=[60], others=200)
    config = ArenaConfig(store=store.uri, output=str(tmp_path), methods=("centred",), k=2, here=True)
    arena.run(config)
    for name in (arena.SUMMARY_FILE, arena.TEXT_FILE, arena.PAGE_FILE):
        assert "memory://arena/store" in (tmp_path / name).read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in written if path.name == "step.json"]) == 3
    assert not [path for path in written if b"secret" in path.read_bytes()]


def test_presets_and_options_are_parsed() -> None:
    assert parse(["split", "--here"]).known_cosine == 0.5
    assert parse(["--store", "x", "--methods", "sae", "vl-sae"]).methods == ("sae", "vl-sae")


@pytest.mark.slow
def test_a_small_arena_from_end_to_end_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(SMALL, output=str(tmp_path))
    ran: list[str] = []
    run_here = step_plan.run_here

    def stop_after(count: int) -> None:
        def run(planned: list[step_plan.PlannedStep], root: str) -> None:
            if len(ran) == count:
                raise KeyboardInterrupt
            ran.extend(item.step.name for item in planned)
            run_here(planned, root)

        monkeypatch.setattr(step_plan, "run_here", run)

    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        arena.run(config)
    assert not (tmp_path / arena.SUMMARY_FILE).exists()
    stop_after(100)
    file = arena.run(config)
    steps = 2 + 1 + 2 + 2 + len(METHODS["group-masked"].strengths) + 1
    assert len(ran) == len(set(ran)) == steps  # nothing was run twice, and of the second seed the chosen strength alone
    summary = json.loads((tmp_path / arena.SUMMARY_FILE).read_text())
    assert [method["name"] for method in summary["methods"]] == list(config.methods)
    assert summary["pairs"]["known_concepts"] == 40
    assert summary["reference"].startswith("MMS is judged by the concepts that pairs are made of")
    assert all(method["measures"]["r2"]["mean"] <= 1 for method in summary["methods"])
    rows = pq.read_table(tmp_path / arena.TABLE_FILE).to_pylist()
    assert {row["method"] for row in rows} == set(config.methods)
    assert file is not None
    assert "## Known atoms" in Path(file).read_text()
    assert "<h1>The arena</h1>" in (tmp_path / arena.PAGE_FILE).read_text()
    assert arena.run(replace(config, dry_run=True)) is None
    assert "of the seeds after the first" in capsys.readouterr().out
    assert arena.run(config) == file
    assert len(ran) == steps


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("on_ray")
def test_the_trainings_are_trials_of_ray_tune_and_come_to_what_they_come_to_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[list[str]] = []
    fit = ray.tune.Tuner.fit

    def remembered(tuner: ray.tune.Tuner) -> ray.tune.ResultGrid:
        grid = fit(tuner)
        fits.append([trial.config["training"] for trial in grid])
        return grid

    monkeypatch.setattr(ray.tune.Tuner, "fit", remembered)
    config = replace(SMALL, methods=("centred", "group-masked"), output=str(tmp_path / "tune"), here=False)
    arena.run(config)
    seeds = ["centred/seed-0", *(f"group-masked/strength-{strength}/seed-0" for strength in (0.01, 0.05, 0.2))]
    assert fits[0] == seeds
    assert len(fits) == 2
    assert len(fits[1]) == 1
    assert fits[1][0].removesuffix("1") + "0" in seeds
    arena.run(config)
    assert len(fits) == 2
    arena.run(replace(config, output=str(tmp_path / "here"), here=True))
    assert len(fits) == 2
    tables = [pq.read_table(tmp_path / output / arena.TABLE_FILE) for output in ("tune", "here")]
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])


@pytest.mark.slow
@pytest.mark.parametrize("engine", [["--here"], pytest.param([], marks=pytest.mark.ray)], ids=["here", "tune"])
def test_an_arena_whose_process_was_killed_does_nothing_twice_and_comes_to_the_same_table(
    tmp_path: Path, engine: list[str]
) -> None:
    """The process ends by SIGKILL in the middle; another one goes on, and a third does all of it undisturbed, here."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    few = ["--methods", "centred", "sae", "matched", "group-masked", "--seeds", "2", "--epochs", "1"]
    few += ["--train-pairs", "300", "--validation-pairs", "60", "--test-pairs", "120", "--known-dim", "40"]

    def arguments(output: Path) -> list[str]:
        return ["arena", "shared", *few, "--output", str(output), *(engine if output == killed else ["--here"])]

    def done(output: Path) -> dict[str, tuple[int, int, bytes]]:
        files = files_in(output, "steps/*/step.json")
        return {f.parent.name: (f.stat().st_ino, f.stat().st_mtime_ns, f.read_bytes()) for f in files}

    run_until(arguments(killed), lambda: len(files_in(killed, "steps/*/step.json")) >= 4)
    before = done(killed)
    assert not (killed / arena.TABLE_FILE).exists()
    for output in (killed, whole):
        subprocess.run([sys.executable, "-m", "workflows.cli", *arguments(output)], check=True, capture_output=True)
    after = done(killed)
    assert 4 <= len(before) < len(after)
    assert {name: after[name] for name in before} == before
    assert set(after) == set(done(whole))
    tables = [pq.read_table(output / arena.TABLE_FILE) for output in (killed, whole)]
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])
