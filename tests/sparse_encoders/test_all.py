"""What holds for every encoder, on the one training loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder, SparseCodes
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder
from isoenergy.store.batches import PairBatches
from isoenergy.training.trainer import Metrics, Trainer, TrainingConfig

ENCODERS = [member() for member in SparseEncoder.members().values()]
CONFIG = TrainingConfig(beta=(0.0, 1e-3), expansion=4, k=3, epochs=40, batch_pairs=20, learning_rate=1e-2, log_every=2)


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of four shared concepts and a constant of each modality."""
    generator = np.random.default_rng(0)
    mixture = generator.dirichlet([0.3] * 4, size=120) @ generator.normal(size=(4, 8))
    noise = 0.05 * generator.normal(size=(2, 120, 8))
    return tuple((mixture + noise[side] + (1 - 2 * side) * np.eye(8)[0]).astype(np.float16) for side in range(2))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_training_lowers_the_loss_of_images_and_texts(encoder: SparseEncoder) -> None:
    history: list[Metrics] = []
    trainer = Trainer(replace(CONFIG, sparse_encoder=encoder), PairBatches.of_arrays(*pairs(), 20, 0), 8)
    trainer.run(lambda _step, metrics, _save: history.append(metrics))
    for name in trainer.group.names:
        first, last = history[0], history[-1]
        assert last[f"{name}/reconstruction_loss"] < 0.5 * first[f"{name}/reconstruction_loss"]
        for modality in ("image", "text"):
            assert last[f"{name}/r2_{modality}"] > max(0.7, first[f"{name}/r2_{modality}"])
        penalty = last[f"{name}/sparsity_penalty"]
        assert (penalty > 0) == (str(encoder).startswith(("relu", "jump-relu")))
    assert set(history[0]) == set(history[-1])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_every_weight_learns_and_atoms_keep_their_norm(encoder: SparseEncoder) -> None:
    config = replace(CONFIG, sparse_encoder=encoder, beta=(1e-3,), epochs=2)
    trainer = Trainer(config, PairBatches.of_arrays(*pairs(), 20, 0), 8)
    before = {name: tensor.clone() for name, tensor in trainer.group.named_parameters()}
    trainer.run(lambda _step, _metrics, _save: None)
    for name, tensor in trainer.group.named_parameters():
        assert not torch.equal(tensor, before[name]), name
    torch.testing.assert_close(trainer.group.saes[0].dictionary.norm(dim=1), torch.ones(32))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_revival_is_a_loss_of_dead_atoms_alone(encoder: SparseEncoder) -> None:
    sae = SparseAutoencoder(
        SaeConfig(dim=8, atoms=32, k=3, beta=0.0, sparse_encoder=encoder), torch.Generator().manual_seed(0)
    )
    x = torch.from_numpy(pairs()[0]).float().requires_grad_()
    dead = torch.zeros(32, dtype=torch.bool)
    codes = sae(x)
    assert sae.encoder.revival(x, codes, sae.dictionary, dead).item() == 0
    dead[5:15] = True
    loss = sae.encoder.revival(x.detach(), codes, sae.dictionary, dead)
    assert loss > 0
    loss.backward()
    for parameter in sae.parameters():
        if parameter.grad is not None:
            assert not parameter.grad[~dead].any()
            assert parameter.grad[dead].any()
    assert sae.dictionary.grad is not None
    before = sae.dictionary.detach().clone()
    with torch.no_grad():
        for parameter in sae.parameters():
            if parameter.grad is not None:
                parameter -= 1.0 * parameter.grad
    assert not torch.equal(before, sae.dictionary)
    assert sae.encoder.revival(x.detach(), codes, sae.dictionary, dead) < loss


def test_a_pursuit_revives_by_the_dead_atom_nearest_to_each_rows_residual() -> None:
    residual = torch.tensor([[3.0, 0.1, 0.0], [0.0, 2.0, 0.2]], requires_grad=True)
    dictionary = normalize(torch.tensor([[3.0, 0.1, 0.0], [1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [-1.0, 0.0, 0.0]]), dim=1)
    dictionary.requires_grad_()
    codes = SparseCodes(torch.zeros(2, 1, dtype=torch.int32), torch.zeros(2, 1), residual)
    dead = torch.tensor([False, True, True, True])
    loss = MatchingPursuit().build(dictionary, 4).revival(residual, codes, dictionary, dead)
    with torch.no_grad():
        left = [row - (row @ atom) * atom for row, atom in zip(residual, dictionary[1:3], strict=True)]
    torch.testing.assert_close(loss, torch.stack(left).square().mean())
    loss.backward()
    assert residual.grad is None
    assert not dictionary.grad[[0, 3]].any()
    before = (dictionary.detach()[1:3] * residual.detach()).sum(1)
    moved = normalize(dictionary.detach() - 0.1 * dictionary.grad, dim=1)
    assert ((moved[1:3] * residual.detach()).sum(1) > before).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_as_many_atoms_a_row_as_there_are_is_no_error(encoder: SparseEncoder) -> None:
    config = SaeConfig(dim=8, atoms=2, k=2, beta=0.0, sparse_encoder=encoder)
    sae = SparseAutoencoder(config, torch.Generator().manual_seed(0))
    x = torch.from_numpy(pairs()[0]).float()
    codes = sae(x)
    torch.testing.assert_close(sae.decode(codes.to_sparse()), x - codes.residual)
    dead = torch.tensor([True, False])
    assert sae.encoder.revival(x, codes, sae.dictionary, dead).isfinite()
    assert sae(x[:1]).residual.shape == (1, 8)


def test_the_pursuits_encoder_is_the_pursuit() -> None:
    sae = SparseAutoencoder(SaeConfig(dim=8, atoms=32, k=3, beta=0.0), torch.Generator().manual_seed(0))
    assert [name for name, _ in sae.named_parameters()] == ["dictionary"]
    assert sae.config.sparse_encoder == MatchingPursuit()
    x = torch.from_numpy(pairs()[0]).float()
    residual = x
    for atom in sae(x).indices.T:  # paper 1.3
        scores = residual @ sae.dictionary.T
        assert torch.equal(scores.argmax(1), atom.long())
        residual = residual - scores.amax(1, keepdim=True) * sae.dictionary[atom]
    torch.testing.assert_close(sae(x).residual, residual)
