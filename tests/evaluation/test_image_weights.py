"""An image has one weight in each replicate, in whichever shards its captions stand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoenergy.evaluation.concepts import load_bootstrap, load_together
from isoenergy.evaluation.embeddings import load_means, row_labels
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import REPLICATES, image_weights
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae


def test_captions_of_one_image_are_drawn_together_in_whichever_shards_they_stand(tmp_path: Path) -> None:
    images, texts = shifted_pairs(150, 8)
    images[[61, 62, 149]] = images[[60, 60, 148]]
    images[[130, 131]] = images[0]  # in another shard than the first
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=60)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=24, k=3, beta=0.0))
    options = {"sample": 30, "in_batches": 40, "queries": 20, "part_pairs": 100}
    evaluated(store, [sae], tmp_path / "evaluation", **options)
    steps = tmp_path / "evaluation/steps"
    (statistics,) = (file.parent for file in steps.glob("sae-*-statistics-*/**/agreement.safetensors"))
    (pairs,) = (file.parent for file in steps.rglob("queries.safetensors"))
    assert load_together(statistics).of_one_image == 3 * 2 + 2 + 3 * 2
    weights = image_weights(row_labels(images.astype(np.float32)), REPLICATES, seed=0)
    assert (weights[[61, 62, 149, 130, 131]] == weights[[60, 60, 148, 0, 0]]).all()
    for sums in (load_bootstrap(statistics), load_means(pairs)):
        np.testing.assert_array_equal(sums.pairs, weights.sum(0))


CAPTIONS = 5


def test_intervals_of_images_with_five_captions_each_are_those_of_as_many_images(tmp_path: Path) -> None:
    """Captions that say the same add nothing: drawn one by one, intervals would be 2.2 times too narrow."""
    images, texts = shifted_pairs(120, 8)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=24, k=3, beta=0.0))
    options = {"sample": 600, "in_batches": 600, "queries": 600}
    widths = []
    for name, captions in (("alone", 1), ("repeated", CAPTIONS)):
        rows = (np.repeat(part, captions, axis=0) for part in (images, texts))
        store = write_pairs(tmp_path / name, *rows, rows_a_unit=60 * captions)
        found = evaluated(store, [sae], tmp_path / f"{name}-evaluation", **options)
        results, original = found["saes"][0]["results"], found["original"]["geometry"]["original"]
        intervals = {
            "r2": results["intervals"]["r2"],
            "energy": results["intervals"]["image_only_energy_share"],
            "p_acc": results["geometry"]["p_acc_interval"],
            "gap": original["difference_in_means_interval"],
            "relative gap": original["relative_modality_gap_interval"],
            "recall": results["retrieval"]["reconstructed"]["r1"],
            "agreement": results["agreement"]["correlation"],
        }
        widths.append({name: interval["high"] - interval["low"] for name, interval in intervals.items()})
    for name, width in widths[0].items():
        assert 0.7 < widths[1][name] / width < 1.4, name


def test_of_few_images_numbers_stand_alone_and_the_reason_is_said(tmp_path: Path) -> None:
    """Nineteen of three captions each: 57 pairs are no more images for it."""
    images, texts = shifted_pairs(57, 8)
    store = write_pairs(tmp_path / "store", np.repeat(images[:19], 3, axis=0), texts, rows_a_unit=30)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=24, k=3, beta=0.0))
    found = evaluated(store, [sae], tmp_path / "evaluation", sample=57, in_batches=57, queries=57)
    assert found["pairs"]["no_intervals"] == "an interval wants 20 images; there are 19"
    intervals = dict(_intervals(found))
    told = {name for name, interval in intervals.items() if not np.isnan([interval["low"], interval["high"]]).all()}
    assert {name.rsplit("/", 1)[1] for name in told} <= {"rho_shuffled_classes", "fda_shuffled_classes"}
    assert len(intervals) > 200
    assert intervals["/saes/0/results/intervals/r2"]["value"] == pytest.approx(found["saes"][0]["results"]["r2"])


def _intervals(found: Any, path: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    if isinstance(found, dict) and {"value", "low", "high"} == found.keys():
        yield path, found
    elif isinstance(found, dict | list):
        for name, part in found.items() if isinstance(found, dict) else enumerate(found):
            yield from _intervals(part, f"{path}/{name}")
