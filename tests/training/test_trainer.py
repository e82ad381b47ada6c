import dataclasses
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.alignments import Alignment, Cosine, GroupSparse, IsoEnergy
from isoenergy.errors import InputError
from isoenergy.sae.group import SaeGroup
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.settings.modalities import Widths
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, SparseEncoder
from isoenergy.store import PairArrays
from isoenergy.store.batches import Batches, PairBatches, UnpairedBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.trainer import DivergedError, Metrics, SaveCheckpoint, Trainer, TrainingConfig
from isoenergy.training.training_config import beta_text, parse_beta, sae_name
from tests.tiers import each_with_one
from tests.training.planted_pairs import planted

CONFIG = TrainingConfig(
    beta=(0.0, 1e-2), expansion=3, k=3, epochs=3, batch_pairs=20, learning_rate=2e-2, log_every=2, checkpoint_every=4
)
ENCODERS = [member() for member in SparseEncoder.members().values()]
ALIGNMENTS = [member() for member in Alignment.members().values()]
MEANS = {"image": torch.linspace(-0.1, 0.1, 8), "text": torch.linspace(0.2, -0.1, 8)}
EVERYTHING = dataclasses.replace(
    CONFIG, seeds=2, revival=0.1, dead_after=2, atom_norm="free", input="centred", learning_rate=5e-3
)


@pytest.fixture(scope="module")
def pairs() -> PairArrays:
    """Pairs that are far apart."""
    return planted(130, gap=4)


def fresh(pairs: PairArrays, config: TrainingConfig, data_seed: int = 0) -> Trainer:
    batches: Batches = PairBatches.of_arrays(pairs.images, pairs.texts, config.batch_pairs, data_seed)
    if config.null:
        batches = shuffled(pairs, config, data_seed)
    return Trainer(config, batches, 8, means=MEANS if config.input == "centred" else None)


def shuffled(pairs: PairArrays, config: TrainingConfig, seed: int = 0) -> UnpairedBatches:
    order = PairOrder(np.array([0, len(pairs)]), config.batch_pairs, seed, len(pairs))
    return UnpairedBatches.shuffled(order, ArrayRows({"image": pairs.images}), ArrayRows({"text": pairs.texts}))


def train(pairs: PairArrays, config: TrainingConfig, folder: Path | None = None, resume: Path | None = None) -> Trainer:
    trainer = fresh(pairs, config)
    if resume is not None:
        trainer.load(resume)

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        assert all(np.isfinite(list(metrics.values())))
        if save is not None and folder is not None:
            save(folder / str(step))

    trainer.run(report)
    return trainer


def require_same(one: SparseAutoencoder, other: SparseAutoencoder) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


@pytest.mark.parametrize(("encoder", "alignment"), each_with_one(ENCODERS, ALIGNMENTS))
def test_a_resumed_run_equals_an_uninterrupted_one(
    pairs: PairArrays, tmp_path: Path, encoder: SparseEncoder, alignment: Alignment
) -> None:
    config = dataclasses.replace(EVERYTHING, sparse_encoder=encoder, alignment=alignment)
    whole = train(pairs, config, tmp_path / "whole")
    for step in (4, 8, 16):  # in the middle of an epoch each
        resumed = train(pairs, config, tmp_path / str(step), tmp_path / "whole" / str(step))
        for one, other in zip(whole.group.saes, resumed.group.saes, strict=True):
            require_same(one, other)
        for name in ("trainer.json", "trainer.safetensors"):
            one, other = (folder / "18" / name for folder in (tmp_path / "whole", tmp_path / str(step)))
            assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("encoder", [MatchingPursuit(), JumpReLU(), BatchTopK()], ids=str)
def test_several_saes_in_a_pass_are_each_what_it_is_alone(pairs: PairArrays, encoder: SparseEncoder) -> None:
    config = dataclasses.replace(EVERYTHING, sparse_encoder=encoder, gradient_clip=1e-3)
    together = train(pairs, config).group
    assert together.names == ["beta-0-seed-0", "beta-0.01-seed-0", "beta-0-seed-1", "beta-0.01-seed-1"]
    for sae, (seed, beta) in zip(together.saes, product((0, 1), (0.0, 1e-2)), strict=True):
        assert sae.config.beta == beta
        alone = train(pairs, dataclasses.replace(config, beta=(beta,), seeds=1, seed=seed)).group
        assert alone.names == [sae_name(beta)]
        require_same(sae, alone.saes[0])


