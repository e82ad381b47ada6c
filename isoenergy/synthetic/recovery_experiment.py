"""One seed of the synthetic experiment: known atoms, SAEs of every β on the same pairs, what they recover."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.metrics.recovery import Concepts, collapse_rate, recoveries
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.settings.variants import number_text
from isoenergy.statistics.concept_statistics import ConceptStatistics, merged_code_matrix
from isoenergy.store.batches import PairBatches
from isoenergy.synthetic.experiment_config import RecoveryConfig
from isoenergy.synthetic.generator import SyntheticPairs, generate
from isoenergy.training.trainer import Trainer, TrainingConfig


def measure_recovery(config: RecoveryConfig, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Draw, train and measure on one thread; save the SAEs to `output`. A step's function; returns its result.

    Measured on the pairs that are trained on, as in the paper.
    """
    with one_thread():
        pairs = generate(config.data, config.seed)
        started = time.perf_counter()
        saes = train_saes(config, pairs)
        seconds = time.perf_counter() - started
        for name, sae in saes.items():
            sae.save(output / name)
        return {
            "saes": {number_text(sae.config.beta): measure(sae, pairs) for sae in saes.values()},
            "ideals": {
                name: {"bimodal_energy": truth.bimodal_energy, "recovery": recoveries(truth, pairs.truths)}
                for name, truth in pairs.truths.items()
            },
            "unreached_pairs": pairs.unreached,
            "training_seconds": seconds,
        }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: seeds run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_saes(config: RecoveryConfig, pairs: SyntheticPairs) -> dict[str, SparseAutoencoder]:
    """Train an SAE for each β, all from one initialisation and on the same batches; by name."""
    trainer = recovery_trainer(config, pairs)
    trainer.run(None)
    return {name: sae.dictionaries[0].eval() for name, sae in zip(trainer.group.names, trainer.group.saes, strict=True)}


def recovery_trainer(config: RecoveryConfig, pairs: SyntheticPairs) -> Trainer:
    """Return the training of an experiment before its first step; it reports after each epoch."""
    images, texts = (part.astype("f4") for part in (pairs.images, pairs.texts))
    batches = PairBatches.of_arrays(images, texts, config.batch_pairs, config.seed)
    training = TrainingConfig(
        beta=config.betas,
        k=config.k,
        epochs=config.epochs,
        batch_pairs=config.batch_pairs,
        learning_rate=config.learning_rate,
        seed=config.seed,
        atoms=config.atoms,
        atom_norm=config.atom_norm,
        sparse_encoder=config.sparse_encoder,
        alignment=config.alignment,
        log_every=batches.steps,
        checkpoint_every=config.epochs * batches.steps,
    )
    return Trainer(training, batches, config.data.dim)


@torch.no_grad()
def measure(sae: SparseAutoencoder, pairs: SyntheticPairs) -> dict[str, Any]:
    """Return what an SAE makes of the pairs: reconstruction, energies by class, collapse, recovery of each truth."""
    images, texts = (torch.from_numpy(part).float() for part in (pairs.images, pairs.texts))
    codes, sums = [], []
    for rows in (images, texts):
        codes.append(sae.encode(rows))
        part = ReconstructionSums.zeros(sae.config.dim)
        part.update(rows, codes[-1].residual)
        sums.append(part)
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    statistics.update(*codes)
    dictionary = sae.dictionary.double().numpy()
    classes = statistics.classes()
    learned = Concepts(dictionary, *(merged_code_matrix(part, sae.config.atoms) for part in codes))
    image_instances, text_instances = (
        pairs.instances.dictionary[pairs.instances.where(f"{modality} instance")] for modality in MODALITIES
    )
    return {
        "r2": r2_paper(*sums),
        "bimodal_energy": statistics.energy_share(classes.bimodal),
        "bimodal_atoms": int(classes.bimodal.sum()),
        "dead_atoms": int(classes.dead.sum()),
        "p_acc": probing_accuracy(pairs.images, pairs.texts, dictionary, statistics),
        "collapse_rate": collapse_rate(image_instances, text_instances, dictionary[~classes.dead]),
        "recovery": recoveries(learned, pairs.truths),
    }
