"""Retrieval by parts, from drawn queries, is the retrieval of the whole gallery."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.embeddings import HeldPairs, row_labels
from isoenergy.evaluation.measured_retrieval import RANKS
from isoenergy.metrics.retrieval import equal_rows, full_gallery_recall, recall_in_batches
from isoenergy.report.page.page import write_report
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import Interval
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae

DIM = 8


def captioned(images: int, captions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Several captions an image, next to each other as in COCO, and some captions that several images share."""
    rows, texts = (part.astype(np.float32) for part in shifted_pairs(images * captions, DIM, seed))
    rows = np.repeat(rows[::captions], captions, axis=0)
    texts[5::17] = texts[5]
    return rows, texts


@pytest.mark.parametrize("part_pairs", [1, 32, 1000])
def test_duplicates_and_several_captions_are_no_errors(tmp_path: Path, part_pairs: int) -> None:
    images, texts = captioned(16, 5)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=32)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "out", sample=20, part_pairs=part_pairs)
    expected = full_gallery_recall(
        torch.from_numpy(images), torch.from_numpy(texts), RANKS, equal_rows(images), equal_rows(texts)
    )
    assert found["pairs"]["gallery"] == {"image": expected.images, "text": expected.texts}
    assert found["pairs"]["queries"] == {"image_to_text": 16, "text_to_image": expected.texts}
    retrieval = found["original"]["retrieval"]["original"]
    for rank in RANKS:
        assert retrieval[f"image_to_text_r{rank}"] == pytest.approx(expected.image_to_text[rank], abs=1e-6)
        assert retrieval[f"text_to_image_r{rank}"] == pytest.approx(expected.text_to_image[rank], abs=1e-6)
        assert retrieval[f"r{rank}"]["value"] == pytest.approx(expected.mean[rank], abs=1e-6)


def test_chance_is_a_random_orders_with_as_many_right_answers(tmp_path: Path) -> None:
    images, texts = captioned(40, 5)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=64)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "out", sample=20)["pairs"]["chance_r10"]
    labels = equal_rows(images), equal_rows(texts)
    expected = []
    for own, other in (labels, labels[::-1]):
        right = [len(np.unique(other[own == label])) for label in np.unique(own)]
        expected.append(np.mean([1 - hypergeom.pmf(0, len(np.unique(other)), n, 10) for n in right]))
    assert found == pytest.approx(np.mean(expected))


def test_drawn_queries_are_looked_for_in_the_whole_gallery(tmp_path: Path) -> None:
    """Their partners may not be drawn: five captions are right for an image of which one was drawn."""
    images, texts = captioned(60, 5)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=64)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    sizes = {"sample": 20, "in_batches": 30, "queries": 30}
    found = evaluated(store, [sae], tmp_path / "out", part_pairs=64, seed=3, **sizes)
    drawn = Draw(**sizes, seed=3).rows(300)
    unit_images, unit_texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts))
    image_of, text_of = equal_rows(images), equal_rows(texts)
    gallery = np.unique(text_of, return_index=True)[1]
    hits = []
    for image in np.unique(image_of[drawn]):
        right = set(text_of[image_of == image])
        nearest = gallery[np.argsort(-unit_texts[gallery] @ unit_images[image_of == image][0])]
        hits.append(text_of[nearest[0]] in right)
    assert found["original"]["retrieval"]["original"]["image_to_text_r1"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert found["pairs"]["gallery"] == {"image": 60, "text": len(gallery)}


def test_batches_of_256_are_of_the_drawn_pairs_in_their_order(tmp_path: Path) -> None:
    images, texts = shifted_pairs(700, DIM)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=300)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "out", sample=20, in_batches=600)
    held = HeldPairs.load(next((tmp_path / "out" / "steps").glob("embeddings-pairs-*")), 700)
    order = Draw(20, 600, 2000, 0).rows(700)
    np.testing.assert_array_equal(held.images, images.astype(np.float32)[order])
    halves = [[torch.from_numpy(rows[start : start + 256]) for rows in (held.images, held.texts)] for start in (0, 256)]
    expected = np.mean([recall_in_batches(*half, (1,))[1] for half in halves])
    measured = found["original"]["retrieval"]["original"]["in_batches_r1"]
    assert measured["value"] == pytest.approx(expected, abs=1e-6)
    assert measured["low"] < measured["value"] < measured["high"]


