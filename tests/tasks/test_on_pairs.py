"""The tasks on a store whose structure is known: an SAE of its axes must find it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from isoenergy.errors import InputError
from isoenergy.report.page.page import write_report
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, run_steps_here
from tests.tasks.task_stores import (
    DIM,
    measured,
    planted,
    values,
    write_columns,
    write_planted,
    write_planted_sae,
)
from workflows.evaluation.task_config import TasksConfig
from workflows.evaluation.tracked_measures import MEASURES_FILE
from workflows.tracking import mlflow_runs

Tasks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `store`, `sae` and `triplets.jsonl`: an image, another concept, an image of that in its style."""
    folder = tmp_path_factory.mktemp("planted")
    write_planted_sae(folder / "sae")
    store = EmbeddingStore.open(str(write_planted(folder / "store")))
    rows = store.read_unit(store.commits[-1].unit, ["key", "concept", "style"], "test").to_pylist()[:60]
    triplets = [
        {"source": a["key"], "target": b["key"], "added": b["concept"], "removed": a["concept"], "group": a["style"]}
        for a in rows
        for b in rows
        if a["style"] == b["style"] and a["concept"] != b["concept"]
    ]
    triplets += [{**triplets[0], "target": "gone"}]
    (folder / "triplets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triplets))
    return folder


@pytest.fixture(scope="module")
def tasks(place: Path) -> TasksConfig:
    return TasksConfig(
        zero_shot=("concept",),
        templates="name",
        probe=("style", "concept"),
        relevance="concept",
        composed=str(place / "triplets.jsonl"),
    )


@pytest.fixture(scope="module")
def found(place: Path, tasks: TasksConfig) -> Tasks:
    return measured(place / "store", place / "sae", tasks, place / "steps")


def test_images_are_nearest_to_the_prompt_of_their_concept(found: Tasks) -> None:
    task = found["zero-shot/concept"]
    assert values(task, None, "original")["top1"] == values(task, "sae", "bimodal")["top1"] == 1
    assert values(task, "sae", "unimodal") == {"top1": 0, "top5": 0, "balanced": 0}  # prompts are left with nothing
    assert "200 images to the nearest of 10 classes, each the mean of 1 prompt;" in task["what"]


def test_unimodal_atoms_carry_the_style_and_bimodal_ones_the_concept(found: Tasks) -> None:
    style, concept = found["probe/style"], found["probe/concept"]
    assert values(style, None, "original")["accuracy"] == 1
    assert values(style, "sae", "unimodal")["accuracy"] == 1
    assert values(style, "sae", "bimodal")["accuracy"] < 0.45
    assert values(concept, "sae", "bimodal")["balanced"] == 1
    assert values(concept, "sae", "unimodal")["accuracy"] < 0.3
    assert "400 images of the train split, tested on 200 others, 4 classes" in style["what"]


def test_closing_the_gap_pays_where_both_modalities_are_in_one_gallery(found: Tasks) -> None:
    task = found["mixed-retrieval"]
    original, bimodal = (values(task, *which) for which in ((None, "original"), ("sae", "bimodal")))
    assert bimodal["ndcg_text"] > 0.99
    assert original["own_text"] > bimodal["own_text"] + 0.2
    assert original["ndcg_text"] <= bimodal["ndcg_text"]
    assert set(task["measures"]) == set(original)


def test_a_change_of_concept_leads_to_the_image_of_it_in_the_same_style(found: Tasks) -> None:
    task = found["composed-retrieval"]
    assert task["made"] == {"unknown_keys": 1, "named": "gone"}
    source, text, sum_ = (values(task, None, name, "all") for name in ("source", "text", "sum"))
    bimodal, unimodal = (values(task, "sae", f"{name}_sum", "all") for name in ("bimodal", "unimodal"))
    assert sum_["r10"] > 0.95 > 0.5 > source["r10"]
    assert text["r1"] < sum_["r1"]
    assert bimodal["r10"] == pytest.approx(sum_["r10"], abs=0.02)
    assert unimodal == pytest.approx(source, abs=0.05)
    assert source["told_apart"] < 0.2 < text["told_apart"]
    groups = {row["group"] for row in task["rows"]}
    assert groups == {"all", "R", "S", "T", "U"}
    shown = {(entry["sae"], entry["embeddings"]): np.sum(entry["shares"]) for entry in task["histogram"]["shares"]}
    assert shown[None, "targets"] == pytest.approx(1)
    assert ("sae", "bimodal_sum") in shown


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_holds_the_tasks_and_so_do_its_report_and_mlflow(
    place: Path, tasks: TasksConfig, found: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps_here(monkeypatch)
    summary = evaluated(place / "store", [place / "sae"], tmp_path / "out", sample=50, tasks=tasks)
    assert [task["name"] for task in summary["tasks"]] == list(found)
    whole = {task["name"]: task for task in summary["tasks"]}
    name = "composed-retrieval"
    assert values(whole[name], "sae", "bimodal_sum", "R") == values(found[name], "sae", "bimodal_sum", "R")
    page, *files = write_report(f"{tmp_path}/out/evaluation.json", f"{tmp_path}/report.html")
    for task in summary["tasks"]:
        assert task["title"] in Path(page).read_text()
    assert "Left out: 1 keys that no image has: gone." in Path(page).read_text()
    assert "of fewer than 20 a number has no interval." in Path(page).read_text()
    assert {Path(file).name for file in files} >= {"task-mixed-retrieval.svg", "task-composed-retrieval.png"}
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    last = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)[0]
    table = json.loads(Path(client.download_artifacts(last.info.run_id, MEASURES_FILE, str(tmp_path))).read_text())
    column = table["columns"].index("sae")
    told = {row[0]: row[column] for row in table["data"]}
    assert told["composed-retrieval/bimodal_sum/R/r1/value"] == values(whole[name], "sae", "bimodal_sum", "R")["r1"]


def test_a_second_run_of_the_tasks_does_nothing(place: Path, tasks: TasksConfig, found: Tasks) -> None:
    del found
    before = {file: file.stat().st_mtime_ns for file in (place / "steps").rglob("*")}
    measured(place / "store", place / "sae", tasks, place / "steps")
    assert {file: file.stat().st_mtime_ns for file in (place / "steps").rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relevance": "colour"}, "no column 'colour' for a task; it has key, caption, concept, style"),
        ({"probe": ("concept=H|h",)}, "no pair has 'h' in column 'concept'; it has, most often first"),
        ({"zero_shot": ("concept=H",)}, "has 1 classes"),
        ({"relevance": "key"}, "no two measured pairs share a value of 'key'"),
        ({"composed": "gone.jsonl"}, "gone.jsonl does not exist"),
        ({"zero_shot": ("concept",), "templates": "none"}, "no templates 'none'"),
    ],
)
def test_tasks_that_the_store_does_not_allow(
    place: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        measured(place / "store", place / "sae", TasksConfig(**options), tmp_path)


def test_columns_of_lists_and_a_probe_without_train_pairs(place: Path, tmp_path: Path) -> None:
    (images, texts), columns = planted(20, 0)
    store = write_columns(tmp_path / "store", {"test": (images, texts)}, {"test": {**columns, "tags": [["a"]] * 20}})
    with pytest.raises(InputError, match="column 'tags' holds list"):
        measured(store, place / "sae", TasksConfig(relevance="tags"), tmp_path)
    with pytest.raises(InputError, match="trained on the train split"):
        measured(store, place / "sae", TasksConfig(probe=("style",)), tmp_path)


def test_pairs_without_a_value_are_left_out_and_rows_that_are_not_finite_refused(place: Path, tmp_path: Path) -> None:
    (images, texts), columns = planted(60, 0)
    columns["concept"][:9] = [None] * 8 + [" "]
    store = write_columns(tmp_path / "store", {"test": (images, texts)}, {"test": columns})
    tasks = TasksConfig(zero_shot=("concept",))
    assert "51 images" in measured(store, place / "sae", tasks, tmp_path / "steps")["zero-shot/concept"]["what"]
    images[30, DIM - 1] = np.nan
    store = write_columns(tmp_path / "bad", {"test": (images, texts)}, {"test": columns})
    with pytest.raises(InputError, match="not finite"):
        measured(store, place / "sae", tasks, tmp_path / "bad-steps")


def test_prompts_of_another_encoder_are_refused(place: Path, tmp_path: Path) -> None:
    (images, texts), columns = planted(20, 0)
    store = write_columns(tmp_path / "store", {"test": (images, texts)}, {"test": columns})
    manifest = store / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "encoder_digest": "e" * 64}))
    with pytest.raises(InputError, match="with weights eeeeeeeeeeee") as error:
        measured(store, place / "sae", TasksConfig(zero_shot=("style",)), tmp_path / "steps")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "tasks.pairs must be at least 1"),
        ({"coco": "captions.json"}, "--tasks.coco-images"),
        ({"coco_images": "images"}, "no tasks.coco"),
        ({"probe": ("style", "style=R|S")}, "names a column twice"),
    ],
)
def test_settings_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TasksConfig(**options)
