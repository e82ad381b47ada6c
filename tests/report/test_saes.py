from isoenergy.report.saes import labels, nulls_of, real_saes, sae_label
from tests.report.evaluations import sae


def test_a_null_is_called_one() -> None:
    assert sae_label(sae(beta=0.0)) == "SAE (β = 0)"
    assert sae_label(sae(beta=0.5)) == "SAE-A (β = 0.5)"
    assert sae_label(sae(beta=0.5, null=True)) == "null of SAE-A (β = 0.5)"


def test_an_sae_of_another_library_has_no_beta() -> None:
    theirs = [sae(beta=0.0) | {"name": f"saelens-{name}-1a2b3c"} for name in ("mp-64", "mp-128")]
    assert sae_label(theirs[0]) == "SAE of saelens"
    assert labels([sae(), *theirs])["saelens-mp-128-1a2b3c"] == "SAE of saelens, saelens-mp-128-1a2b3c"


def test_a_null_belongs_to_the_sae_of_its_configuration_alone() -> None:
    real, null = sae(), sae(null=True)
    others = [sae(null=True, atoms=9), sae(null=True, beta=0.5), sae(null=True, sparse_encoder={"name": "top-k"})]
    everything = [*others, real, null]
    assert nulls_of(real, everything) == [null]
    assert nulls_of(sae(beta=0.5), everything) == [others[1]]
    assert real_saes(everything) == [real]


def test_saes_that_share_a_label_are_told_apart_by_name() -> None:
    seeds = [sae() | {"name": f"beta-0.001-seed-{seed}"} for seed in (0, 1)]
    found = labels([*seeds, sae(null=True) | {"name": "null-beta-0.001"}])
    assert found["beta-0.001-seed-1"] == "SAE-A (β = 0.001), beta-0.001-seed-1"
    assert found["null-beta-0.001"] == "null of SAE-A (β = 0.001)"


def test_repeats_are_called_as_their_first_is() -> None:
    first = sae() | {"name": "beta-0.001-seed-0", "repeats": [{"name": "beta-0.001-seed-1", "results": {}}]}
    found = labels([first])
    assert found["beta-0.001-seed-0"] == "SAE-A (β = 0.001)"
    assert found["beta-0.001-seed-1"] == "SAE-A (β = 0.001), another seed"
