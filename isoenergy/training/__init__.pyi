from .trainer import DivergedError as DivergedError
from .trainer import Report as Report
from .trainer import SaveCheckpoint as SaveCheckpoint
from .trainer import Trainer as Trainer
from .training_config import TrainingConfig as TrainingConfig
from .training_config import sae_name as sae_name
from .training_metrics import Metrics as Metrics
