"""The evaluation graph without Ray: the same results however the store is parted, and a page from them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.evaluation.search import RANKS
from isoenergy.interventions import intervene, kept_atoms
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import recall_at
from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.report.page import write_report
from isoenergy.sae import SaeConfig
from isoenergy.sparse_encoders import ReLU
from isoenergy.statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema
from tests.store.test_store import FILES, MANIFEST
from workflows import evaluate, steps
from workflows.evaluate import EvaluateConfig
from workflows.steps import PlannedStep

DIM, UNITS, ROWS = 6, 5, 60
CONFIGS = [
    SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0),
    SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0, sparse_encoder=ReLU(), input="centred", atom_norm="free"),
]
HOSTILE = "</li><script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of random pairs whose halves differ by a constant and share the rest."""
    from dataclasses import replace

    writer = StoreWriter(str(tmp_path / "store"))
    writer.begin(replace(MANIFEST, dim=DIM, units=UNITS, source=str(tmp_path / "gone")), FILES)
    generator = np.random.default_rng(0)
    for number in range(UNITS):
        shared = generator.normal(size=(ROWS, DIM))
        keys = [f"{number}-{row}" for row in range(ROWS)]
        columns = {"key": keys, "row": range(ROWS), "split": map(split_of, keys), "caption": [HOSTILE] * ROWS}
        for name, side in (("image", 1), ("text", -1)):
            rows = shared + 0.3 * generator.normal(size=shared.shape) + side * np.eye(DIM)[0]
            columns[name] = pa.FixedSizeListArray.from_arrays(rows.astype(np.float16).ravel(), DIM)
        shard = pa.table(
            {name: pa.array(list(v)) if name not in ("image", "text") else v for name, v in columns.items()}
        )
        schema = shard_schema(DIM, "float16", pa.schema([]))
        unit = PairUnit("pairs.parquet", number * ROWS, number * ROWS + ROWS)
        writer.commit(unit, "digest", shard.cast(schema), REJECTED.empty_table())
    return tmp_path / "store"


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    saved(SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0), tmp_path / "sae")
    return tmp_path / "sae"


def saved(config: SaeConfig, folder: Path) -> None:
    sae = SparseAutoencoder(config, torch.Generator().manual_seed(0))
    if config.input == "centred":
        sae.image_mean[0], sae.text_mean[0] = 0.3, -0.4
    sae.save(folder)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(planned: list[PlannedStep], root: Path, _what: str) -> None:
        steps.run_here(planned, root)

    monkeypatch.setattr(evaluate, "run_on_ray", run)
    monkeypatch.setattr(evaluate.engine, "connect", dict)


def results(store: Path, sae: Path, output: Path, **options: int) -> dict:
    config = EvaluateConfig(str(store), (str(sae),), output, split="train", sample=50, **options)
    file = evaluate.run(config)
    assert file is not None
    return json.loads(file.read_text())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sparse_encoder))
def test_results_do_not_depend_on_the_parts(store: Path, sae: Path, tmp_path: Path, config: SaeConfig) -> None:
    saved(config, sae)
    whole = results(store, sae, tmp_path / "whole")["saes"][0]["results"]
    parted = results(store, sae, tmp_path / "parted", part_pairs=1)["saes"][0]["results"]
    assert flat(parted) == pytest.approx(flat(whole), nan_ok=True)


def flat(values: dict, prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if not isinstance(value, str):
            found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sparse_encoder))
def test_results_are_those_of_a_plain_computation(store: Path, sae: Path, tmp_path: Path, config: SaeConfig) -> None:
    saved(config, sae)
    found = results(store, sae, tmp_path / "evaluation")
    arrays = EmbeddingStore.open(str(store)).to_arrays("train")
    by_modality = {"image": arrays.images, "text": arrays.texts}
    images, texts = (normalize(torch.from_numpy(x.astype(np.float32)), dim=1) for x in (arrays.images, arrays.texts))
    retrieval = found["original"]["retrieval"]["original"]
    assert retrieval["text_to_image_r5"] == pytest.approx(recall_at(texts, images, RANKS)[5])
    assert found["original"]["geometry"]["original"]["difference_in_means"] == pytest.approx(
        difference_in_means(images.mean(0).numpy(), texts.mean(0).numpy())
    )
    model = SparseAutoencoder.load(sae)
    with torch.no_grad():
        prepared = [model.prepare(torch.from_numpy(x.astype(np.float32)), m) for m, x in by_modality.items()]
        codes = [model.encode(x) for x in prepared]
    statistics = ConceptStatistics.zeros(20)
    statistics.update(*codes)
    bimodal = kept_atoms("bimodal", statistics.classes())
    kept = [intervene(model, code, bimodal) for code in codes]
    measured = found["saes"][0]["results"]
    assert measured["retrieval"]["bimodal"]["image_to_text_r1"] == pytest.approx(recall_at(kept[0], kept[1], RANKS)[1])
    errors = torch.cat([code.residual for code in codes]).square().sum(1)
    assert measured["mse"] == pytest.approx(float(errors.mean()), rel=1e-5)
    for name, interval in measured["intervals"].items():
        point = measured[name]
        assert interval["value"] == pytest.approx(point, rel=1e-5)
        assert interval["low"] <= point <= interval["high"]
    gap = measured["geometry"]["bimodal"]
    assert gap["difference_in_means_interval"]["value"] == pytest.approx(gap["difference_in_means"], rel=1e-4)


def test_a_second_evaluation_runs_nothing_and_a_dry_run_says_so(
    store: Path, sae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results(store, sae, tmp_path / "evaluation")
    monkeypatch.setattr(evaluate, "run_on_ray", None)
    first = results(store, sae, tmp_path / "evaluation")
    config = EvaluateConfig(
        store=str(store), saes=(str(sae),), output=tmp_path / "evaluation", split="train", sample=50, dry_run=True
    )
    assert evaluate.run(config) is None
    assert " run" not in capsys.readouterr().out.split("steps to run")[-1].split("\n", 1)[1]
    assert first["saes"][0]["results"]["pairs"] > 200


def test_the_report_escapes_captions_and_does_without_pictures(store: Path, sae: Path, tmp_path: Path) -> None:
    results(store, sae, tmp_path / "evaluation")
    files = write_report(tmp_path / "evaluation" / "evaluation.json", tmp_path / "out" / "report.html")
    page = files[0].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert {file.suffix for file in files} == {".html", ".svg", ".png"}
    assert all(file.stat().st_size > 1000 for file in files)
