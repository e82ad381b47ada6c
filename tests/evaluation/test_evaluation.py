"""The evaluation graph without Ray: the same results however the store is parted, and a page from them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.evaluation.measured_retrieval import RANKS
from isoenergy.interventions.removal import equalising_gains, intervene, kept_atoms
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import recall_at
from isoenergy.report.page.page import write_report
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import ReLU
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs, write_sae
from tests.report.explorer_data import explorer_data
from workflows import evaluate
from workflows.evaluate import EvaluateConfig

DIM, UNITS, ROWS = 6, 5, 60
CONFIGS = [
    SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0),
    SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0, sparse_encoder=ReLU(), input="centred", atom_norm="free"),
]
ALIGNED = SaeConfig(dim=DIM, atoms=20, k=3, beta=0.25)
HOSTILE = "</li><script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return written_pairs(tmp_path)


def written_pairs(folder: Path) -> Path:
    images, texts = shifted_pairs(UNITS * ROWS, DIM)
    return write_pairs(folder / "store", images, texts, ROWS, captions=[HOSTILE] * (UNITS * ROWS))


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    return write_sae(tmp_path / "sae", CONFIGS[0])


def results(store: Path, sae: Path, output: Path, **options: int) -> dict:
    return evaluated(store, [sae], output, sample=50, **options)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sparse_encoder))
def test_results_do_not_depend_on_the_parts(store: Path, sae: Path, tmp_path: Path, config: SaeConfig) -> None:
    write_sae(sae, config)
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
    write_sae(sae, config)
    found = results(store, sae, tmp_path / "evaluation")
    arrays = EmbeddingStore.open(str(store)).to_arrays("test")
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
    unimodal = kept_atoms("unimodal", statistics.classes())
    less = [x - intervene(model, code, unimodal) for x, code in zip(prepared, codes, strict=True)]
    subtracted = measured["retrieval"]["less_unimodal"], measured["geometry"]["less_unimodal"]
    assert subtracted[0]["image_to_text_r1"] == pytest.approx(recall_at(less[0], less[1], RANKS)[1])
    assert subtracted[1]["difference_in_means"] == pytest.approx(
        difference_in_means(*(x.mean(0).numpy() for x in less)), rel=1e-4
    )
    image_gain, text_gain = equalising_gains(statistics)
    equal = [model.decode(code.scaled(gain)) for code, gain in zip(codes, (image_gain, text_gain), strict=True)]
    without = [x - model.decode(c) + e for x, c, e in zip(prepared, codes, equal, strict=True)]
    for name, rows in (("equalised", equal), ("less_unequal", without)):
        part = measured["retrieval"][name], measured["geometry"][name]
        image, text = (x.detach() for x in rows)
        assert part[0]["text_to_image_r1"] == pytest.approx(recall_at(text, image, RANKS)[1])
        gap = difference_in_means(image.mean(0).numpy(), text.mean(0).numpy())
        assert part[1]["difference_in_means"] == pytest.approx(gap, rel=1e-4)
    for name, begins_with in (
        ("bimodal", measured),
        ("centred", measured),
        ("less_unimodal", found["original"]),
        ("less_unequal", found["original"]),
    ):
        before = "original" if begins_with is found["original"] else "reconstructed"
        gaps = (part["geometry"][way] for part, way in ((measured, name), (begins_with, before)))
        after, whole = (gap["difference_in_means"] for gap in gaps)
        closed = measured["geometry"][name]["gap_closed_interval"]
        assert closed["value"] == pytest.approx(1 - after / whole)
        recalls = measured["retrieval"][name], begins_with["retrieval"][before]
        after, whole = (part["r10"]["value"] for part in recalls)
        assert recalls[0]["kept_r10"]["value"] == pytest.approx(after / whole)
        assert recalls[0]["change_r1"]["value"] == pytest.approx(recalls[0]["r1"]["value"] - recalls[1]["r1"]["value"])
    errors = torch.cat([code.residual for code in codes]).square().sum(1)
    assert measured["mse"] == pytest.approx(float(errors.mean()), rel=1e-5)
    for name, interval in measured["intervals"].items():
        point = measured[name]
        assert interval["value"] == pytest.approx(point, rel=1e-5)
        assert interval["low"] <= point <= interval["high"]
    gap = measured["geometry"]["bimodal"]
    assert gap["difference_in_means_interval"]["value"] == pytest.approx(gap["difference_in_means"], rel=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_rows_that_removal_makes_zero_are_counted_and_never_found(tmp_path: Path) -> None:
    """Of some texts an atom that fires for texts alone is all there is."""
    generator = np.random.default_rng(0)
    concepts = np.abs(generator.normal(size=(UNITS * ROWS, DIM)))
    concepts[:, :2] = 0
    images, texts = concepts + 2 * np.eye(DIM)[0], concepts + 2 * np.eye(DIM)[1]
    texts[::10] = np.eye(DIM)[1] * generator.uniform(1, 2, size=(UNITS * ROWS // 10, 1))
    store = write_pairs(tmp_path / "store", images, texts, ROWS)
    sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=DIM, k=DIM, beta=0.0))
    sae.dictionary.data = torch.eye(DIM)
    sae.save(tmp_path / "sae")
    for part_pairs in (1, 1000):
        found = results(store, tmp_path / "sae", tmp_path / f"out-{part_pairs}", part_pairs=part_pairs)
        retrieval = found["saes"][0]["results"]["retrieval"]
        zeros = {name: part["zero_rows"] for name, part in retrieval.items() if name != "sweeps"}
        assert zeros["bimodal"] == zeros["less_unimodal"] == {"image": 0, "text": 30}
        assert zeros["reconstructed"] == zeros["centred"] == {"image": 0, "text": 0}
        assert found["original"]["retrieval"]["original"]["zero_rows"] == {"image": 0, "text": 0}
        for name in ("image_to_text_r1", "text_to_image_r10"):
            assert retrieval["bimodal"][name] == pytest.approx(0.9, abs=0.02)
            assert retrieval["bimodal"][name] <= 0.9
    (page, *_) = write_report(str(tmp_path / "out-1/evaluation.json"), str(tmp_path / "report.html"))
    assert "zero: 30 texts" in Path(page).read_text().replace("\N{NO-BREAK SPACE}", " ")


def test_a_second_evaluation_runs_nothing_and_a_dry_run_says_so(
    store: Path, sae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = results(store, sae, tmp_path / "evaluation")
    monkeypatch.setattr(evaluate, "run_on_ray", None)
    second = results(store, sae, tmp_path / "evaluation")
    assert flat(second["saes"][0]["results"]) == pytest.approx(flat(first["saes"][0]["results"]), nan_ok=True)
    capsys.readouterr()
    config = EvaluateConfig(str(store), (str(sae),), str(tmp_path / "evaluation"), sample=50, dry_run=True)
    assert evaluate.run(config) is None
    plan = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert {"bridges", "geometry", "retrieval"} <= {line.split()[0].rpartition("/")[2] for line in plan}
    assert {line.split("  ")[-1].strip() for line in plan} == {"done"}


def test_the_same_weights_with_another_k_are_another_sae(store: Path, sae: Path, tmp_path: Path) -> None:
    """Matching Pursuit takes any k: what was measured at one is not what another finds there."""
    two, three = (
        write_sae(tmp_path / name / "sae", replace(CONFIGS[0], k=k)) for name, k in (("two", 2), ("three", 3))
    )
    both = evaluated(store, [two, three], tmp_path / "both", sample=50)["saes"]
    assert [found["config"]["k"] for found in both] == [2, 3]
    assert both[0]["results"]["l0"] <= 2 < both[1]["results"]["l0"]
    assert both[0]["name"] != both[1]["name"]
    write_sae(sae, replace(CONFIGS[0], k=3))
    results(store, sae, tmp_path / "evaluation")
    write_sae(sae, replace(CONFIGS[0], k=1))
    assert results(store, sae, tmp_path / "evaluation")["saes"][0]["results"]["l0"] == 1


def test_atoms_agree_in_the_pairs_that_are_measured_whatever_they_do_in_the_fitted_ones(tmp_path: Path) -> None:
    images, texts = shifted_pairs(600, DIM)
    texts[300:] = np.roll(texts[300:], 7, axis=0)
    store = write_pairs(tmp_path / "store", images, texts, train=300)
    evaluated(store, [write_sae(tmp_path / "sae", CONFIGS[0])], tmp_path / "out", sample=50)
    (file,) = (tmp_path / "out").rglob("atoms.parquet")
    atoms = pq.read_table(file).to_pydict()
    assert sum(atoms["agrees_in_fitted"]) >= 5
    assert sum(atoms["agrees"]) == 0 == sum(q < 0.05 for q in atoms["agreement_q_value"])


def test_a_store_with_rows_that_are_not_finite_is_refused(sae: Path, tmp_path: Path) -> None:
    images, texts = shifted_pairs(30, DIM)
    texts[7, 2] = np.nan
    with pytest.raises(InputError, match="not finite"):
        evaluated(write_pairs(tmp_path / "store", images, texts), [sae], tmp_path / "evaluation", sample=10)


def test_an_sae_given_twice_is_refused(store: Path, sae: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="given twice"):
        evaluated(store, [sae, Path(f"{sae}/../sae")], tmp_path / "evaluation")


def report(store: Path, saes: list[SaeConfig], folder: Path) -> tuple[str, list[Path]]:
    """The page of an evaluation of SAEs with these settings, and all files."""
    for number, config in enumerate(saes):
        write_sae(folder / f"sae-{number}", config)
    places = [folder / f"sae-{number}" for number in range(len(saes))]
    evaluated(store, places, folder / "evaluation", sample=50)
    written = write_report(f"{folder}/evaluation/evaluation.json", f"{folder}/out/report.html")
    files = [Path(file) for file in written]
    return files[0].read_text(), files


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """The page of an SAE-A without a null, and all files: drawing takes seconds."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        run_steps_here(patch)
        return report(written_pairs(folder), [ALIGNED], folder)


