"""The main job: `make demo`'s pipeline, its figures, its MLflow runs, and its report in a real browser."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from isoenergy.report.console import told_evaluation
from isoenergy.report.saes import trainings
from tests.browser import Watched, chromium
from workflows import pipeline
from workflows.evaluation.task_config import BUNDLED_TASKS, TasksConfig
from workflows.settings.pipeline_settings import PipelineConfig, parse
from workflows.tracking import mlflow_runs

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@dataclass(frozen=True)
class Demo:
    config: PipelineConfig
    printed: str
    evaluation: dict


@pytest.fixture(scope="module")
def demo(on_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Demo:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("demo")
    config = parse(["demo", "--output", str(folder / "run")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        from contextlib import redirect_stdout
        from io import StringIO

        printed = StringIO()
        with redirect_stdout(printed):
            pipeline.run(config)
    return Demo(config, printed.getvalue(), json.loads(Path(config.output, "evaluation/evaluation.json").read_text()))


@pytest.fixture(autouse=True)
def demo_s_tracking(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path(demo.config.output).parent}/mlflow.db")


def test_the_encoder_retrieves_and_has_a_gap(demo: Demo) -> None:
    original = demo.evaluation["original"]
    assert original["retrieval"]["original"]["image_to_text_r10"] >= 0.5
    assert original["geometry"]["original"]["difference_in_means"] >= 0.25


def test_closing_the_gap_pays_where_both_modalities_are_in_one_gallery(demo: Demo) -> None:
    (task,) = (task for task in demo.evaluation["tasks"] if task["task"] == "mixed_retrieval")
    found = {(row["sae"], row["embeddings"]): row["values"] for row in task["rows"]}
    aligned = demo.evaluation["saes"][1]["name"]
    for better, worse in (((None, "centred"), (None, "original")), ((aligned, "bimodal"), (aligned, "reconstructed"))):
        assert found[better]["ndcg_text"]["low"] > found[worse]["ndcg_text"]["high"]
        assert found[better]["own_text"]["high"] < found[worse]["own_text"]["low"]


def test_a_pipeline_has_the_bundled_pairs_tasks_for_them_alone() -> None:
    assert PipelineConfig().evaluation(["sae"]).tasks == BUNDLED_TASKS
    assert PipelineConfig(pairs="elsewhere").evaluation(["sae"]).tasks == TasksConfig()
    own = TasksConfig(relevance="concept")
    assert PipelineConfig(tasks=own).evaluation(["sae"]).tasks == own


def test_bimodal_atoms_carry_retrieval_and_unimodal_atoms_the_gap(demo: Demo) -> None:
    aligned = demo.evaluation["saes"][1]
    assert aligned["config"]["beta"] > 0
    results = aligned["results"]
    kept = ("reconstructed", "bimodal", "unimodal")
    recall = {
        name: np.mean(
            [results["retrieval"][name][f"{direction}_r10"] for direction in ("image_to_text", "text_to_image")]
        )
        for name in kept
    }
    gap = {name: results["geometry"][name]["difference_in_means"] for name in kept}
    assert recall["bimodal"] >= 0.9 * recall["reconstructed"]
    assert recall["unimodal"] < 0.1 * recall["reconstructed"]
    assert gap["bimodal"] < 0.5 * gap["reconstructed"]
    assert results["always_on_energy_share"] < 0.05


def test_all_three_trainings_show_it(demo: Demo) -> None:
    aligned = demo.evaluation["saes"][1]
    runs = trainings(aligned)
    assert [len(sae["repeats"]) for sae in demo.evaluation["saes"]] == [2, 2, 2]
    for results in runs:
        assert results["r2"] >= 0.89
        assert results["geometry"]["bimodal"]["gap_closed_interval"]["value"] >= 0.9
        assert results["retrieval"]["bimodal"]["kept_r10"]["value"] >= 0.97
    assert "as far as those of 3 trainings reach" in demo.printed.replace("\n", " ")


def test_it_ends_with_three_sentences_a_table_what_holds_and_how_to_open_it(demo: Demo) -> None:
    ending = demo.printed[demo.printed.index("Bimodal atoms of SAE-A") :]
    parts = ("Removing the", "airs that belong together", "gap closed", "null of SAE-A", "✓ removing", "\nreport ")
    assert sorted(ending.index(part) for part in parts) == [ending.index(part) for part in parts]
    for words in ("report.html", "mlflow ui --backend-store-uri", "/runs?workflowType=machine_learning"):
        assert words in ending
    assert len(ending.splitlines()) <= 40


def test_with_verbose_all_numbers_are_told(demo: Demo) -> None:
    told = "\n".join(told_evaluation(demo.evaluation, verbose=True))
    assert "14,399 in, 14,399 embedded, rejected: none" in told
    for words in ("R² 0.", "p_acc 0.", "gap 0.", "R@1/5/10", "a paired difference of", "given shuffled pairs"):
        assert words in told
    for task in ("zero-shot/base", "probe/source", "mixed-retrieval", "composed-retrieval"):
        assert f"\n{task}: " in told


def test_mlflow_has_a_parent_and_a_child_a_stage(demo: Demo) -> None:
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    runs: dict[str, Run] = {str(run.info.run_name).partition(" · ")[0]: run for run in found}
    trained = {str(run.info.run_name): run for run in found if "atoms · seeds 0–2" in str(run.info.run_name)}
    assert set(runs) == {"pipeline", "embed", "bundled", "evaluate", "report"}
    (runs["train"],) = (run for name, run in trained.items() if "shuffled" not in name)
    (runs["train-null"],) = (run for name, run in trained.items() if "shuffled" in name)
    del runs["bundled"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for name in set(runs) - {"pipeline"}:
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["pipeline"].info.run_id
    losses = client.get_metric_history(runs["train"].info.run_id, "beta-0-seed-0/reconstruction_loss")
    assert len(losses) > 10
    assert losses[-1].value < losses[0].value
    figures = [file.path for file in client.list_artifacts(runs["report"].info.run_id, "figures")]
    assert {"figures/beta-0-seed-0-energy.png", "figures/gaps.svg", "figures/beta-0.001-seed-0-atom-map.png"} <= set(
        figures
    )
    tables = {file.path for file in client.list_artifacts(runs["report"].info.run_id, "tables")}
    named = ("paper.csv", "paper.parquet", "atoms-beta-0.001-seed-0.csv", "trainings.csv")
    assert {f"tables/{name}" for name in named} <= tables
    assert runs["train"].data.params["training.k"] == str(demo.config.training.k)
    assert runs["train"].data.tags["store_fingerprint"] == demo.evaluation["store"]["fingerprint"]


def test_a_second_run_does_nothing_twice(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ("store/*/*", "saes/beta-*/*", "null-saes/null-*/*", "evaluation/steps/*/*")
    before = {path: path.stat().st_mtime_ns for part in parts for path in Path(demo.config.output).glob(part)}
    pipeline.run(demo.config)
    assert {path: path.stat().st_mtime_ns for part in parts for path in Path(demo.config.output).glob(part)} == before
    summary = demo.printed[demo.printed.index("Bimodal atoms of SAE-A") :]
    assert summary in capsys.readouterr().out


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_in_a_browser(
    demo: Demo, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    with chromium() as started:
        page = started.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        watched = Watched(page)
        page.goto(Path(demo.config.output, "report.html").absolute().as_uri())
        pictures = page.evaluate("Array.from(document.images, i => [i.alt, i.complete && i.naturalWidth > 0])")
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        text = page.inner_text("body")
        page.screenshot(path=tmp_path / "report.png", full_page=True)
        page.locator("#explorer").scroll_into_view_if_needed()
        page.locator("#explorer-list > li").nth(23).wait_for()
    assert watched.troubles == []
    assert watched.requests_elsewhere == []
    assert len(pictures) > 10
    assert [alt for alt, drawn in pictures if not drawn] == []
    assert overflow <= 0
    assert text.index("Bimodal atoms of SAE-A") < text.index(
        "Removing the unimodal atoms closes the reconstruction's gap by"
    )
    assert "Shared in meaning: the same thing in image and caption" in text
    assert "Removing the unimodal atoms is number" in text
    assert "against the null model: the same objective" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "The evaluation, step by step" in text
    assert "Linear probe" not in text  # collapsed, but for its figure
