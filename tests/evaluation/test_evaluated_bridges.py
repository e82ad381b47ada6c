"""ρ and FDA of an evaluation: the intervals' values are the measures, and what shows nothing shows nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.evaluation.results import CURVES_FILE
from isoenergy.metrics.bridges import gamma_bridge, region_masses, rho, sigma_bridge, sigma_bridge_at
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs

DIM, ATOMS = 16, 200


def true_atoms() -> np.ndarray:
    """Thirty concepts, and a bias of images and one of texts that point the same way by half."""
    atoms = np.random.default_rng(9).normal(size=(32, DIM))
    atoms[31] += 0.8 * atoms[30]
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def concepts(pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of three shared concepts, and their modality's bias."""
    generator, atoms = np.random.default_rng(seed), true_atoms()
    codes = np.stack([generator.permutation(30)[:3] for _ in range(pairs)])
    shared = atoms[codes].sum(1)
    return shared + atoms[30] + 0.05 * generator.normal(size=shared.shape), shared + atoms[31]


def write_true_sae(folder: Path) -> Path:
    """An SAE that knows the concepts among other atoms."""
    sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=ATOMS, k=4, beta=0.0), torch.Generator().manual_seed(0))
    sae.dictionary.data[:32] = torch.from_numpy(true_atoms()).float()
    sae.save(folder)
    return folder


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Any], ConceptStatistics, np.ndarray]:
    folder = tmp_path_factory.mktemp("bridges")
    with pytest.MonkeyPatch.context() as patch:
        run_steps_here(patch)
        store = write_pairs(folder / "store", *concepts(600, 0), rows_a_unit=150)
        sae = write_true_sae(folder / "sae")
        found = evaluated(store, [sae], folder / "out", sample=100, part_pairs=150)
    arrays = EmbeddingStore.open(str(store)).to_arrays("test")
    model = SparseAutoencoder.load(sae)
    statistics = ConceptStatistics.zeros(ATOMS)
    with torch.no_grad():
        images, texts = (
            model.encode(model.prepare(torch.from_numpy(rows.copy()), modality))
            for rows, modality in ((arrays.images, "image"), (arrays.texts, "text"))
        )
    statistics.update(images, texts)
    bridges = found["saes"][0]["results"]["bridges"]
    curves = pq.read_table(folder / "out" / found["saes"][0]["bridge_curves"] / CURVES_FILE)
    return {**bridges, "curves": curves}, statistics, model.dictionary.detach().numpy()


def test_rho_is_that_of_the_whole_and_lies_in_its_interval(bridges: tuple) -> None:
    found, statistics, dictionary = bridges
    expected = rho(region_masses(sigma_bridge(statistics, dictionary), statistics.classes()))
    assert np.isfinite(expected)
    assert expected > 0
    assert found["rho"] == pytest.approx(expected, rel=1e-6)
    interval = found["rho_interval"]
    assert interval["value"] == pytest.approx(expected, rel=1e-5)
    assert interval["low"] < expected < interval["high"]


def test_the_interval_of_rho_holds_that_of_other_pairs_at_the_classes_that_were_fitted(bridges: tuple) -> None:
    """A text fires the images' bias now and then: cut anew, that makes it bimodal in some draws, and ρ infinite."""
    found, fitted, dictionary = bridges
    entries = sigma_bridge(fitted, dictionary)
    model = SparseAutoencoder(SaeConfig(dim=DIM, atoms=ATOMS, k=4, beta=0.0))
    model.dictionary.data = torch.from_numpy(dictionary)
    values, cut_anew = [], []
    for seed in range(1, 31):
        statistics = ConceptStatistics.zeros(ATOMS)
        with torch.no_grad():
            pair = [torch.from_numpy(part).float() for part in concepts(600, seed)]
            both = [model.encode(model.prepare(x, m)) for x, m in zip(pair, ("image", "text"), strict=True)]
        statistics.update(*both)
        values.append(rho(region_masses(sigma_bridge_at(entries, statistics, dictionary), fitted.classes())))
        cut_anew.append(rho(region_masses(sigma_bridge(statistics, dictionary), statistics.classes())))
    interval = found["rho_interval"]
    assert np.isinf(cut_anew).any()
    assert interval["low"] < max(values)
    assert min(values) < interval["high"] < 2 * max(values)


