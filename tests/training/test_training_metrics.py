import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import Codes, SparseCodes
from isoenergy.sae.group import GroupOutput, SaeGroup
from isoenergy.settings.modalities import MODALITIES
from isoenergy.sparse_encoders import JumpReLU, MatchingPursuit, ReLU, SparseEncoder
from isoenergy.store.batches import PairBatches
from isoenergy.training.trainer import Metrics, Trainer, TrainingConfig
from isoenergy.training.training_metrics import Notice, StepSums, notices

DIM, PAIRS, STEPS = 8, 25, 3
CONFIG = TrainingConfig(beta=(0.0, 1e-2), expansion=3, k=3, revival=0.1)
NAMES = ["beta-0", "beta-0.01"]


def batch(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(PAIRS, DIM, generator=generator)
    return [shared + sign * torch.eye(DIM)[0] * 2 + 0.1 * sign for sign in (1, -1)]


def add(sums: StepSums, output: GroupOutput) -> None:
    assert output.sums is not None
    sums.add(output.losses, output.sums)


def merged(values: list[Codes]) -> Tensor:
    return torch.cat([c.to_dense(24) if isinstance(c, SparseCodes) else c.values for c in values]).double()


@pytest.mark.parametrize("encoder", [MatchingPursuit(), ReLU(), JumpReLU()], ids=str)
@torch.no_grad()
def test_metrics_are_those_of_a_direct_computation_over_all_steps(encoder: SparseEncoder) -> None:
    group = SaeGroup(replace(CONFIG, sparse_encoder=encoder).saes(DIM), CONFIG.revival)
    dead = torch.zeros(2, 24, dtype=torch.bool)
    dead[1, 3:9] = True
    sums = StepSums()
    for step in range(STEPS):
        add(sums, group(batch(step), dead))
    found = sums.metrics(group.names, MODALITIES)
    for sae, name in zip(group.saes, NAMES, strict=True):
        rows = {
            modality: torch.cat([sae.prepare(batch(step)[side], modality) for step in range(STEPS)])
            for side, modality in enumerate(MODALITIES)
        }
        codes = {modality: sae(x) for modality, x in rows.items()}
        dense = {modality: merged([each]) for modality, each in codes.items()}
        for modality, x in rows.items():  # paper 1.6
            error = codes[modality].residual.double().square().mean()
            r2 = 1 - error / (x.double().var(correction=0) + 1e-6)
            assert found[f"{name}/r2_{modality}"] == pytest.approx(float(r2), abs=1e-5)
        both = torch.cat(list(dense.values()))
        energy = torch.stack([part.square().mean(0) for part in dense.values()])
        score = energy[0] / energy.sum(0).clamp_min(1e-30)
        bimodal, often = (score >= 0.05) & (score <= 0.95), (both != 0).double().mean(0) > 0.9
        share = energy.sum(0) / energy.sum()
        expected = {
            "l0": float((both != 0).sum(1).double().mean()),
            "bimodal_energy": float(share[bimodal].sum()),
            "always_on_atoms": float(often.sum()),
            "always_on_energy": float(share[often].sum()),
            "reconstruction_loss": float(torch.cat([c.residual for c in codes.values()]).square().mean()),
            "alignment": float(CONFIG.alignment(*codes.values(), 24)),
        }
        for key, value in expected.items():
            assert found[f"{name}/{key}"] == pytest.approx(value, rel=1e-4, abs=1e-6), key
        assert (found[f"{name}/revival_loss"] > 0) == (name == "beta-0.01")
    assert 0 < found["beta-0/bimodal_energy"] < 1


@torch.no_grad()
def test_a_report_begins_anew() -> None:
    group, dead, sums = SaeGroup(CONFIG.saes(DIM), CONFIG.revival), torch.zeros(2, 24, dtype=torch.bool), StepSums()
    add(sums, group(batch(0), dead))
    first = sums.metrics(NAMES, MODALITIES)
    for step in (1, 0):
        add(sums, group(batch(step), dead))
        second = sums.metrics(NAMES, MODALITIES)
    assert second == first


@torch.no_grad()
def test_an_atom_on_in_all_rows_is_counted_and_its_energy_weighed() -> None:
    group = SaeGroup(replace(CONFIG, k=1).saes(DIM), CONFIG.revival)
    direction = torch.nn.functional.normalize(torch.ones(DIM), dim=0)
    for sae in group.saes:
        sae.dictionary[5] = direction
    rows = 10 * direction + 0.01 * torch.randn(PAIRS, DIM, generator=torch.Generator().manual_seed(0))
    sums = StepSums()
    add(sums, group([rows, rows], torch.zeros(2, 24, dtype=torch.bool)))
    found = sums.metrics(NAMES, MODALITIES)
    assert found["beta-0/always_on_atoms"] == 1
    assert found["beta-0/always_on_energy"] == pytest.approx(1)
    assert found["beta-0/bimodal_energy"] == pytest.approx(1)
    assert found["beta-0/l0"] == 1


def test_dead_atoms_are_those_that_no_row_chose_in_the_last_steps() -> None:
    config = replace(CONFIG, expansion=12, batch_pairs=PAIRS, dead_after=3, log_every=1, revival=0.0, epochs=2)
    images, texts = (np.concatenate([batch(step)[side].numpy() for step in range(STEPS)]) for side in range(2))
    trainer = Trainer(config, PairBatches.of_arrays(images, texts, PAIRS, 0), DIM)
    used: list[Tensor] = []
    trainer.group.register_forward_hook(lambda _module, _inputs, output: used.append(output.sums.fires.sum(1) > 0))

    def report(step: int, metrics: Metrics, _save: object) -> None:
        idle = ~torch.stack(used[-3:]).any(0) if step >= 3 else torch.zeros(2, 96, dtype=torch.bool)
        assert [metrics[f"{name}/dead_atoms"] for name in NAMES] == idle.sum(1).tolist()

    trainer.run(report)
    assert trainer.step == 6
    assert trainer._dead_atoms().any()


HEALTHY = {
    f"{name}/{key}": value
    for name in NAMES
    for key, value in {
        "r2_image": 0.85,
        "r2_text": 0.81,
        "always_on_atoms": 0.0,
        "always_on_energy": 0.0,
        "dead_atoms": 10.0,
    }.items()
}


def noticed(changes: Metrics, warming_up: bool = False, baseline: str | None = "beta-0") -> list[Notice]:
    return notices(HEALTHY | changes, NAMES, 100, baseline, warming_up)


@pytest.mark.parametrize(
    ("below", "above", "code", "said", "waits"),
    [
        (
            {"beta-0.01/always_on_energy": 0.05, "beta-0.01/always_on_atoms": 2.0},
            {"beta-0.01/always_on_energy": 0.3, "beta-0.01/always_on_atoms": 2.0},
            "always-on",
            "2 atoms fire on more than 90% .* 30% of the energy.*smaller",
            True,
        ),
        (
            {"beta-0.01/dead_atoms": 15.0},
            {"beta-0.01/dead_atoms": 16.0},
            "dead",
            "16 of 100 .*--revival 0.3",
            True,
        ),
        (
            {"beta-0.01/largest_squared_norm": 1.99},
            {"beta-0.01/largest_squared_norm": 2.0},
            "norm",
            "squared norm of 2.00.*--atom-norm unit",
            False,
        ),
        (
            {"beta-0.01/r2_image": 0.76},
            {"beta-0.01/r2_image": 0.76, "beta-0.01/r2_text": 0.79},
            "r2",
            "R² is 0.775, and 0.830 with beta = 0.*smaller --beta",
            True,
        ),
    ],
)
def test_a_notice_appears_past_its_bound_and_says_what_to_do(
    below: Metrics, above: Metrics, code: str, said: str, waits: bool
) -> None:
    assert noticed(below) == []
    [notice] = noticed(above)
    assert (notice.sae, notice.code) == ("beta-0.01", code)
    assert str(notice).startswith("beta-0.01: ")
    assert re.search(said, notice.message)
    assert bool(noticed(above, warming_up=True)) is not waits


def test_nothing_is_noticed_where_all_is_well_or_nothing_is_known() -> None:
    assert noticed({}) == []
    assert noticed({}, warming_up=True) == []
    assert noticed(dict.fromkeys(HEALTHY, math.nan)) == []


def test_without_a_baseline_no_reconstruction_is_compared() -> None:
    worse = {"beta-0.01/r2_image": 0.1}
    assert noticed(worse, baseline=None) == []
    assert [notice.code for notice in noticed(worse)] == ["r2"]
    assert noticed({"beta-0/r2_image": 0.1}) == []
