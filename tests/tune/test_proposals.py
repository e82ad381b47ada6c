from dataclasses import replace

import pytest

from isoenergy.training.training_config import TrainingConfig
from tune.objectives import Objectives
from tune.passes import Outcome, PassRecord, Report
from tune.proposals import GridProposals, Proposals, SampledProposals
from tune.space import Dimension, SearchSpace

SPACE = SearchSpace(beta=Dimension(1e-5, 1e-2), k=Dimension(values=(4.0, 8.0, 16.0)))
BASE = TrainingConfig(beta=(0.0, 4e-4))
OBJECTIVES = Objectives(("r2", "bimodal-energy"))


def sampled(seed: int = 0, kind: str = "optuna", space: SearchSpace = SPACE, per_pass: int = 3) -> SampledProposals:
    return SampledProposals(space, BASE, OBJECTIVES, per_pass, seed, kind)  # type: ignore[arg-type]


def ended(record: PassRecord) -> PassRecord:
    """A made-up world in which k = 16 and a β near 1e-3 are best."""
    measures = {
        name: {"r2": 0.5 + 0.02 * record.training.k - 20 * abs(beta - 1e-3), "bimodal_energy": 0.4 + 20 * beta}
        for beta, names in record.saes_by_beta.items()
        for name in names
    }
    return replace(record, reports=(Report(9, 90, 1.0, measures),), outcome=Outcome("finished"))


def followed(proposals: Proposals, count: int) -> list[PassRecord]:
    found = []
    for number in range(count):
        record = proposals.propose(number)
        assert record is not None
        proposals.tell(record)
        found.append(ended(record))
        proposals.tell(found[-1])
    return found


@pytest.mark.parametrize("kind", ["optuna", "random"])
def test_proposals_lie_in_the_space_and_the_first_is_the_preset_s(kind: str) -> None:
    records = followed(sampled(kind=kind), 8)
    assert records[0].training.k == 16  # nearest to 20
    assert 4e-4 in records[0].training.betas
    for record in records:
        assert record.training.k in (4, 8, 16)
        assert record.training.expansion in (4, 8)
        assert 2e-4 <= record.training.learning_rate <= 1e-3
        assert len(record.training.betas) == 3
        assert all(1e-5 <= beta <= 1e-2 for beta in record.training.betas)
    assert len({record.id for record in records}) == 8


def test_a_search_that_was_resumed_proposes_what_it_would_have() -> None:
    whole = followed(sampled(), 7)
    resumed = sampled()
    for record in whole[:4]:
        resumed.tell(record)
    assert [resumed.propose(4)] == [replace(whole[4], reports=(), outcome=None)]


def test_another_seed_proposes_otherwise() -> None:
    assert followed(sampled(seed=1), 3)[1] != followed(sampled(seed=2), 3)[1]


def test_optuna_learns_where_random_does_not() -> None:
    def found(kind: str) -> float:
        records = followed(sampled(kind=kind), 24)
        return sum(record.training.k == 16 for record in records[12:]) / 12

    assert found("optuna") > found("random")


def test_passes_that_run_failed_or_diverged_do_not_stop_the_search() -> None:
    proposals = sampled()
    for number in range(6):
        record = proposals.propose(number)
        assert record is not None
        if number % 3 == 1:
            record = replace(record, outcome=Outcome("failed", "out of memory"))
        elif number % 3 == 2:
            partly = ended(record)
            names = list(partly.reports[0].measures)
            left = {name: partly.reports[0].measures[name] for name in names[1:]}
            record = replace(partly, reports=(replace(partly.reports[0], measures=left),), diverged={names[0]: "NaN"})
        proposals.tell(record)
    assert proposals.propose(6) is not None


def test_fewer_values_of_beta_than_a_pass_has_are_all_taken() -> None:
    space = replace(SPACE, beta=Dimension(values=(1e-4, 1e-3)))
    for record in followed(sampled(space=space, per_pass=4), 4):
        assert record.training.betas == (1e-4, 1e-3)


def test_a_grid_ends() -> None:
    space = replace(SPACE, learning_rate=Dimension(values=(1e-3,)))
    proposals = GridProposals(space, BASE, points=3, seed=0)
    assert len(proposals) == 2 * 3
    assert len({str(proposals.propose(number)) for number in range(6)}) == 6
    assert proposals.propose(6) is None
