"""Runs side by side: found by what people call them, the table, its file, its figure."""

import csv
import math
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from isoenergy.errors import InputError
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows import compare
from workflows.compare import CompareConfig, best
from workflows.tracking import mlflow_runs

FINGERPRINT = "feedbeef" * 8


pytestmark = pytest.mark.usefixtures("own_tracking")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def search(losses: dict[str, list[float]]) -> mlflow_runs.Run:
    """Make a run called `tune` with a run below it for each series of losses."""
    with mlflow_runs.stage("tune", {"sampler": "grid"}, "out") as parent:
        for number, (name, series) in enumerate(losses.items()):
            with mlflow_runs.stage(name, {"beta": 10.0**-number, "k": 20}, "out", parent) as run:
                run.dataset("/data/clip", FINGERPRINT, "training")
                run.metric_history([(step, {"loss": loss, "r2": 1 - loss}) for step, loss in enumerate(series)])
                run.metrics({"system/cpu_utilization_percentage": 50.0, "l0": 20.0})
    return parent


def rows(text: str) -> dict[str, list[str]]:
    """Return the first block of a table by the first cell of its rows; best cells keep their mark."""
    cells = [line.replace(" *", "*").split() for line in text.split("\n\n")[0].splitlines()]
    return {first: rest for first, *rest in cells}


def test_the_runs_below_a_run_are_shown_side_by_side() -> None:
    parent = search({"one": [0.9, 0.5], "two": [0.9, 0.25], "three": [0.9, math.nan]})
    text = compare.run(CompareConfig(("tune/*",)))
    table = rows(text)
    assert table["run"] == ["one", "two", "three"]
    assert table["status"] == ["FINISHED"] * 3
    assert table["dataset"] == ["clip@feedbeef"] * 3
    assert table["beta"] == ["1.0", "0.1", "0.01"]
    assert "k" not in table
    assert table["loss"] == ["0.5", "0.25*", "nan"]
    assert table["r2"] == ["0.5", "0.75*", "nan"]
    assert table["l0"] == ["20", "20", "20"]
    assert "system/cpu_utilization_percentage" not in table
    assert "more metrics" not in text
    assert compare.run(CompareConfig((f"{parent.id}/*",))) == text


def test_runs_are_named_in_any_way_and_shown_once_in_that_order() -> None:
    search({"one": [0.9, 0.5], "two": [0.9]})
    ids = {name: rows(compare.run(CompareConfig((name,))))["id"] for name in ("one", "two")}
    whole = {run.info.run_name: run.info.run_id for run in MlflowClient(mlflow_runs.tracking_uri()).search_runs(["1"])}
    table = rows(compare.run(CompareConfig(("two", whole["one"], "tune/*", "one"))))
    assert table["run"] == ["two", "one"]
    assert table["id"] == [*ids["two"], *ids["one"]]


def test_the_table_and_the_curves_are_written(tmp_path: Path) -> None:
    search({"one": [0.9, 0.5, 1 / 3], "two": [0.9, math.inf, 0.25]})
    text = compare.run(CompareConfig(("one", "two"), output=str(tmp_path / "a b" / "out")))
    assert f"written      {tmp_path}/a b/out/curves.png" in text
    with (tmp_path / "a b" / "out" / "runs.csv").open() as file:
        one, two = csv.DictReader(file)
    assert (one["run"], one["status"], one["dataset"]) == ("one", "FINISHED", "clip@feedbeef")
    assert (one["parameter.beta"], two["parameter.beta"]) == ("1.0", "0.1")
    assert float(one["loss"]) == 1 / 3
    with Image.open(tmp_path / "a b" / "out" / "curves.png") as picture:
        assert picture.size[0] > picture.size[1] > 300
        assert len(picture.convert("RGB").getcolors(2**20)) > 50


def test_more_runs_than_fit_come_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    search({f"candidate-{number}": [1 / (number + 1)] for number in range(5)})
    text = compare.run(CompareConfig(("tune/*",)))
    blocks = [block for block in text.split("\n\n") if block.startswith("run")]
    assert len(blocks) > 1
    assert [name for block in blocks for name in block.splitlines()[0].split()[1:]] == [
        f"candidate-{number}" for number in range(5)
    ]
    assert all(len(line) <= 60 for block in blocks for line in block.splitlines())


def test_metrics_are_chosen_by_pattern() -> None:
    search({"one": [0.5], "two": [0.25]})
    table = rows(compare.run(CompareConfig(("one", "two"), metrics=("system/*", "r?"))))
    assert set(table) == {"run", "id", "status", "dataset", "beta", "r2", "system/cpu_utilization_percenta…"}
    with pytest.raises(InputError, match="no run has a metric like nothing; there are l0, loss, r2"):
        compare.run(CompareConfig(("one",), metrics=("nothing",)))


def test_what_is_not_there_is_refused_with_what_is_near(own_tracking: Path) -> None:
    own_tracking.unlink()
    with pytest.raises(InputError, match=r"there are no runs at sqlite:.*set MLFLOW_TRACKING_URI"):
        compare.run(CompareConfig(("one",)))
    assert not own_tracking.exists()
    parent = search({"candidate-one": [0.5], "candidate-two": [0.5], "it's": [0.5]})
    with pytest.raises(InputError, match="has no run 'canddate-one'; the nearest are candidate-one, candidate-two"):
        compare.run(CompareConfig(("candidate-two", "canddate-one")))
    other = parent.id[::-1]
    with pytest.raises(InputError, match=f"has no run '{other}'; the"):
        compare.run(CompareConfig((other,)))
    with pytest.raises(InputError, match="has no run 'tnue'; the nearest are tune"):
        compare.run(CompareConfig(("tnue/*",)))
    with pytest.raises(InputError, match=r"candidate-one/\* names no run: there are none below 'candidate-one'"):
        compare.run(CompareConfig(("candidate-one/*",)))
    assert rows(compare.run(CompareConfig(("it's",))))["run"] == ["it's"]
    with pytest.raises(InputError, match="has no run"):
        compare.run(CompareConfig(("""both ' and \"""",)))


