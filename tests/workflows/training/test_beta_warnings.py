"""Each alignment has its own scale of β: what is beyond it is told before a training is spent on it."""

import pytest

from isoenergy.alignments import Alignment, Cosine, GroupSparse, IsoEnergy, MaskedCosine
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.training_config import Beta, TrainingConfig
from workflows.training.training_plan import beta_warnings

WIDTH, K = 256, 8


@pytest.mark.parametrize(
    ("alignment", "beta", "told"),
    [
        (GroupSparse(), (0.0, 1e-4, 1e-3), "beta 0.001 is a lot for group-sparse"),
        (GroupSparse(), (0.0, 5e-4), ""),
        (MaskedCosine(), (0.0, 2.5e-3), ""),
        (Cosine(), (0.0, 5e-3, 0.25), "beta 0.005, 0.25 is a lot for cosine"),
        (IsoEnergy(), (1e-2,), "from about 0.0039 on"),
        (GroupSparse(), AutomaticBeta(), ""),
    ],
)
def test_a_beta_beyond_its_alignment_s_scale_is_told(alignment: Alignment, beta: Beta, told: str) -> None:
    found = beta_warnings(TrainingConfig(beta=beta, alignment=alignment, k=K), {"image": WIDTH, "text": WIDTH})
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_rows_that_are_not_brought_to_norm_one_have_no_such_scale() -> None:
    assert beta_warnings(TrainingConfig(beta=(9.0,), input="raw"), {"image": WIDTH, "text": WIDTH}) == []
