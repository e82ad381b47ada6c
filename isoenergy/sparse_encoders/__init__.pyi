from .choices import BatchTopK as BatchTopK
from .choices import JumpReLU as JumpReLU
from .choices import MatchingPursuit as MatchingPursuit
from .choices import ReLU as ReLU
from .choices import SparseEncoder as SparseEncoder
from .choices import TopK as TopK
from .encoder_module import EncoderModule as EncoderModule
