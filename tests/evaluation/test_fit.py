"""What is fitted on pairs of the train split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from isoenergy import SparseCodes
from isoenergy.evaluation.fit import StrangerPairs, fit, load_agreement, spread_fit
from isoenergy.evaluation.measured_rows import SaeReference
from isoenergy.metrics.agreement import agreement
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import write_pairs, write_sae


def test_five_captions_of_an_image_that_stand_together_leave_no_agreement_in_shuffled_pairs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = np.repeat(random.normal(size=(200, 12)), 5, axis=0)
    texts = images + 0.1 * random.normal(size=images.shape)
    store = write_pairs(tmp_path / "store", images, texts, rows_a_unit=50, split="train")
    sae = write_sae(tmp_path / "sae", SaeConfig(dim=12, atoms=24, k=4, beta=0.0))
    config = replace(spread_fit(EmbeddingStore.open(str(store)), "train", 1000), sae=SaeReference(str(sae), ""))
    assert fit(config, {}, tmp_path)["pairs"] == 1000
    pairs, shuffled = (agreement(sums).agrees.sum() for sums in load_agreement(tmp_path))
    assert pairs > 20
    assert shuffled == 0
    assert [sums.effective_pairs for sums in load_agreement(tmp_path)] == [200, 1000]


def codes(numbers: list[int]) -> SparseCodes:
    """Codes of one atom each, the row's own."""
    return SparseCodes(torch.tensor(numbers)[:, None], torch.ones(len(numbers), 1), torch.zeros(len(numbers), 3))


def test_of_strangers_every_text_is_beside_one_image_and_none_beside_its_own() -> None:
    for parts in ([[0]], [[0, 1], [2], [], [3, 4, 5], [6, 7, 8, 9], [10]], [[0, 1, 2, 3], [4, 5, 6, 7]]):
        sums = PairAgreement.zeros(11)
        strangers = StrangerPairs(sums, least=4)
        for part in parts:
            strangers.update(codes(part), codes(part))
        strangers.finish()
        count = sum(map(len, parts))
        assert sums.pairs == count
        assert sums.image_fires.tolist() == sums.text_fires.tolist() == [1] * count + [0] * (11 - count)
        assert sums.both_fire.sum() == (1 if count == 1 else 0)