def test_the_report_escapes_captions_and_does_without_pictures(reported: tuple[str, list[Path]]) -> None:
    page, files = reported
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert any("<script>alert(1)" in caption for caption in explorer_data(page)["captions"])
    folders = {file.suffix: file.parent.name for file in files}
    assert folders == {".html": "out", ".svg": "figures", ".png": "figures", ".csv": "tables", ".parquet": "tables"}
    begins = {".html": b"<!doctype html>", ".svg": b"<?xml", ".png": b"\x89PNG", ".parquet": b"PAR1", ".csv": b'"'}
    assert [file for file in files if not file.read_bytes().startswith(begins[file.suffix])] == []
    drawn = {kind: {file.stem for file in files if file.suffix == kind} for kind in (".svg", ".png")}
    assert drawn[".svg"] == drawn[".png"] >= {"gaps", "sae-0-energy", "sae-0-projection"}
    assert all(file.read_bytes().rstrip().endswith(b"</svg>") for file in files if file.suffix == ".svg")


@pytest.mark.usefixtures("undrawn")
def test_the_report_shows_a_null_beside_the_sae_whose_null_it_is(store: Path, tmp_path: Path) -> None:
    page, files = report(store, [ALIGNED, replace(ALIGNED, null=True)], tmp_path)
    assert page.count('<div class="card">') == page.count('<div class="headline">') == 1
    assert "was given shuffled pairs" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "null of SAE-A (β = 0.25)" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert {file.name[:5] for file in files if file.parent.name == "figures" and file.name[:4] == "sae-"} == {"sae-0"}


def test_the_report_of_an_sae_without_its_null_says_how_one_is_trained(reported: tuple[str, list[Path]]) -> None:
    alone, _ = reported
    assert "isoenergy train … --null" in alone
    assert "null of" not in alone


@pytest.mark.usefixtures("undrawn")
def test_the_report_shows_a_null_whose_sae_is_not_there(store: Path, tmp_path: Path) -> None:
    page, _ = report(store, [replace(ALIGNED, null=True)], tmp_path)
    assert '<div class="card">' not in page
    assert '<div class="headline">' not in page
    assert "null of SAE-A (β = 0.25)" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_the_report_names_what_an_evaluation_lacks(store: Path, tmp_path: Path) -> None:
    evaluated(store, [write_sae(tmp_path / "sae", ALIGNED)], tmp_path / "evaluation", sample=50)
    file = tmp_path / "evaluation" / "evaluation.json"
    whole = json.loads(file.read_text())
    for name in ("graph", "stability", "original"):
        file.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(InputError, match=f"not a whole evaluation.*{name}"):
            write_report(str(file), f"{tmp_path}/again.html")
    assert not (tmp_path / "again.html").exists()