def test_the_interval_of_rho_does_not_depend_on_the_parts(bridges: tuple, tmp_path: Path) -> None:
    """An atom's class and the mass of its bridges are of one draw of pairs, however many units a part has."""
    found, _, _ = bridges
    store = write_pairs(tmp_path / "store", *concepts(600, 0), rows_a_unit=150)
    sae = write_true_sae(tmp_path / "sae")
    whole = evaluated(store, [sae], tmp_path / "out", sample=100)["saes"][0]["results"]["bridges"]
    assert whole["rho_interval"] == pytest.approx(found["rho_interval"], rel=1e-6)


@pytest.mark.parametrize("name", ["sigma", "gamma", "energy"])
def test_the_curves_are_the_masses_of_the_classes_at_each_cut(bridges: tuple, name: str) -> None:
    found, statistics, dictionary = bridges
    bridge = {"sigma": sigma_bridge, "gamma": gamma_bridge}
    curve = [row for row in found["curves"].to_pylist() if row["of"] == name]
    assert len(curve) > 10
    for row in curve[::8]:
        classes = statistics.classes(row["epsilon"])
        if name == "energy":
            expected = statistics.energy_share(classes.bimodal)
        else:
            masses = region_masses(bridge[name](statistics, dictionary), classes)
            expected = masses.through_bimodal / (masses.through_bimodal + masses.unimodal)
        assert row["value"] == pytest.approx(expected, rel=1e-6)
        assert row["low"] <= row["value"] <= row["high"]
    assert any(row["low"] < row["high"] for row in curve)
    assert [row["value"] for row in curve] == sorted((row["value"] for row in curve), reverse=True)


def test_fda_lies_in_its_interval(bridges: tuple) -> None:
    found, _, _ = bridges
    assert found["fda_interval"]["value"] == found["fda"]
    assert found["fda_interval"]["low"] < found["fda"] < found["fda_interval"]["high"]


def test_codes_of_a_pair_agree_and_those_of_strangers_do_not(bridges: tuple) -> None:
    found, _, _ = bridges
    assert found["pair_code_cosine"]["low"] > found["shuffled_code_cosine"]["high"]


def test_pairs_of_strangers_have_the_bridges_of_shuffled_pairs(tmp_path: Path) -> None:
    images, texts = concepts(600, 0)
    order = np.random.default_rng(1).permutation(600)
    store = write_pairs(tmp_path / "store", images, texts[order], rows_a_unit=600)
    sae = write_true_sae(tmp_path / "sae")
    found = evaluated(store, [sae], tmp_path / "out", sample=100)["saes"][0]["results"]["bridges"]
    assert found["rho"] == pytest.approx(found["rho_shuffled_pairs"], rel=0.5)
    assert found["pair_code_cosine"]["value"] == pytest.approx(found["shuffled_code_cosine"]["value"], abs=0.05)


def test_an_sae_without_bimodal_atoms_is_evaluated_all_the_same(tmp_path: Path) -> None:
    images, texts = shifted_pairs(80, DIM, noise=0.01)
    apart = np.zeros((80, DIM)), np.zeros((80, DIM))
    half = DIM // 2
    apart[0][:, :half], apart[1][:, half:] = np.abs(images[:, :half]), np.abs(texts[:, half:])
    store = write_pairs(tmp_path / "store", *apart, rows_a_unit=80)
    sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=DIM, k=2, beta=0.0))
    sae.dictionary.data = torch.eye(DIM)
    sae.save(tmp_path / "sae")
    results = evaluated(store, [tmp_path / "sae"], tmp_path / "out", sample=40)["saes"][0]["results"]
    assert results["bimodal_atoms"] == 0
    assert np.isnan([results["bridges"]["rho"], *results["bridges"]["rho_interval"].values()]).all()  # nothing bridges
    assert results["geometry"]["bimodal"]["difference_in_means"] == 0
    assert results["retrieval"]["bimodal"]["r1"]["value"] == 0  # rows of zeros are no hits