def test_an_interval_over_queries_is_as_wide_as_a_share_s(tmp_path: Path) -> None:
    images, texts = shifted_pairs(500, DIM, noise=0.8)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=500)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    interval = Interval(
        **evaluated(store, [sae], tmp_path / "out", sample=20)["original"]["retrieval"]["original"]["r5"]
    )
    assert 0.1 < interval.value < 0.9
    independent = 2 * 1.96 * np.sqrt(interval.value * (1 - interval.value) / 1000)
    assert 0.8 * independent < interval.high - interval.low < 1.7 * independent  # both directions of a pair agree


def test_fewer_pairs_than_a_batch_have_no_recall_in_batches(tmp_path: Path) -> None:
    images, texts = shifted_pairs(30, DIM)
    store = write_pairs(tmp_path / "store", images, texts)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    retrieval = evaluated(store, [sae], tmp_path / "out", sample=20)["original"]["retrieval"]["original"]
    assert np.isnan(retrieval["in_batches_r1"]["value"])
    assert 0 < retrieval["r1"]["value"] <= 1


def test_where_all_captions_are_of_hundreds_of_images_only_images_are_looked_up(tmp_path: Path) -> None:
    images, texts = shifted_pairs(600, DIM)
    texts[:300], texts[300:] = texts[0], texts[300]  # two classes
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=600)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "out", sample=20)
    assert found["pairs"]["queries"] == {"image_to_text": 600, "text_to_image": 0}
    retrieval = found["original"]["retrieval"]["original"]
    assert np.isnan(retrieval["text_to_image_r1"])
    unit_images, unit_texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts[::300]))
    nearest = np.argmax(unit_images @ unit_texts.T, axis=1)
    assert retrieval["image_to_text_r1"] == pytest.approx(np.mean(nearest == np.arange(600) // 300))
    assert retrieval["r1"]["value"] == retrieval["image_to_text_r1"]


@pytest.mark.parametrize("pairs", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("undrawn")
def test_a_pair_or_two_are_evaluated_and_shown(tmp_path: Path, pairs: int) -> None:
    store = write_pairs(tmp_path / "store", *shifted_pairs(pairs, DIM))
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    retrieval = evaluated(store, [sae], tmp_path / "out")["original"]["retrieval"]["original"]
    assert 0 <= retrieval["r1"]["value"] <= 1
    assert np.isnan([retrieval["r1"]["low"], retrieval["r1"]["high"]]).all()
    page, *_ = write_report(f"{tmp_path}/out/evaluation.json", f"{tmp_path}/report.html")
    html = Path(page).read_text()
    assert ("Relative gap: not measured on so few pairs" in html) == (pairs == 1)
    assert html.count(f"an interval wants 20 images; there are {pairs}") == 1
    assert "In brackets" not in html

    file = tmp_path / "out/evaluation.json"
    file.write_text(re.sub(r'"no_intervals": "[^"]*",?', "", file.read_text()))  # as it was written before
    assert "no_intervals" not in file.read_text()
    write_report(str(file), f"{tmp_path}/report.html")


def test_rows_have_one_label_if_and_only_if_they_are_equal() -> None:
    generator = np.random.default_rng(0)
    for dtype in (np.float16, np.float32):
        rows = generator.integers(-1, 2, size=(500, 5)).astype(dtype)  # of 243 different rows
        rows[0], rows[1] = 0.0, -0.0
        labels = row_labels(rows)
        same = labels[:, None] == labels[None, :]
        np.testing.assert_array_equal(same, (rows[:, None] == rows[None, :]).all(2))
    assert len(np.unique(row_labels(generator.normal(size=(100_000, 3)).astype(np.float32)))) == 100_000


def test_a_caption_of_hundreds_of_images_is_no_query(tmp_path: Path) -> None:
    images, texts = shifted_pairs(400, DIM)
    texts[:300] = texts[0]
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=400)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=24, k=4, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "out", sample=20)
    assert found["pairs"]["queries"] == {"image_to_text": 400, "text_to_image": 100}
    assert found["pairs"]["gallery"] == {"image": 400, "text": 101}
    unit_images, unit_texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts))
    nearest = np.argmax(unit_texts[300:] @ unit_images.T, axis=1)
    measured = found["original"]["retrieval"]["original"]["text_to_image_r1"]
    assert measured == pytest.approx(np.mean(nearest == np.arange(300, 400)), abs=1e-6)
