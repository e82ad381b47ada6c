"""`isoenergy synthetic`: a table from parallel seeds that are never run twice."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.alignments import Cosine, IsoEnergy, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.report.synthetic.over_seeds import SeedResults, interval_text, mean_and_interval
from isoenergy.report.synthetic.recovery_figure import recovery_by_beta
from isoenergy.report.synthetic.recovery_table import PUBLISHED, markdown, summarise
from isoenergy.sparse_encoders import ReLU, TopK
from isoenergy.synthetic.generator import generate
from isoenergy.synthetic.recovery_experiment import RecoveryConfig, measure_recovery, train_saes
from tests.workflows.processes import files_in, run_until
from workflows import synthetic
from workflows.settings.synthetic_settings import PRESETS, SyntheticTableConfig
from workflows.steps import step_plan
from workflows.tracking import mlflow_runs

SMALL = SyntheticTableConfig(
    seeds=2, epochs=3, pairs=300, dim=60, instances=20, atoms=30, k=4, batch_pairs=50, betas=(0.0, 1e-2)
)


def experiment(config: SyntheticTableConfig, instance_cosine: float, seed: int) -> RecoveryConfig:
    [sweep] = dataclasses.replace(config, instance_cosines=(instance_cosine,)).sweep
    return config.experiment(sweep, seed)


def summary_of(config: SyntheticTableConfig, folder: Path) -> dict:
    """What the table says, without Ray."""
    runs = [
        SeedResults(
            sweep.instance_cosine,
            str(sweep.sparse_encoder),
            str(sweep.alignment),
            [measure_recovery(config.experiment(sweep, seed), {}, folder) for seed in range(config.seeds)],
        )
        for sweep in config.sweep
    ]
    return summarise(runs)


@pytest.fixture(scope="module")
def table(on_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The folder of a finished small table."""
    output = tmp_path_factory.mktemp("synthetic")
    synthetic.run(dataclasses.replace(SMALL, output=str(output)))
    return output


@pytest.mark.ray
def test_a_table_has_every_cell_with_its_interval(table: Path) -> None:
    summary = json.loads((table / "synthetic.json").read_text())
    cells = {(cell["instance_cosine"], cell["beta"]): cell for cell in summary["cells"]}
    assert set(cells) == {(0.99, 0.0), (0.99, 0.01), (0.5, 0.0), (0.5, 0.01)}
    for cell in cells.values():
        assert cell["seeds"] == 2
        assert len(cell["metrics"]) == 6 + 5 * 3
        assert (cell["metrics"]["collapse_rate"]["mean"] is None) == (cell["instance_cosine"] == 0.99)
        for interval in cell["metrics"].values():
            assert interval["mean"] is None or interval["low"] <= interval["mean"] <= interval["high"]
    [neutral] = summary["neutrality"]
    assert (neutral["instance_cosine"], neutral["beta"]) == (0.5, 0.01)
    assert neutral["verdict"] in ("neutral", "undecided", "not neutral")
    assert {(ideal["instance_cosine"], ideal["truth"]) for ideal in summary["ideals"]} == {
        (cosine, truth) for cosine in (0.99, 0.5) for truth in ("parts", "instances", "merged")
    }
    assert len(summary["published"]) == len(PUBLISHED)
    for row in summary["published"]:
        assert row["off_by"] == pytest.approx(row["ours"]["mean"] - row["published"])
        assert abs(row["nearest_off_by"]) <= abs(row["off_by"])
    text = (table / "synthetic.md").read_text()
    assert text == markdown(summary)
    for words in (
        "does not hold (τ₁ = 0.5)",
        "the truth: D′",
        "mma, codes, by energy",
        "Beside the published",
        f"**{neutral['verdict']}**",
    ):
        assert words in text
    assert (table / "synthetic.png").read_bytes().startswith(b"\x89PNG")
    assert not (table / "phases.png").exists()


@pytest.mark.ray
def test_a_finished_seed_is_not_run_again_and_more_seeds_are_added(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in files_in(table, "steps/*/step.json")}
    assert len(before) == 4
    synthetic.run(dataclasses.replace(SMALL, output=str(table)))
    assert "0 of 4 seeds to run" in capsys.readouterr().out
    synthetic.run(dataclasses.replace(SMALL, output=str(table), seeds=3, dry_run=True))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in printed] == ["done"] * 4 + ["run"] * 2
    assert {path: path.stat().st_mtime_ns for path in files_in(table, "steps/*/step.json")} == before