@pytest.mark.parametrize(
    ("encoder", "alignment"), each_with_one([MatchingPursuit(), JumpReLU(), BatchTopK()], ALIGNMENTS)
)
@pytest.mark.parametrize("revival", [0.0, 0.1])
def test_a_run_without_reports_ends_with_the_same_weights(
    pairs: PairArrays, encoder: SparseEncoder, alignment: Alignment, revival: float
) -> None:
    config = dataclasses.replace(EVERYTHING, sparse_encoder=encoder, alignment=alignment, revival=revival)
    silent = fresh(pairs, config)
    silent.run(None)
    assert silent.step == silent.steps
    for one, other in zip(silent.group.saes, train(pairs, config).group.saes, strict=True):
        require_same(one, other)


def test_a_run_without_reports_still_says_that_it_diverged(pairs: PairArrays) -> None:
    config = dataclasses.replace(CONFIG, sparse_encoder=JumpReLU(), atom_norm="free", learning_rate=1e38)
    with pytest.raises(DivergedError, match="weights are not finite within 2 steps before step 18"):
        fresh(pairs, config).run(None)


def test_gradients_are_clipped_as_torch_clips_those_of_each_sae() -> None:
    config = dataclasses.replace(CONFIG, sparse_encoder=JumpReLU())
    groups = [SaeGroup(config.saes(8)) for _ in range(2)]
    for group in groups:
        generator = torch.Generator().manual_seed(0)
        for number, sae in enumerate(group.saes):  # the first is below the bound, the second above
            for parameter in sae.parameters():
                parameter.grad = (0.01, 3.0)[number] * torch.randn(parameter.shape, generator=generator)
    groups[0].clip_gradients(0.5)
    for sae in groups[1].saes:
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 0.5)
    for ours, theirs in zip(*(group.parameters() for group in groups), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_saes_of_one_seed_start_alike_and_those_of_others_do_not(pairs: PairArrays) -> None:
    group = fresh(pairs, dataclasses.replace(CONFIG, seeds=2)).group
    require_same(group.saes[0], group.saes[1])
    require_same(group.saes[2], group.saes[3])
    assert not torch.equal(group.saes[0].dictionary, group.saes[2].dictionary)


def test_a_zero_beta_ignores_alignment_and_another_does_not(pairs: PairArrays) -> None:
    runs = [
        train(pairs, dataclasses.replace(CONFIG, alignment=alignment)).group.saes
        for alignment in (Cosine(), GroupSparse(), IsoEnergy())
    ]
    for standard, aligned in runs[1:]:
        require_same(standard, runs[0][0])
        assert not torch.equal(aligned.dictionary, runs[0][1].dictionary)


def test_dead_atoms_are_counted_and_revived(pairs: PairArrays) -> None:
    ends = []
    for revival in (0.0, 0.1):
        config = dataclasses.replace(CONFIG, beta=(0.0,), expansion=16, k=2, epochs=25, dead_after=30, revival=revival)
        history: list[tuple[int, Metrics]] = []
        fresh(pairs, config).run(lambda step, metrics, _save, history=history: history.append((step, metrics)))
        assert all(metrics["beta-0/dead_atoms"] == 0 for step, metrics in history if step < 30)
        ends.append(history[-1][1])
    without, revived = ends
    assert revived["beta-0/dead_atoms"] < 0.8 * without["beta-0/dead_atoms"]
    assert revived["beta-0/reconstruction_loss"] < without["beta-0/reconstruction_loss"]


@pytest.mark.parametrize("alignment", [member() for member in Alignment.members().values()], ids=str)
@pytest.mark.parametrize("revival", [0.0, 0.1])
def test_a_pursuits_step_keeps_nothing_of_the_size_of_dense_codes(
    pairs: PairArrays, revival: float, alignment: Alignment
) -> None:
    group = SaeGroup(dataclasses.replace(CONFIG, expansion=400, alignment=alignment).saes(8), revival)
    images, texts = (torch.from_numpy(rows).float() for rows in (pairs.images, pairs.texts))
    dead = torch.zeros(2, 3200, dtype=torch.bool)
    dead[:, ::2] = True
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        group((images, texts), dead)
    for parameter in group.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    dense_row = 4 * 3200
    assert sum(kept.values()) < 2 * len(images) * dense_row / 10
    assert max(kept.values()) < len(images) * dense_row / 10


def test_training_lowers_the_loss_and_alignment_aligns(pairs: PairArrays) -> None:
    for alignment in Alignment.members().values():
        history: list[Metrics] = []
        trainer = fresh(pairs, dataclasses.replace(CONFIG, epochs=30, alignment=alignment()))
        trainer.run(lambda _step, metrics, _save, history=history: history.append(metrics))
        assert history[-1]["beta-0/reconstruction_loss"] < 0.5 * history[0]["beta-0/reconstruction_loss"]
        assert history[-1]["beta-0.01/alignment"] < history[-1]["beta-0/alignment"]


def test_only_the_iso_energy_penalty_takes_rows_that_are_not_paired(pairs: PairArrays) -> None:
    rows = {"image": pairs.images, "text": pairs.texts[:70]}
    orders = [PairOrder(np.array([0, len(part)]), 20, seed, len(part)) for seed, part in enumerate(rows.values())]
    parts = [PairBatches(order, ArrayRows({name: rows[name]})) for order, name in zip(orders, rows, strict=True)]
    batches = UnpairedBatches(tuple(parts))
    with pytest.raises(InputError, match=r"masked-cosine compares the codes of a pair.*iso-energy"):
        Trainer(CONFIG, batches, 8)
    trainer = Trainer(dataclasses.replace(CONFIG, alignment=IsoEnergy()), batches, 8)
    trainer.run(lambda _step, _metrics, _save: None)
    assert trainer.step == 9
    Trainer(dataclasses.replace(CONFIG, beta=(0.0,)), batches, 8)


def test_a_resumed_null_run_equals_an_uninterrupted_one(pairs: PairArrays, tmp_path: Path) -> None:
    config = dataclasses.replace(EVERYTHING, null=True)
    whole = train(pairs, config, tmp_path / "whole").group
    assert whole.names == ["null-beta-0.01-seed-0", "null-beta-0.01-seed-1"]
    for step in (4, 16):
        resumed = train(pairs, config, resume=tmp_path / "whole" / str(step)).group
        for one, other in zip(whole.saes, resumed.saes, strict=True):
            require_same(one, other)
    saved = SparseAutoencoder.load(tmp_path / "whole" / "18" / "null-beta-0.01-seed-0")
    assert saved.config.null
    assert saved.config == whole.saes[0].config
    with pytest.raises(InputError, match="null is true there and false here"):
        train(pairs, EVERYTHING, resume=tmp_path / "whole" / "4")


def test_only_true_pairs_make_the_codes_of_pairs_agree() -> None:
    pairs = planted(400, gap=0.6)
    agreement = []
    for config in (
        dataclasses.replace(CONFIG, beta=(0.0,)),
        dataclasses.replace(CONFIG, beta=(3e-2,)),
        dataclasses.replace(CONFIG, beta=(3e-2,), null=True),
    ):
        (sae,) = train(pairs, dataclasses.replace(config, epochs=20, alignment=Cosine())).group.saes
        images, texts = (
            sae.encode(sae.prepare(torch.from_numpy(rows).float(), modality)).to_dense(24)
            for rows, modality in ((pairs.images, "image"), (pairs.texts, "text"))
        )
        agreement.append(torch.cosine_similarity(images, texts).mean().item())
    standard, aligned, null = agreement
    assert aligned > standard + 0.15
    assert null < standard + 0.05


def test_true_pairs_are_not_trained_on_as_shuffled_ones_nor_the_other_way_round(pairs: PairArrays) -> None:
    true = PairBatches.of_arrays(pairs.images, pairs.texts, 20, 0)
    with pytest.raises(InputError, match=r"null is True in the settings and False of the batches.*shuffled"):
        Trainer(dataclasses.replace(CONFIG, null=True), true, 8)
    with pytest.raises(InputError, match="null is False in the settings and True of the batches"):
        Trainer(CONFIG, shuffled(pairs, CONFIG), 8)


def test_batches_that_are_not_of_the_settings_size_are_refused(pairs: PairArrays) -> None:
    with pytest.raises(InputError, match="batch_pairs is 20 in the settings and 10 of the batches"):
        Trainer(CONFIG, PairBatches.of_arrays(pairs.images, pairs.texts, 10, 0), 8)


@pytest.mark.parametrize("dim", [9, {"image": 8, "text": 7}, {"a": 8, "b": 8, "c": 8}])
def test_vectors_of_another_width_are_refused_before_anything_is_trained(pairs: PairArrays, dim: Widths) -> None:
    with pytest.raises(InputError, match=r"the batches have vectors of widths 8, 8, and dim says .*give dim as"):
        Trainer(CONFIG, PairBatches.of_arrays(pairs.images, pairs.texts, 20, 0), dim)


def test_a_run_does_not_go_on_with_other_pairs(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    others = dataclasses.replace(pairs, texts=pairs.texts[::-1])
    with pytest.raises(InputError, match=r"was trained on other data.*give the same pairs, or start anew"):
        train(others, CONFIG, resume=tmp_path / "4")


def test_atoms_that_never_fired_in_an_epoch_are_counted(pairs: PairArrays, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, expansion=16, k=2, log_every=1)
    trainer, fired, counts = fresh(pairs, config), [], {}
    trainer.group.register_forward_hook(lambda _m, _i, output: fired.append(output.sums.fires.sum(1) > 0))

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        whole = slice((step // 6 - 1) * 6, step // 6 * 6) if step >= 6 else slice(step)
        last = torch.stack(fired[whole]).any(0)
        assert [metrics[f"{name}/unfired_atoms"] for name in trainer.group.names] == (~last).sum(1).tolist()
        counts[step] = {name: value for name, value in metrics.items() if name.endswith("unfired_atoms")}
        if save is not None:
            save(tmp_path / str(step))

    trainer.run(report)
    assert counts[18]["beta-0/unfired_atoms"] > 0
    for step in (4, 8):  # in the first epoch, and in the second
        resumed = fresh(pairs, config)
        resumed.load(tmp_path / str(step))
        seen: dict[int, Metrics] = {}
        resumed.run(lambda at, metrics, _save, seen=seen: seen.update({at: metrics}))
        assert {at: {name: seen[at].get(name) for name in counts[at]} for at in seen} == {at: counts[at] for at in seen}


def test_an_atom_is_dead_after_a_fiftieth_of_the_steps_unless_told_otherwise() -> None:
    assert TrainingConfig().dead_after_of(6405) == 128
    assert TrainingConfig().dead_after_of(60) == 10
    assert TrainingConfig(dead_after=7).dead_after_of(6405) == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": (0.0,)}, "an SAE of beta 0 never looks at pairs.*give a beta above 0"),
        ({"beta": AutomaticBeta()}, "null needs a beta; let auto find it on the true pairs"),
        ({"alignment": IsoEnergy()}, "iso-energy never looks at pairs.*give another alignment"),
        ({"beta": (-1.0,)}, "beta must be 0 or more"),
    ],
)
def test_a_null_run_in_which_pairs_do_not_matter_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        TrainingConfig(null=True, **settings)


def test_a_null_run_trains_the_betas_above_0_under_names_of_their_own() -> None:
    true = TrainingConfig(beta=(0.0, 1e-4, 4e-4), seeds=2)
    null = dataclasses.replace(true, null=True)
    assert null.betas == (1e-4, 4e-4)
    assert not set(true.names) & set(null.names)
    assert null.names[:2] == ["null-beta-0.0001-seed-0", "null-beta-0.0004-seed-0"]
    assert list(null.saes(8)) == null.names
    assert {config.null for config, _ in null.saes(8).values()} == {True}
    for name, (config, seed) in null.saes(8).items():
        assert true.saes(8)[name.removeprefix("null-")] == (dataclasses.replace(config, null=False), seed)


def test_a_checkpoint_from_before_there_were_null_runs_goes_on(pairs: PairArrays, tmp_path: Path) -> None:
    whole = train(pairs, CONFIG, tmp_path).group
    file = tmp_path / "4" / "trainer.json"
    state = json.loads(file.read_text())
    del state["config"]["null"]
    file.write_text(json.dumps(state))
    for one, other in zip(whole.saes, train(pairs, CONFIG, resume=tmp_path / "4").group.saes, strict=True):
        require_same(one, other)


def test_saved_atoms_have_unit_norm(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    sae = SparseAutoencoder.load(tmp_path / "18" / "beta-0.01")
    assert sae.config == SaeConfig(dim=8, atoms=24, k=3, beta=1e-2)
    torch.testing.assert_close(sae.dictionary.norm(dim=1), torch.ones(24))


def test_resuming_with_other_settings_names_them(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    with pytest.raises(InputError, match="k is 3 there and 4 here; seed is 0 there and 1 here"):
        train(pairs, dataclasses.replace(CONFIG, k=4, seed=1), resume=tmp_path / "4")
    (tmp_path / "4" / "trainer.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match="is not a training checkpoint"):
        train(pairs, CONFIG, resume=tmp_path / "4")


@pytest.mark.parametrize("encoder", [member() for member in SparseEncoder.members().values()], ids=str)
def test_a_divergence_names_the_sae_and_the_step_and_leaves_no_checkpoint(
    pairs: PairArrays, tmp_path: Path, encoder: SparseEncoder
) -> None:
    config = dataclasses.replace(CONFIG, sparse_encoder=encoder, log_every=1, checkpoint_every=1, atom_norm="free")
    trainer = fresh(pairs, config)
    saved = []

    def report(step: int, _metrics: Metrics, save: SaveCheckpoint | None) -> None:
        assert save is not None
        save(tmp_path / str(step))
        saved.append(step)
        if step == 3:
            with torch.no_grad():
                trainer.group.saes[1].dictionary[0, 0] = torch.inf

    with pytest.raises(DivergedError, match=r"beta-0\.01: the (loss|weights).* not finite within 1 steps before step"):
        trainer.run(report)
    assert saved == [1, 2, 3]
    fresh(pairs, config).load(tmp_path / "3")


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"epochs": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"revival": -1.0},
        {"seeds": 0},
        {"beta": ()},
        {"beta": (1.0, 1.0)},
        {"beta": (-1.0,)},
        {"beta": (float("nan"),)},
    ],
)
def test_impossible_settings_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingConfig(**wrong)


def test_betas_that_differ_little_have_names_of_their_own() -> None:
    betas = (1e-4, 1.0000001e-4, 1 / 3)
    config = TrainingConfig(beta=betas)
    assert len(set(config.names)) == len(config.saes(8)) == 3
    assert list(config.saes(8)) == config.names
    assert parse_beta(beta_text(betas)) == betas
    assert sae_name(4e-4, 1, 2) == "beta-0.0004-seed-1"
    assert sae_name(0) == sae_name(0.0) == "beta-0"


def test_beta_is_numbers_or_a_rule() -> None:
    assert parse_beta("0,1e-4") == (0.0, 1e-4)
    assert parse_beta("auto:rounds=2") == AutomaticBeta(rounds=2)
    with pytest.raises(InputError, match="numbers with commas"):
        parse_beta("0;1")
    with pytest.raises(InputError, match="yet to be found"):
        _ = TrainingConfig(beta=AutomaticBeta()).betas


def test_numbers_of_numpy_are_taken(pairs: PairArrays) -> None:
    changes = {"epochs": np.int64(3), "beta": (np.float32(0), np.float64(1e-2)), "learning_rate": np.float64(2e-2)}
    config = dataclasses.replace(CONFIG, **changes)
    assert config == CONFIG
    assert json.dumps(dataclasses.asdict(config)) == json.dumps(dataclasses.asdict(CONFIG))
    batches = PairBatches.of_arrays(pairs.images, pairs.texts, np.int32(20), 0)
    Trainer(config, batches, np.int64(8))
    assert TrainingConfig(beta=0.1).betas == (0.1,)
    with pytest.raises(InputError, match=r"expansion must be a whole number, got 2\.5"):
        TrainingConfig(expansion=2.5)


def test_arrays_and_tensors_of_any_kind_are_taken(pairs: PairArrays) -> None:
    data = PairBatches.of_arrays(pairs.images, pairs.texts, 20, 0).data
    images, texts = torch.from_numpy(pairs.images), torch.from_numpy(pairs.texts)
    assert PairBatches.of_arrays(images.requires_grad_(), texts, 20, 0).data == data
    assert PairBatches.of_arrays(pairs.images.astype(">f2"), pairs.texts[::-1][::-1], 20, 0).data == data
    PairBatches.of_arrays(images.bfloat16(), texts.bfloat16(), 20, 0)


def test_a_run_does_not_go_on_in_another_order(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    with pytest.raises(InputError, match="was trained on other data"):
        fresh(pairs, CONFIG, data_seed=5).load(tmp_path / "4")


def test_what_the_screen_computes_is_a_metric_where_it_runs(pairs: PairArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    def reported(config: TrainingConfig) -> list[Metrics]:
        found: list[Metrics] = []
        fresh(pairs, config).run(lambda _step, metrics, _save: found.append(metrics))
        return found

    assert not any("candidates_a_round" in metrics for metrics in reported(CONFIG))
    monkeypatch.setattr("isoenergy.pursuit._form", lambda *_: "screen")
    each = [metrics["candidates_a_round"] for metrics in reported(CONFIG)]
    assert each == [metrics["candidates_a_round"] for metrics in reported(CONFIG)]
    assert all(0.5 < candidates <= 24 for candidates in each)  # a dictionary has 24 atoms
