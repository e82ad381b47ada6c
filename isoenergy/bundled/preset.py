"""The demo's SAEs: settings that show the phenomenon on the bundled pairs in well under a minute on two cores."""

from isoenergy.training.training_config import TrainingConfig

DEMO_TRAINING = TrainingConfig(beta=(0.0, 2.5e-3), expansion=2, k=8, epochs=15, batch_pairs=256, learning_rate=1e-3)