@pytest.mark.ray
def test_a_table_is_in_mlflow(table: Path) -> None:
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    run = client.search_runs([experiment.experiment_id], f"tags.isoenergy_output = '{table}'")[-1]
    assert run.info.status == "FINISHED"
    assert {"tau-0.5/beta-0.01/bimodal_energy", "tau-0.99/beta-0/transport/instances"} <= set(run.data.metrics)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "synthetic.json",
        "synthetic.md",
        "synthetic.png",
    }


@pytest.mark.ray
def test_a_seed_in_a_ray_task_is_the_seed_here(table: Path, tmp_path: Path) -> None:
    config = experiment(SMALL, 0.5, 1)
    here = measure_recovery(config, {}, tmp_path)
    step = step_plan.Step("tau-0.5/seed-1", measure_recovery, config)
    there = step_plan.result(step, table / "steps")
    assert there["saes"] == here["saes"]
    assert there["ideals"] == here["ideals"]
    assert SparseAutoencoder.load(table / "steps" / step.folder / "beta-0.01").config.atoms == 30


@pytest.mark.slow
@pytest.mark.ray
def test_a_table_that_was_killed_goes_on_from_what_is_done(tmp_path: Path) -> None:
    settings = "--seeds 3 --epochs 3 --pairs 300 --dim 60 --instances 20 --atoms 30 --k 4 --batch-pairs 50"
    arguments = ["synthetic", *settings.split(), "--beta", "0,0.01", "--output", str(tmp_path)]
    run_until(arguments, lambda: bool(files_in(tmp_path, "steps/*/step.json")))
    before = {path: path.stat().st_mtime_ns for path in files_in(tmp_path, "steps/*/step.json")}
    assert not (tmp_path / "synthetic.json").exists()
    synthetic.main(arguments[1:])
    after = {path: path.stat().st_mtime_ns for path in files_in(tmp_path, "steps/*/step.json")}
    assert len(after) == 6
    assert {path: after[path] for path in before} == before


def test_training_recovers_more_than_its_initialisation_and_alignment_makes_atoms_bimodal(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, epochs=40, pairs=600, learning_rate=5e-3, betas=(0.0, 2e-2))
    few = measure_recovery(experiment(dataclasses.replace(config, epochs=1, learning_rate=1e-6), 0.5, 0), {}, tmp_path)
    many = measure_recovery(experiment(config, 0.5, 0), {}, tmp_path)
    for beta in ("0", "0.02"):
        assert many["saes"][beta]["r2"] > few["saes"][beta]["r2"] + 0.1
    recovered = [result["saes"]["0"]["recovery"]["instances"] for result in (few, many)]
    assert recovered[1]["transport"] < 0.7 * recovered[0]["transport"]
    assert recovered[1]["atoms"] > recovered[0]["atoms"] + 0.3
    assert many["saes"]["0.02"]["bimodal_energy"] > many["saes"]["0"]["bimodal_energy"] + 0.1


def test_saes_of_a_seed_have_the_atoms_that_are_asked_for_and_share_their_start() -> None:
    config = experiment(dataclasses.replace(SMALL, epochs=1, learning_rate=1e-9), 0.99, 0)
    saes = train_saes(config, generate(config.data, 0))
    assert list(saes) == ["beta-0", "beta-0.01"]
    assert all(sae.dictionary.shape == (30, 60) for sae in saes.values())
    standard, aligned = (sae.dictionary.detach().numpy() for sae in saes.values())
    np.testing.assert_allclose(standard, aligned, atol=1e-5)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be written"):
        synthetic.run(dataclasses.replace(SMALL, output=f"{tmp_path}/file"))


def test_an_interval_covers_the_mean_of_its_seeds() -> None:
    assert mean_and_interval([0.25]) == {"mean": 0.25, "low": None, "high": None}
    values = np.random.default_rng(0).normal(3, 1, size=400)
    interval = mean_and_interval(values)
    assert interval["mean"] == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert interval["low"] == pytest.approx(values.mean() - half, abs=0.02)
    assert interval["high"] == pytest.approx(values.mean() + half, abs=0.02)
    with_nan = mean_and_interval([1.0, float("nan")])
    assert with_nan == {"mean": None, "low": None, "high": None}
    assert [interval_text(i) for i in (with_nan, mean_and_interval([0.25]), mean_and_interval([1.0, 1.0]))] == [
        "–",
        "0.250",
        "1.000 [1.000, 1.000]",
    ]


