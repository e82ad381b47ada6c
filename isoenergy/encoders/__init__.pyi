from .dual_encoder import DualEncoder as DualEncoder
from .dual_encoder import Precision as Precision
from .dual_encoder import Preprocessor as Preprocessor
from .loading import load_encoder as load_encoder
from .loading import load_encoders as load_encoders
from .loading import load_preprocessor as load_preprocessor
from .precision import CosineToFloat32 as CosineToFloat32
from .precision import cosine_to_float32 as cosine_to_float32
