"""SAE, SAE-A and their kin: configurations of the trainer."""

from typing import Any

from torch import Tensor

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pairs import Rows
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.store.batches import PairBatches
from isoenergy.training.trainer import Trainer
from isoenergy.training.training_config import TrainingConfig


def fit_configured(rows: Rows, budget: Budget, strength: float, seed: int, **settings: Any) -> FittedMethod:
    """Train one SAE with β = strength (0: a standard one). settings: others of `TrainingConfig`."""
    return fitted_sae(train_sae(rows.image, rows.text, budget, strength, seed, **settings))


def train_sae(
    images: Tensor, texts: Tensor, budget: Budget, beta: float, seed: int, **settings: Any
) -> SparseAutoencoder:
    """Return one trained SAE. images, texts: `(pairs, dim)` unit rows."""
    batch_pairs = min(budget.batch_pairs, len(images))
    config = TrainingConfig(
        beta=(beta,),
        atoms=budget.atoms,
        k=budget.k,
        epochs=budget.epochs,
        batch_pairs=batch_pairs,
        learning_rate=budget.learning_rate,
        seed=seed,
        **settings,
    )
    batches = PairBatches.of_arrays(images, texts, batch_pairs, seed)
    means = {"image": images.mean(0), "text": texts.mean(0)}
    trainer = Trainer(config, batches, images.shape[1], means=means)
    trainer.run(None)
    [sae] = trainer.group.saes
    assert isinstance(sae, SparseAutoencoder)  # one width
    return sae.requires_grad_(False).eval()


def fitted_sae(sae: SparseAutoencoder) -> FittedMethod:
    """Return what the arena measures of an SAE."""
    return FittedMethod.of_shared(lambda rows: sae.encode(rows).to_dense(sae.config.atoms), sae.dictionary)
