"""A search that takes seconds."""

from isoenergy.training.trainer import TrainingConfig
from tune.search_config import SearchConfig
from tune.space import Dimension, SearchSpace

SPACE = SearchSpace(
    beta=Dimension(1e-4, 1e-2),
    expansion=Dimension(values=(2.0, 4.0)),
    k=Dimension(values=(3.0, 5.0)),
    learning_rate=Dimension(values=(5e-3,)),
    batch_pairs=Dimension(values=(64.0,)),
)
SEARCH = SearchConfig(
    passes=4, betas=2, space=SPACE, training=TrainingConfig(epochs=6, log_every=5), concurrent=2, early_stopping=False
)
