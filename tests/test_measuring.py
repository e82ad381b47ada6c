"""`isoenergy.evaluate` against the plain measures, whose definitions are elsewhere."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import isoenergy
from isoenergy.errors import InputError
from isoenergy.fitting import Fit
from isoenergy.interventions.removal import intervene, kept_atoms
from isoenergy.measuring import Evaluation
from isoenergy.metrics.energy import energy_shares
from isoenergy.metrics.gap import l2m
from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_centred, r2_paper
from isoenergy.metrics.retrieval import recall_at
from isoenergy.statistics import ConceptStatistics
from tests.benchmarks.planted_store import planted_pairs

PAIRS = 500
"""More than a block would be of."""


@pytest.fixture(scope="module")
def fit() -> Fit:
    images, texts = planted_pairs(1200, 16)
    settings = {"k": 4, "expansion": 2, "epochs": 4, "learning_rate": 5e-3, "progress": False}
    return isoenergy.fit(images[PAIRS:], texts[PAIRS:], beta=1e-3, batch_pairs=100, **settings)


@pytest.fixture(scope="module")
def held() -> tuple[np.ndarray, np.ndarray]:
    images, texts = planted_pairs(1200, 16)
    return images[:PAIRS], texts[:PAIRS]


@pytest.fixture(scope="module")
def found(fit: Fit, held: tuple[np.ndarray, np.ndarray]) -> Evaluation:
    return isoenergy.evaluate(fit, *held)


def test_the_numbers_are_those_of_the_plain_measures(
    fit: Fit, held: tuple[np.ndarray, np.ndarray], found: Evaluation
) -> None:
    sae, classes = fit.sae, fit.statistics.classes()
    rows = [sae.prepare(part, m) for part, m in zip(held, ("image", "text"), strict=True)]
    codes = [sae.encode(part) for part in rows]
    sums = [ReconstructionSums.zeros(16) for _ in rows]
    for each, part, code in zip(sums, rows, codes, strict=True):
        each.update(part, code.residual)
    statistics = ConceptStatistics.zeros(32)
    statistics.update(*codes)
    shares = energy_shares(statistics, classes=classes)
    rebuilt = {
        name: [intervene(sae, code, kept_atoms(name, classes)) for code in codes]
        for name in ("reconstructed", "bimodal")
    }
    unit = [normalize(torch.from_numpy(part).float(), dim=1) for part in held]
    arrays = [part.numpy() for part in rows]
    gaps = {name: l2m(*(part.numpy() for part in both)) for name, both in rebuilt.items()}
    expected = {
        "r2": r2_paper(*sums),
        "r2_centred": r2_centred(*sums),
        "bimodal_energy": shares.bimodal,
        "image_only_energy": shares.image_only,
        "gap": l2m(*(part.numpy() for part in unit)),
        "gap_closed": 1 - gaps["bimodal"] / gaps["reconstructed"],
        "r@1": np.mean([recall_at(*unit, [1])[1], recall_at(*unit[::-1], [1])[1]]),
        "r@10_bimodal": np.mean(
            [recall_at(*rebuilt["bimodal"], [10])[10], recall_at(*rebuilt["bimodal"][::-1], [10])[10]]
        ),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=2e-3 if name.startswith("r@") else 1e-5), name
        assert found[name].low <= found[name].value <= found[name].high
    energies = statistics.energy[:, None]
    p_acc = probing_accuracy(*arrays, sae.dictionary.numpy(), fit.statistics, np.ones((PAIRS, 1)), energies)
    assert found["p_acc"].value == pytest.approx(float(p_acc[0]), abs=1e-6)


def test_blocks_do_not_matter(
    fit: Fit, held: tuple[np.ndarray, np.ndarray], found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoenergy.measuring._BLOCK_ROWS", 128)
    again = isoenergy.evaluate(fit, *held)
    for name, interval in found.measures.items():
        for end in ("value", "low", "high"):
            assert getattr(again[name], end) == pytest.approx(getattr(interval, end), abs=1e-6), name
    assert isoenergy.evaluate(fit, *held).measures == again.measures


def test_whose_classes_are_taken_is_said(fit: Fit, held: tuple[np.ndarray, np.ndarray], found: Evaluation) -> None:
    alone = isoenergy.evaluate(fit.sae, *held)
    assert (found.classes_of, alone.classes_of) == ("those of the training", "these pairs")
    assert repr(alone).startswith("500 pairs; classes of atoms cut on these pairs\nr2 ")
    given = isoenergy.evaluate(fit.sae, *held, statistics=fit.statistics)
    assert given["bimodal_energy"] == found["bimodal_energy"]


def test_of_few_images_numbers_stand_alone_and_why_is_said_once(fit: Fit, held: tuple[np.ndarray, np.ndarray]) -> None:
    images, texts = held[0][:60].copy(), held[1][:60]
    images[:] = np.repeat(images[:3], 20, axis=0)
    few = isoenergy.evaluate(fit, images, texts)
    assert all(np.isfinite(each.value) and np.isnan([each.low, each.high]).all() for each in few.measures.values())
    assert repr(few).count("no intervals: an interval wants 20 images; there are 3") == 1
    assert "nan" not in repr(few)
    assert "[" not in repr(few)


def test_a_table_has_every_measure(found: Evaluation) -> None:
    table = found.frame()
    assert list(table.index) == list(found.measures)
    assert table.loc["r2", "low"] == found["r2"].low
    assert table.loc["r@10_kept", "value"] > 0


def test_pairs_that_are_all_one_have_no_variance_about_their_mean(
    fit: Fit, held: tuple[np.ndarray, np.ndarray]
) -> None:
    found = isoenergy.evaluate(fit, *(part[[0, 0]] for part in held))
    assert np.isnan([found["r2_centred"].value, found["r2_centred"].low]).all()
    assert np.isfinite(found["r2"].value)


def test_what_cannot_be_measured_is_said(fit: Fit, held: tuple[np.ndarray, np.ndarray]) -> None:
    images, texts = held
    with pytest.raises(InputError, match="images and texts have 500 and 499 rows"):
        isoenergy.evaluate(fit, images, texts[:-1])
    for pairs in (0, 1):
        with pytest.raises(InputError, match=rf"^images and texts must hold 2 pairs or more, got {pairs}: [^.]*$"):
            isoenergy.evaluate(fit, images[:pairs], texts[:pairs])
    for wrong, said in (
        ({"queries": 0}, "queries must be a whole number of at least 1, got 0"),
        ({"queries": -1}, "queries must be .* got -1"),
        ({"queries": 2.5}, "queries must be a whole number .* got 2.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ):
        with pytest.raises(InputError, match=said):
            isoenergy.evaluate(fit, images, texts, **wrong)  # type: ignore[arg-type]  # that is what is wrong
    with pytest.raises(InputError, match=r"sae must be a SparseAutoencoder.* got a str; .*load reads one"):
        isoenergy.evaluate("saes/beta-0", images, texts)  # type: ignore[arg-type]  # no autoencoder
    with pytest.raises(ValueError, match="16"):
        isoenergy.evaluate(fit, images[:, :8], texts[:, :8])
    spoilt = images.copy()
    spoilt[[3, 480], 1] = np.inf, np.nan
    with pytest.raises(InputError, match="row 3 of images is not finite, and so are 1 more"):
        isoenergy.evaluate(fit, spoilt, texts)
    spoilt = texts.copy()
    spoilt[499] = 0
    with pytest.raises(InputError, match="row 499 of texts is zero"):
        isoenergy.evaluate(fit, images, spoilt)
