from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import pytest

from isoenergy.alignments import Alignment, GroupSparse, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.settings.variants import Variant, number_text
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, ReLU, SparseEncoder, TopK
from isoenergy.training.beta_search import AutomaticBeta, BetaRule

MEMBERS = [
    *(member() for family in (Alignment, SparseEncoder, BetaRule) for member in family.members().values()),
    JumpReLU(l0=0.123456789, threshold=1e-7, bandwidth=3.0),
    ReLU(l1=0.0),
    AutomaticBeta(tolerance=0.1, epochs=1_000_000, rounds=12),
    AutomaticBeta(epochs=1_234_567),
]


@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_a_member_is_read_again_from_its_text_and_from_its_dict(member: Variant) -> None:
    family = type(member).__mro__[1]
    assert family.parse(str(member)) == member
    assert family.from_dict(asdict(member)) == member
    assert type(family.from_dict(asdict(member))) is type(member)


def test_families_have_their_members_and_no_others() -> None:
    assert SparseEncoder.members() == {
        "matching-pursuit": MatchingPursuit,
        "relu": ReLU,
        "jump-relu": JumpReLU,
        "top-k": TopK,
        "batch-top-k": BatchTopK,
    }
    assert {"masked-cosine", "cosine", "iso-energy", "group-sparse"} == set(Alignment.members())
    assert isinstance(Alignment.parse("group-sparse"), GroupSparse)
    assert not Alignment.parse("iso-energy").needs_pairs
    assert all(Alignment.members()[name]().needs_pairs for name in ("masked-cosine", "cosine", "group-sparse"))


def test_some_settings_may_be_left_out_and_spaces_do_not_matter() -> None:
    assert SparseEncoder.parse("jump-relu") == JumpReLU()
    assert SparseEncoder.parse("jump-relu:l0=2, bandwidth=0.5") == JumpReLU(l0=2.0, bandwidth=0.5)
    assert BetaRule.parse("auto:always-on=0.5") == AutomaticBeta(always_on=0.5)
    assert isinstance(SparseEncoder.parse("relu:l1=1").l1, float)


def test_a_setting_is_written_as_a_command_line_has_it() -> None:
    assert str(MaskedCosine()) == "masked-cosine"
    assert str(replace(JumpReLU(), l0=1e-5)) == "jump-relu:l0=1e-05,threshold=0.05,bandwidth=0.05"
    assert AutomaticBeta.written() == "auto:tolerance=0.03,always-on=0.01,epochs=1,rounds=3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soft-relu", r"no sparse encoder 'soft-relu'; expected one of .*matching-pursuit.*relu:l1=0\.1"),
        ("", "no sparse encoder ''"),
        ("relu:l2=1", r"sparse encoder relu has no l2; it is written relu:l1=0\.1"),
        ("relu:name=top-k", "sparse encoder relu has no name to be set"),
        ("relu:l1=much", r"sparse encoder relu is written relu:l1=0\.1 \(could not convert"),
        ("relu:l1", r"sparse encoder relu is written relu:l1=0\.1"),
        ("relu:l1=nan", "l1 must be 0 or more"),
        ("relu:l1=-1", "l1 must be 0 or more"),
        ("relu:l1=inf", "l1 must be 0 or more"),
        ("jump-relu:threshold=0", "threshold must be above 0"),
        ("jump-relu:bandwidth=inf", "bandwidth must be above 0"),
        ("top-k:k=3", "sparse encoder top-k has no k; it is written top-k"),
    ],
)
def test_what_is_no_encoder_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SparseEncoder.parse(text)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": None},
        {"name": "auto", "rounds": 0},
        {"name": "auto", "rounds": float("inf")},
        {"name": "auto", "tolerance": [1]},
        {"name": "auto", "tolerance": float("nan")},
    ],
)
def test_what_is_no_rule_in_a_file_is_refused(values: dict) -> None:
    with pytest.raises(InputError):
        BetaRule.from_dict(values)


def test_a_number_is_written_short_and_exactly() -> None:
    assert [number_text(value) for value in (0.0, 1e-4, 4e-4, 0.5, 20.0, 3)] == [
        "0",
        "0.0001",
        "0.0004",
        "0.5",
        "20",
        "3",
    ]
    for value in (0.1 + 0.2, 1 / 3, 1e-300, 1234567.0, 123456789, 10**6):
        assert type(value)(number_text(value)) == value


def test_a_new_member_needs_nothing_but_to_be_declared() -> None:
    class Shape(Variant):
        noun: ClassVar[str] = "shape"

    @dataclass(frozen=True)
    class Disc(Shape):
        name: str = field(default="disc", init=False)
        radius: float = 1.0

    assert Shape.parse("disc:radius=2") == Disc(2.0)
    with pytest.raises(InputError, match=r"there is no shape 'cube'; expected one of disc:radius=1"):
        Shape.parse("cube")
