"""The weights of single pairs are those under which the parts that they are in were summed."""

from pathlib import Path

import numpy as np

from isoenergy.evaluation.concepts import drawn_weights
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import REPLICATES, poisson_weights
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae


def test_pairs_have_the_weights_of_their_blocks_in_every_part(tmp_path: Path) -> None:
    store = write_pairs(tmp_path / "store", *shifted_pairs(150, 8), rows_a_unit=60)
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=24, k=3, beta=0.0))
    options = {"sample": 30, "in_batches": 40, "queries": 20, "part_pairs": 100}
    evaluated(store, [sae], tmp_path / "evaluation", **options)
    (folder,) = (tmp_path / "evaluation/steps").glob("sae-*-statistics-*")
    (statistics,) = (found.parent for found in folder.rglob("starts.npy"))
    blocks = [(0, 60), (60, 60), (120, 30)]  # a unit each; the first two are one part
    whole = np.concatenate([poisson_weights(pairs, REPLICATES, 3, first) for first, pairs in blocks])
    pairs = np.array([149, 3, 59, 60, 121, 0, 120])
    np.testing.assert_array_equal(drawn_weights(statistics, pairs, 3), whole[pairs])