def test_encoders_and_alignments_are_rows_of_one_table_and_share_what_has_no_alignment(tmp_path: Path) -> None:
    config = dataclasses.replace(
        SMALL,
        instance_cosines=(0.5,),
        sparse_encoders=(TopK(), ReLU(), ReLU(l1=0.2)),
        alignments=(MaskedCosine(), Cosine(), IsoEnergy()),
    )
    names = [sweep.name for sweep in config.sweep]
    assert len(set(names)) == 9
    assert names[0] == "tau-0.5/top-k/masked-cosine"
    assert names[-1] == "tau-0.5/relu-l1-0.2/iso-energy"
    assert [sweep.betas for sweep in config.sweep] == 3 * [(0.0, 0.01), (0.01,), (0.01,)]
    summary = summary_of(config, tmp_path)
    json.dumps(summary, allow_nan=False)
    assert len(summary["cells"]) == 3 * (1 + 3)
    assert len(summary["ideals"]) == 3
    assert len(summary["neutrality"]) == 9
    assert summary["published"] == []  # they are of Matching Pursuit
    by_row = {(c["sparse_encoder"], c["alignment"], c["beta"]): c["metrics"] for c in summary["cells"]}
    for row in summary["neutrality"]:
        own = by_row[row["sparse_encoder"], row["alignment"], 0.01]["bimodal_energy"]["mean"]
        base = by_row[row["sparse_encoder"], "masked-cosine", 0.0]["bimodal_energy"]["mean"]
        assert row["beyond_baseline"]["mean"] == pytest.approx(own - base)
    text = markdown(summary)
    for words in ("| relu:l1=0.2, β = 0 |", "| relu:l1=0.2, iso-energy, β = 0.01 |", "| top-k, cosine, β = 0.01 |"):
        assert words in text
    lines = recovery_by_beta(summary).axes[0].containers
    assert len(lines) == 9
    assert all(len(line.lines[0].get_xdata()) == 2 for line in lines)  # each has the β = 0 of its encoder


def test_alignments_without_a_beta_above_zero_are_one_run() -> None:
    config = dataclasses.replace(SMALL, betas=(0.0,), alignments=(MaskedCosine(), Cosine()))
    assert [sweep.name for sweep in config.sweep] == ["tau-0.99/masked-cosine", "tau-0.5/masked-cosine"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_grid_has_a_phase_diagram(on_ray: None, tmp_path: Path) -> None:  # noqa: ARG001
    arguments = "phase --seeds 1 --epochs 1 --pairs 100 --dim 60 --instances 20 --atoms 30 --k 4 --batch-pairs 50"
    betas = "--instance-cosines 0.5 0.7 1 --beta 0,0.001,0.01"
    synthetic.main([*arguments.split(), *betas.split(), "--output", str(tmp_path)])
    assert {path.name for path in tmp_path.glob("phases.*")} == {"phases.png", "phases.svg"}


def test_presets_sweep_what_they_are_called(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert len(PRESETS["encoders"].sweep) == 2 * 5
    assert {sweep.betas for sweep in PRESETS["objectives"].sweep} == {(0.0, 5e-5, 5e-4), (5e-5, 5e-4)}
    phase = PRESETS["phase"]
    assert min(phase.instance_cosines) > phase.pair_cosine  # or pairs could not have it
    assert len({preset.output for preset in PRESETS.values()}) == len(PRESETS)
    synthetic.main(["encoders", "--seeds", "1", "--output", str(tmp_path), "--dry-run"])
    assert "tau-0.5/jump-relu-l0-0.1-threshold-0.05-bandwidth-0.05/seed-0" in capsys.readouterr().out
    synthetic.main(["--sparse-encoders", "relu:l1=0.5", "top-k", "--output", str(tmp_path), "--dry-run"])
    assert "tau-0.99/relu-l1-0.5/seed-9" in capsys.readouterr().out


def test_one_seed_makes_a_table_without_intervals(tmp_path: Path) -> None:
    summary = summary_of(dataclasses.replace(SMALL, seeds=1, instance_cosines=(0.7,)), tmp_path)
    assert summary["published"] == []
    assert "in part (τ₁ = 0.7)" in markdown(summary)
    assert "[" not in markdown(summary).split("by bootstrap over seeds].")[1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": 0}, "seeds"),
        ({"betas": ()}, "betas"),
        ({"instance_cosines": (0.5, 0.5)}, "instance_cosines"),
        ({"sparse_encoders": (TopK(), TopK())}, "sparse_encoders must be .* got top-k, top-k"),
        ({"alignments": ()}, "alignments must be .* got none"),
        ({"batch_pairs": 301}, "batch of 301"),
    ],
)
def test_impossible_settings_are_named(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(SMALL, **wrong)
