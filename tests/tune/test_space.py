import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from isoenergy.alignments import Cosine, IsoEnergy, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.training.training_config import TrainingConfig
from tune.passes import SearchFolder
from tune.search_config import SearchConfig
from tune.space import Dimension, SearchSpace, settings_of


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("1e-5..1e-3", Dimension(1e-5, 1e-3)),
        ("4,8", Dimension(values=(4.0, 8.0))),
        ("20", Dimension(values=(20.0,))),
    ],
)
def test_a_dimension_is_read_as_it_is_written(text: str, dimension: Dimension) -> None:
    assert Dimension.parse(text) == dimension
    assert Dimension.parse(str(dimension)) == dimension


@pytest.mark.parametrize(
    "text", ["", "..", "1..", "1e-3..1e-5", "0..1", "-1,2", "4,4", "a,b", "1..nan", "inf", "1..2..3"]
)
def test_what_is_no_dimension_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match=r"LOW\.\.HIGH or A,B,C"):
        Dimension.parse(text)


def test_a_range_of_one_number_is_that_number() -> None:
    with pytest.raises(InputError):
        Dimension.parse("2..1")
    with pytest.raises(InputError, match="rise or differ"):
        Dimension.parse("2..2")
    assert Dimension.parse("2").grid(5) == (2.0,)


def test_a_grid_of_a_range_is_even_on_a_log_scale_and_keeps_its_ends() -> None:
    assert Dimension(1e-5, 1e-2).grid(4) == (1e-5, 1e-4, 1e-3, 1e-2)
    assert Dimension(1.0, 1.001).grid(9) == (1.0,)  # three digits cannot tell them apart


def test_sizes_must_be_whole_numbers_to_choose_from() -> None:
    for text in ("4..8", "1.5,2"):
        with pytest.raises(InputError, match="expansion must be whole numbers"):
            SearchSpace(expansion=Dimension.parse(text))
    with pytest.raises(InputError, match="different objectives"):
        SearchSpace(alignment=(MaskedCosine(), MaskedCosine()))
    for wrong in ((), ("none", "none"), ("mean",)):
        with pytest.raises(InputError, match="bias_atoms must be one or more of none, means"):
            SearchSpace(bias_atoms=wrong)


def test_the_grid_has_every_combination_once_with_all_betas() -> None:
    space = SearchSpace(
        beta=Dimension(1e-4, 1e-2),
        expansion=Dimension(values=(2.0, 4.0)),
        k=Dimension(values=(4.0, 8.0, 12.0)),
        learning_rate=Dimension(values=(1e-3,)),
        alignment=(MaskedCosine(), IsoEnergy()),
        bias_atoms=("none", "means"),
    )
    grid = space.grid(3)
    assert len({tuple(chosen.items()) for chosen, _ in grid}) == len(grid) == 2 * 3 * 2 * 2
    assert all(betas == (1e-4, 1e-3, 1e-2) for _, betas in grid)


def test_a_pass_takes_what_was_chosen_and_keeps_the_rest() -> None:
    base = TrainingConfig(epochs=7, seeds=2, atoms=99)
    numbers = {"expansion": 4.0, "k": 12.0, "learning_rate": 2e-4, "batch_pairs": 64.0}
    training = settings_of(base, {**numbers, "alignment": "cosine", "bias_atoms": "means"}, (0.0, 1e-4))
    wanted = {"expansion": 4, "k": 12, "learning_rate": 2e-4, "batch_pairs": 64, "alignment": Cosine()}
    assert training == replace(base, **wanted, bias_atoms="means", beta=(0.0, 1e-4), atoms=None)
    assert training.atoms_for(16) == 64


def test_the_first_point_is_that_of_the_preset_or_what_is_nearest_in_the_space() -> None:
    space = SearchSpace(beta=Dimension(1e-3, 1e-2), k=Dimension(values=(4.0, 30.0)))
    prior = space.prior(TrainingConfig(beta=(0.0, 4e-4)))
    assert prior["beta"] == 1e-3
    assert (prior["k"], prior["expansion"], prior["learning_rate"]) == (30.0, 8.0, 5e-4)
    for there, first in ((("none", "means"), "means"), (("none",), "none")):
        assert SearchSpace(bias_atoms=there).prior(TrainingConfig(bias_atoms="means"))["bias_atoms"] == first


def test_a_search_is_the_same_after_it_was_written_as_json(tmp_path: Path) -> None:
    config = SearchConfig(
        store="s3://b/store",
        space=SearchSpace(alignment=(MaskedCosine(), IsoEnergy()), bias_atoms=("means", "none")),
        training=TrainingConfig(epochs=3),
        objectives=("mse", "delta-r1", "p-acc"),
    )
    plan = json.loads(json.dumps(config.plan()))
    resumed = SearchConfig(resume="search", output="elsewhere", cpus=4).of_plan(plan)
    assert resumed == replace(config, resume="search", output="elsewhere", cpus=4)
    for part, name in (("space", "bias_atoms"), ("training", "bias_atoms")):  # as 0.1.0 wrote them
        del plan[part][name]
    (tmp_path / "search.json").write_text(json.dumps(plan))
    before = SearchConfig(resume="search").of_plan(SearchFolder(str(tmp_path)).plan())
    assert (before.space.bias_atoms, before.training.bias_atoms) == (("none",), "none")
    assert TrainingConfig.from_dict(json.loads(json.dumps(asdict(config.training)))) == config.training


@pytest.mark.parametrize(
    ("field", "value"),
    [("passes", 0), ("betas", 0), ("reduction", 1), ("rungs", 0), ("within", 1.0), ("gpus", -1.0), ("concurrent", 0),
     ("name", "../up"), ("objectives", ("r2",)), ("objectives", ("p-acc", "delta-r1")), ("objectives", ("r2", "r2"))],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError):
        SearchConfig(**{field: value})
