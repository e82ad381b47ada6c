"""How an autoencoder finds a row's code: Matching Pursuit, and the encoders that it is compared with.

All decode alike, by the sum of the code's atoms, with no bias; so every metric and intervention is the same for all.
"""

from isoenergy.sparse_encoders.batch_top_k import BatchTopK
from isoenergy.sparse_encoders.jump_relu import JumpReLU
from isoenergy.sparse_encoders.matching_pursuit import MatchingPursuit
from isoenergy.sparse_encoders.protocol import EncoderModule, SparseEncoder
from isoenergy.sparse_encoders.relu import ReLU
from isoenergy.sparse_encoders.top_k import TopK

__all__ = ["BatchTopK", "EncoderModule", "JumpReLU", "MatchingPursuit", "ReLU", "SparseEncoder", "TopK"]
