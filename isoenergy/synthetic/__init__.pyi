from .experiment_config import SyntheticConfig as SyntheticConfig
from .generator import GroundTruth as GroundTruth
from .generator import SyntheticPairs as SyntheticPairs
from .generator import generate as generate
