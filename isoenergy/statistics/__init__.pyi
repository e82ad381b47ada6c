from .concept_statistics import AtomClasses as AtomClasses
from .concept_statistics import ConceptStatistics as ConceptStatistics
from .concept_statistics import ModalityStatistics as ModalityStatistics
from .concept_statistics import classes_of_scores as classes_of_scores
from .concept_statistics import code_matrix as code_matrix
from .concept_statistics import merged_code_matrix as merged_code_matrix
from .concept_statistics import modality_score as modality_score
from .thresholds import EPSILON as EPSILON
