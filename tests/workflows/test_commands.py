"""What the user can mend is one line and exit code 2, before anything is started."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import SaeConfig
from tests.pairs.made_up_pairs import RowsWriter, bad_rows
from tests.store.small_store import MANIFEST
from workflows import cli
from workflows.settings import (
    apply_settings,
    evaluate_settings,
    explore_settings,
    import_settings,
    report_settings,
    synthetic_settings,
    train_settings,
    tune_settings,
)

Run = Callable[..., str]


def test_an_unknown_stage(refused: Run) -> None:
    assert "unknown stage 'embde'; expected one of pipeline, embed" in refused("embde")


def test_missing_and_empty_folders(refused: Run, tmp_path: Path) -> None:
    assert "does not exist" in refused("embed", "--pairs", tmp_path / "nowhere", "--output", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "holds nothing: no image-text pairs" in refused(
        "embed", "--pairs", tmp_path / "empty", "--output", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_an_unknown_encoder(refused: Run, tmp_path: Path) -> None:
    assert "unknown encoder 'clap'; expected" in refused("embed", "--encoder", "clap", "--output", tmp_path)


def test_an_unwritable_output(refused: Run, tmp_path: Path, write_rows: RowsWriter, other_encoder: Path) -> None:
    write_rows([bad_rows()["good"]], tmp_path / "pairs" / "p.parquet")
    (tmp_path / "file").write_text("")
    settings = ("--pairs", tmp_path / "pairs", "--encoder", f"open_clip:{other_encoder}")
    assert "cannot be written" in refused("embed", *settings, "--output", tmp_path / "file" / "store")


@pytest.mark.parametrize("stage", ["embed", "pipeline", "train", "tune"])
def test_an_unwritable_output_is_found_before_ray_is_started(
    stage: str, refused: Run, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.cluster.engine.connect", lambda **_: pytest.fail("Ray was started"))
    (tmp_path / "file").write_text("")
    options = {
        "train": ("demo", "--store", filled, "--batch-pairs", 8),
        "tune": ("demo", "--store", filled, "--space.batch-pairs", 8),
    }
    assert "cannot be written" in refused(stage, *options.get(stage, ()), "--output", tmp_path / "file" / "x")


def test_a_store_of_another_encoder(refused: Run, filled: Path, other_encoder: Path) -> None:
    line = refused("embed", "--encoder", f"open_clip:{other_encoder}", "--output", filled)
    assert "was made by encoder 'bundled'" in line
    assert "encoder_digest is" in line


def test_training_without_a_store_or_with_impossible_settings(refused: Run, tmp_path: Path) -> None:
    assert "is not an embedding store" in refused("train", "--store", tmp_path, "--output", tmp_path / "out")
    assert "k must be above 0, got 0" in refused("train", "demo", "--store", tmp_path, "--k", 0)
    assert "workers must be N, FEWEST,MOST or auto, got" in refused(
        "train", "demo", "--store", tmp_path, "--workers", 0
    )


def test_a_null_training_in_which_pairs_do_not_matter(refused: Run, tmp_path: Path) -> None:
    null = ("train", "clip", "--store", tmp_path, "--null")
    assert "an SAE of beta 0 never looks at pairs" in refused(*null, "--beta", 0)
    assert "let auto find it on the true pairs first" in refused(*null, "--beta", "auto")
    assert "iso-energy never looks at pairs" in refused(*null, "--alignment", "iso-energy")
    assert "texts of another store are in no pair" in refused(*null, "--texts", tmp_path)
    assert "is not an embedding store" in refused(*null)


def test_more_pairs_in_a_batch_than_there_are(refused: Run, filled: Path, tmp_path: Path) -> None:
    line = refused("train", "demo", "--store", filled, "--output", tmp_path / "out")
    assert "a batch of 256 pairs cannot be drawn from the 23 of the split" in line
    assert not (tmp_path / "out").exists()


def test_an_sae_of_another_width(refused: Run, filled: Path, tmp_path: Path) -> None:
    SparseAutoencoder(SaeConfig(dim=MANIFEST.dim + 1, atoms=4, k=1, beta=0.0)).save(tmp_path / "sae")
    line = refused("evaluate", "--store", filled, "--saes", tmp_path / "sae", "--output", tmp_path / "out")
    assert "is for embeddings of width 4" in line


def test_a_report_without_an_evaluation(refused: Run, tmp_path: Path) -> None:
    line = refused("report", "--evaluation", tmp_path / "evaluation.json", "--output", tmp_path / "r.html")
    assert "run `isoenergy evaluate` first" in line


def test_an_unusable_tracking_server(
    refused: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    filled: Path,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "evaluation.json").write_text('{"store": {"uri": "store", "fingerprint": "f"}, "saes": []}')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    line = refused("report", "--evaluation", tmp_path / "evaluation.json", "--output", tmp_path / "r.html")
    assert "MLFLOW_TRACKING_URI" in line
    assert filled.exists()


@pytest.mark.parametrize("stage", [*cli.STAGES])
def test_help_teaches(stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["isoenergy", stage, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    option = {"inspect": "--verify", "share": "--dry-run", "submit": "--address"}.get(stage, "--output")
    said = capsys.readouterr().out
    assert option in said
    assert max(map(len, said.splitlines())) <= 100
    assert said.index("\noptions:\n") < said.index(option)


def test_what_stands_without_an_option_has_the_name_that_the_docs_give_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_settings.parse(["--help"])
    said = capsys.readouterr().out
    assert said.startswith("usage: isoenergy import EMBEDDINGS [OPTIONS]\n")
    assert "\n  EMBEDDINGS  " in said
    assert "reads vectors from EMBEDDINGS" in " ".join(said.split())
    assert "SOURCE" not in said
    with pytest.raises(SystemExit):
        import_settings.parse([])
    assert "EMBEDDINGS" in capsys.readouterr().err


def test_help_may_be_read_in_part() -> None:
    command = [sys.executable, "-m", "workflows.report", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_options_of_a_training_are_called_alike_in_all_stages(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--epochs", "7", "--revival=0.5"), ("--training.epochs", "7", "--training.revival=0.5")):
        config = tune_settings.parse(["--store", "s", *words])
        assert (config.training.epochs, config.training.revival) == (7, 0.5)
    assert train_settings.parse(["--store", "s", "--epochs", "7"]).training.epochs == 7
    with pytest.raises(SystemExit):
        tune_settings.parse(["--help"])
    said = capsys.readouterr().out
    assert "  --epochs N" in said
    assert "--space.k LOW..HIGH|A,B,C" in said
    assert "  --k N" in said
    assert "  --beta BETA,…" in said
    assert "--training.seed N" in said  # `--seed` is the search's own
    config = tune_settings.parse(["--store", "s", "--k", "7", "--space.k", "3,4", "--seed", "5"])
    assert (config.training.k, config.space.k.values, config.seed, config.training.seed) == (7, (3, 4), 5, 0)


def test_an_option_of_before_is_refused_with_its_name_of_now() -> None:
    assert tune_settings.parse(["--store", "s", "--trials", "3"]).betas == 3
    assert synthetic_settings.parse(["--beta", "0,1e-3"]).betas == (0.0, 1e-3)
    with pytest.raises(InputError, match="--betas is called --trials"):
        tune_settings.parse(["--store", "s", "--betas=3"])
    with pytest.raises(InputError, match="--betas is called --beta, with commas between"):
        synthetic_settings.parse(["--betas", "0", "1e-3"])


@pytest.mark.parametrize("stage", cli.STAGES)
def test_help_gives_kinds_where_it_can(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(f"workflows.settings.{stage}_settings").parse(["--help"])
    said = capsys.readouterr().out
    own = {"--download.user-agent", "--vlm.image-prompt", "--vlm.caption-prompt"}
    assert {line.split()[0] for line in said.splitlines() if line.split()[1:2] == ["TEXT"]} <= own


def test_help_says_what_is_taken_and_what_the_default_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate_settings.parse(["--help"])
    said = capsys.readouterr().out
    for words in ("--store STORE", "--saes SAE …", "(required)", "(default: 20000)", "--tasks.zero-shot COLUMN …"):
        assert words in said
    headings = [line for line in said.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[0] == "options:"
    assert "How it is run:" in headings


@pytest.mark.parametrize("words", ["a b --store s", "--saes a b --store=s", "--store s --saes a b"])
def test_explore_takes_saes_as_evaluate_does(words: str) -> None:
    config = explore_settings.parse(words.split())
    assert (config.saes, config.store) == (("a", "b"), "s")


@pytest.mark.parametrize("settings", [apply_settings, evaluate_settings, explore_settings, train_settings])
def test_help_says_alike_which_columns_are_modalities(settings: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "default: all whose vectors have one width, of 16 or more" in words


@pytest.mark.parametrize("settings", [explore_settings, report_settings])
def test_help_says_that_pictures_are_in_a_column_or_a_folder(
    settings: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--help"])
    assert "--images COLUMN|FOLDER" in capsys.readouterr().out
