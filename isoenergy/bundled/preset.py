"""The demo's SAEs: settings that show the phenomenon on the bundled pairs in well under a minute on two cores.

Chosen on the validation split over three seeds: docs/training.md has the table.
"""

from isoenergy.training.training_config import TrainingConfig

DEMO_TRAINING = TrainingConfig(
    beta=(0.0, 1e-3),
    expansion=2,
    k=16,
    bias_atoms="means",
    epochs=15,
    batch_pairs=256,
    learning_rate=1e-3,
    revival=0.3,
)