def test_a_name_that_several_runs_have_is_refused_with_their_ids() -> None:
    for number in range(2):
        with mlflow_runs.stage("train", {"beta": number}, "out") as run:
            pass
    with pytest.raises(InputError, match=rf"2 runs are called 'train'; give the id.*{run.id} \(FINISHED, 20"):
        compare.run(CompareConfig(("train",)))
    ids = [run.info.run_id for run in MlflowClient(mlflow_runs.tracking_uri()).search_runs(["1"])]
    text = compare.run(CompareConfig(tuple(ids)))
    assert all(f"train {id[:8]}" in text for id in ids)


def test_runs_of_several_stages_differ_in_what_has_several_values(tmp_path: Path) -> None:
    shared = {"store": "clip"}
    with mlflow_runs.stage("pipeline", shared, "out", run_name="pipeline · clip · pairs") as parent:
        own = {f"only.embed.{number}": number for number in range(40)}
        for name, parameters in (
            ("embed", own | {"patience": 1}),
            ("train · one", {"beta": 0.5, "patience": 2, "k": 20} | shared),
            ("train · two", {"beta": 0.25, "patience": 2, "k": 20} | shared),
        ):
            with mlflow_runs.stage(name, parameters, "out", parent):
                pass
    text = compare.run(CompareConfig(("pipeline/*",), output=str(tmp_path / "out")))
    names = [line.split()[0] for line in text.split("\n\n")[0].splitlines()]
    assert names == ["run", "id", "status", "dataset", "patience", "beta"]
    assert "42 parameters that only some of these runs have are equal where they are" in text
    with (tmp_path / "out" / "runs.csv").open() as file:
        embedded, one, _ = csv.DictReader(file)
    assert (embedded["parameter.only.embed.7"], one["parameter.only.embed.7"], one["parameter.k"]) == ("7", "", "20")


def test_settings_of_a_training_are_called_as_they_are_typed(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        parameters = {"seed": number, "training": {"epochs": 5 + number, "seed": 8 + number}}
        with mlflow_runs.stage(name, parameters, "out"):
            pass
    table = rows(compare.run(CompareConfig(("one", "two"), output=str(tmp_path / "out"))))
    assert (table["epochs"], table["seed"], table["training.seed"]) == (["5", "6"], ["0", "1"], ["8", "9"])
    assert "parameter.training.epochs" in (tmp_path / "out" / "runs.csv").read_text()  # MLflow's own name


def test_a_run_is_found_by_the_first_part_of_its_name() -> None:
    for name in ("embed · clip", "embed · clip · more", "embedding · clip", "train_a · clip", "trainxa · clip"):
        with mlflow_runs.stage(name, {"k": 1}, "out"):
            pass
    assert compare.run(CompareConfig(("embedding",))).split("\n")[0].split()[1:] == ["embedding", "·", "clip"]
    assert compare.run(CompareConfig(("train_a",))).split("\n")[0].split()[1:] == ["train_a", "·", "clip"]
    assert compare.run(CompareConfig(("embed · clip",))).split("\n")[0].split()[1:] == ["embed", "·", "clip"]
    with pytest.raises(InputError, match="2 runs are called 'embed'; give the id"):
        compare.run(CompareConfig(("embed",)))


@pytest.mark.slow
@pytest.mark.server
def test_a_server_s_runs_are_compared_and_one_that_is_away_is_one_line(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    parent = search({"one": [0.5], "two": [0.25]})
    assert rows(compare.run(CompareConfig((f"{parent.id}/*",))))["loss"] == ["0.5", "0.25*"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    with pytest.raises(InputError, match=r"MLflow at http://127\.0\.0\.1:1 cannot be used") as refused:
        compare.run(CompareConfig(("one",)))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("reconstruction_loss", 1.0),
        ("beta-0/r2_image", 3.0),
        ("recall/validation_r2", 3.0),
        ("dead_atoms", 1.0),
        ("always_on_energy", 1.0),
        ("bimodal/difference_in_means", 1.0),
        ("p_acc", 3.0),
        ("epoch", None),
        ("alignment", None),
    ],
)
def test_what_is_best_follows_from_the_name(metric: str, expected: float | None) -> None:
    assert best(metric, [2.0, 1.0, math.nan, 3.0]) == expected
    assert best(metric, [math.nan]) is None
    assert best(metric, [1.0, 1.0, math.nan]) is None


def test_what_has_nothing_to_be_compared_with_is_not_the_best() -> None:
    search({"one": [0.5]})
    alone = compare.run(CompareConfig(("one",)))
    assert (rows(alone)["loss"], rows(alone)["r2"]) == (["0.5"], ["0.5"])
    with mlflow_runs.stage("other", {"k": 1}, "out") as run:
        run.metrics({"l0": 20.0})
    for text in (alone, compare.run(CompareConfig(("one", "other")))):
        assert "*" not in text.replace("--metrics '*'", "")
        assert "the best" not in text


def test_a_tie_is_said_as_a_tie_and_what_differs_comes_first() -> None:
    search({"one": [0.5], "two": [0.5], "three": [0.75]})
    text = compare.run(CompareConfig(("tune/*",)))
    assert text.splitlines()[5].split() == ["loss", "0.5", "=", "0.5", "=", "0.75"]
    assert "= as good as another: a tie" in text
    names = [line.split()[0] for line in text.split("\n\n")[0].splitlines()]
    assert names.index("l0") > names.index("r2") > names.index("loss")
