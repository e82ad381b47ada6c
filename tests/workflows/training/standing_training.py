"""`python -m tests.workflows.training.standing_training STORE OUTPUT FILE`: a training that waits to be killed.

On two workers; at a known step it writes FILE and stands still.
"""

import sys
import time
from pathlib import Path

from isoenergy.training.trainer import TrainingConfig
from tests.workflows.training.ended_training import EndedAt
from workflows import train
from workflows.train import TrainConfig
from workflows.training.ray_training import RayTraining
from workflows.training.training_placement import Workers

TRAINING = TrainingConfig(
    beta=(0.0, 1e-3), expansion=2, k=4, epochs=4, batch_pairs=60, learning_rate=5e-3, checkpoint_every=4, log_every=1
)
"""Of 16 steps with `STORE`'s 300 pairs."""
STANDS_AT = 10
"""Between two checkpoints."""


def config_of(store: str, output: str) -> TrainConfig:
    return TrainConfig(store=store, output=output, workers=Workers(2, 2), training=TRAINING)


def stand_still() -> None:
    time.sleep(3600)


def main(store: str, output: str, file: str) -> None:
    train.run(config_of(store, output), engine=EndedAt(RayTraining(), STANDS_AT, stand_still, Path(file)))


if __name__ == "__main__":
    from tests.workflows.training import standing_training

    standing_training.main(*sys.argv[1:])
