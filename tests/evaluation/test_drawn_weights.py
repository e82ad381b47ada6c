"""The weights of single pairs are those under which the parts that they are in were summed; an image has one weight."""

from pathlib import Path

import numpy as np

from isoenergy.evaluation.concepts import drawn_weights, load_together, part_weights
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import REPLICATES, poisson_weights
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae


def test_pairs_have_the_weights_of_their_blocks_in_every_part(tmp_path: Path) -> None:
    images, texts = shifted_pairs(150, 8)
    images[[61, 62, 149]] = images[[60, 60, 148]]
    images[[130, 131]] = images[0]  # in another block than the first: weights of their own, but one
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=60)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=24, k=3, beta=0.0))
    options = {"sample": 30, "in_batches": 40, "queries": 20, "part_pairs": 100}
    found = evaluated(store, [sae], tmp_path / "evaluation", **options)
    assert found["pairs"]["images_apart"] == 2
    (folder,) = (tmp_path / "evaluation/steps").glob("sae-*-statistics-*")
    (statistics,) = (found.parent for found in folder.rglob("starts.npy"))
    blocks = [(0, 60), (60, 60), (120, 30)]  # a unit each; the first two are one part
    whole = np.concatenate([poisson_weights(pairs, REPLICATES, 3, first) for first, pairs in blocks])
    whole[[61, 62, 149, 131]] = whole[[60, 60, 148, 130]]
    pairs = np.array([149, 3, 59, 60, 62, 121, 0, 61, 131, 63, 130, 120])
    np.testing.assert_array_equal(drawn_weights(statistics, pairs, 3), whole[pairs])
    assert load_together(statistics).of_one_image == 3 * 2 + 2 + 2
    (folder,) = (tmp_path / "evaluation/steps").glob("sae-*-codes-00000-*")
    (codes,) = (found.parent for found in folder.rglob("starts.npy"))
    np.testing.assert_array_equal(part_weights(codes, 120, 0, 3), whole[:120])


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
