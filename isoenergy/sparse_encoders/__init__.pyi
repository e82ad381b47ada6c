from .batch_top_k import BatchTopK as BatchTopK
from .jump_relu import JumpReLU as JumpReLU
from .matching_pursuit import MatchingPursuit as MatchingPursuit
from .relu import ReLU as ReLU
from .sparse_encoder import EncoderModule as EncoderModule
from .sparse_encoder import SparseEncoder as SparseEncoder
from .top_k import TopK as TopK
