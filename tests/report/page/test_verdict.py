import pytest

from isoenergy.report.page.verdict import NULL_COMMAND, Finding, above, below, verdict
from tests.report.evaluations import NAN, interval, sae, seeds

GOOD = {"reconstructed": 0.5, "bimodal": 0.5, "unimodal": 0.01, "centred": 0.4}
CLOSED = {"reconstructed": 0.6, "bimodal": 0.02}


def states(findings: list[Finding]) -> str:
    return "".join(finding.mark for finding in findings)


@pytest.mark.parametrize(
    ("value", "half", "state"),
    [(0.6, 0.05, "holds"), (0.6, 0.2, "undecided"), (0.4, 0.05, "fails"), (NAN, 1, "undecided")],
)
def test_a_number_is_above_only_with_its_whole_interval(value: float, half: float, state: str) -> None:
    assert above(interval(value, half), 0.5) == state
    opposite = {"holds": "fails", "fails": "holds", "undecided": "undecided"}[state]
    assert below(interval(value, half), 0.5) == opposite


def test_all_holds_where_every_interval_says_so() -> None:
    real, null = sae(GOOD, CLOSED), sae(share=0.3, null=True)
    assert states(verdict(real, [real, null], 0.0, 0.5)) == "✓✓✓✓✓✓"


def test_all_fails_where_every_interval_says_so() -> None:
    recall = {"reconstructed": 0.5, "bimodal": 0.2, "unimodal": 0.4, "centred": 0.4}
    real, null = sae(recall, {"reconstructed": 0.2, "bimodal": 0.6}, share=0.3), sae(share=0.8, null=True)
    real["results"]["always_on_energy_share"] = 0.5
    findings = verdict(real, [null, real], 0.0, 0.5)
    assert states(findings) == "✗✗✗✗✗✗"
    assert findings[0].text.startswith("Removing the unimodal atoms widens the reconstruction's gap by 200% [")


def test_nothing_is_decided_where_the_intervals_have_both_sides() -> None:
    recall = {"reconstructed": 0.1, "bimodal": 0.09, "unimodal": 0.01, "centred": 0.095}
    real, null = sae(recall, {"reconstructed": 0.4, "bimodal": 0.04}), sae(share=0.79, null=True)
    assert states(verdict(real, [real, null], 0.0, 0.5)) == "???✓??"


def test_the_difference_to_centring_is_signed_from_the_side_of_the_bimodal_atoms() -> None:
    text = verdict(sae({"bimodal": 0.1, "centred": 0.4}), [], 0.0, 0.5)[4].text
    assert "loses to centring" in text
    assert "−0.300 [−0.310, −0.290]" in text


def test_the_gap_that_is_closed_has_the_interval_of_its_draws() -> None:
    one = sae(gap={"reconstructed": 0.5, "bimodal": 0.2})
    one["results"]["geometry"]["bimodal"]["gap_closed_interval"] = interval(0.6, 0.01)
    found = verdict(one, [], 0.0, 0.5)[0]
    assert "closes the reconstruction's gap by 60% [59%, 61%]" in found.text
    assert "Asked: above 90%" in found.text
    assert found.state == "fails"


def test_a_gap_is_not_closed_by_rows_of_which_nothing_is_left() -> None:
    one, other = sae(gap=CLOSED), sae(gap=CLOSED)
    for each, zeros in ((one, 151), (other, 150)):
        each["results"]["pairs"] = 150
        each["results"]["retrieval"]["bimodal"]["zero_rows"] = {"image": zeros, "text": 0}
    finding = verdict(one, [], 0.0, 0.5)[0]
    assert finding.mark == "?"
    assert "nothing is left of 151 of 300 rows" in finding.text
    assert "nothing is left of 151 of 300 rows" in finding.claim
    assert verdict(other, [], 0.0, 0.5)[0].mark == "✓"
    both = verdict(seeds(other, one), [], 0.0, 0.5)[0]
    assert both.mark == "≠"
    assert "nothing is left of 151 of 300 rows in 1 of 2 trainings" in both.text


def test_without_a_unimodal_atom_nothing_is_kept_or_lost_without_them() -> None:
    none, some = sae(GOOD, CLOSED), sae(GOOD, CLOSED)
    none["results"] |= {"image_only_atoms": 0, "text_only_atoms": 0}
    some["results"] |= {"image_only_atoms": 0, "text_only_atoms": 1}
    (_, finding, always_on, *_) = verdict(none, [], 0.0, 0.5)
    assert finding.mark == "?"
    assert finding.claim == "no atom is unimodal: there is none to do without"
    assert "always on" in always_on.text
    assert states(verdict(some, [], 0.0, 0.5)[1:3]) == "✓✓"
    assert states(verdict(seeds(some, none), [], 0.0, 0.5)[1:3]) == "≠≠"


def test_a_bound_that_is_just_above_what_is_asked_reads_as_above_it() -> None:
    one = sae(gap={"reconstructed": 0.5, "bimodal": 0.04})
    one["results"]["geometry"]["bimodal"]["gap_closed_interval"] = {"value": 0.905, "low": 0.903, "high": 0.999}
    found = verdict(one, [], 0.0, 0.5)[0]
    assert found.state == "holds"
    assert (
        found.claim
        == "removing the unimodal atoms closes the reconstruction's gap by 90.5% [90.3%, 99.9%] (asked: above 90%)"
    )


@pytest.mark.parametrize(("share", "mark"), [(0.95, "✓"), (0.9, "?"), (0.5, "✗")])
def test_bimodal_atoms_are_asked_whether_their_sides_agree(share: float, mark: str) -> None:
    one = sae()
    one["results"]["agreement"] = {
        "bimodal_energy_share": interval(share),
        "shuffled_pairs": 0.002,
        "correlation": interval(0.4),
    }
    found = verdict(one, [], 0.0, 0.5)[5]
    assert found.mark == mark
    assert f"{share:.1%} [" in found.text
    assert "In the fitted pairs shuffled the same test finds 0.2%" in found.text
    assert "0.40 [0.39, 0.41]" in found.text


@pytest.mark.parametrize(
    ("measured", "fitted", "mark"),
    [(0.94, 0.98, "✓"), (0.7, 0.98, "?"), (0.9, 0.98, "?"), (0.7, 0.8, "✗"), (0.94, 0.8, "✓")],
)
def test_agreement_is_decided_by_the_measured_pairs_and_says_so(measured: float, fitted: float, mark: str) -> None:
    """Fewer pairs find fewer atoms that agree: where more find enough, that is no finding."""
    one = sae()
    one["results"]["agreement"] = {
        "measured_pairs": interval(measured),
        "bimodal_energy_share": interval(fitted, 0.002),
        "shuffled_pairs": 0.0,
        "correlation": interval(0.4),
    }
    found = verdict(one, [], 0.0, 0.5)[5]
    assert found.mark == mark
    assert found.claim.startswith(f"{measured:.1%} [")
    assert f"] of the bimodal energy agrees in the measured pairs, {fitted:.1%} [" in found.claim
    assert "] in the fitted ones (asked: above 90%)" in found.claim


@pytest.mark.parametrize(("share", "mark"), [(1.0, "?"), (0.5, "✗")])
def test_agreement_that_is_found_in_shuffled_pairs_too_shows_nothing(share: float, mark: str) -> None:
    one = sae()
    one["results"]["agreement"] = {
        "bimodal_energy_share": interval(share),
        "shuffled_pairs": 1.0,
        "correlation": interval(0.4),
    }
    found = verdict(one, [], 0.0, 0.5)[5]
    assert found.mark == mark
    assert "shuffled the same test finds 100.0%" in found.text
    assert "it decides nothing" in found.text
    assert found.claim.endswith("(asked: above 90%), and 100.0% in shuffled ones")


@pytest.mark.parametrize(
    ("there", "said"), [(0.9, "no difference beyond the intervals"), (0.8, "higher than there"), (1.0, "lower")]
)
def test_p_acc_is_told_from_the_null_s_only_beyond_the_intervals(there: float, said: str) -> None:
    real, null = sae(), sae(null=True)
    null["results"]["geometry"]["p_acc_interval"] = interval(there)
    assert said in verdict(real, [real, null], 0.0, 0.5)[-1].text


def test_retrieval_at_chance_is_said_and_decides_nothing() -> None:
    real = sae({"reconstructed": 0.05, "bimodal": 0.05, "unimodal": 0.05, "centred": 0.05}, CLOSED)
    findings = verdict(real, [], 0.045, 0.5)
    assert states(findings)[1] == "?"
    assert "no better than a random order does (R@10 0.050 [0.040, 0.060]; by chance 0.045)" in findings[1].text
    kept = verdict(real, [], 0.039, 0.5)[1]
    assert "keep 100%" in kept.text
    assert "of 0.050, 10% of the original embeddings'" in kept.text


def test_a_reconstruction_that_retrieves_nothing_or_has_no_gap_decides_nothing() -> None:
    findings = verdict(sae(dict.fromkeys(GOOD, 0.0), {"reconstructed": 0.0, "bimodal": 0.0}), [], 0.0, 0.5)
    assert states(findings) == "??✓??"
    assert "nan" not in " ".join(finding.text for finding in findings)


def test_a_null_that_was_not_measured_is_asked_for() -> None:
    real, other = sae(), sae(beta=0.5, null=True)
    finding = verdict(real, [real, other], 0.0, 0.5)[-1]
    assert finding.state == "undecided"
    assert "was not measured" in finding.text
    assert NULL_COMMAND in finding.text


def test_of_several_nulls_the_strictest_counts() -> None:
    real = sae(share=0.8)
    nulls = [sae(share=share, null=True) for share in (0.1, 0.9, 0.2)]
    finding = verdict(real, [real, *nulls], 0.0, 0.5)[-1]
    assert finding.state == "fails"
    assert "90.0% [89.0%, 91.0%]" in finding.text


def test_an_sae_that_never_looks_at_pairs_needs_no_null() -> None:
    plain = sae(beta=0.0)
    assert len(verdict(plain, [plain], 0.0, 0.5)) == 5


def test_a_sign_says_whether_all_trainings_agree() -> None:
    agreeing = seeds(sae(GOOD, CLOSED), sae(GOOD, {**CLOSED, "bimodal": 0.03}), sae(GOOD, CLOSED))
    assert states(verdict(agreeing, [agreeing], 0.0, 0.5))[:5] == "✓✓✓✓✓"
    other = {"reconstructed": 0.5, "bimodal": 0.4, "unimodal": 0.2, "centred": 0.5}
    differing = seeds(sae(GOOD, CLOSED), sae(GOOD, CLOSED), sae(other, {"reconstructed": 0.6, "bimodal": 0.3}))
    differing["repeats"][1]["results"]["always_on_energy_share"] = 0.5
    findings = verdict(differing, [differing], 0.0, 0.5)
    assert states(findings)[:5] == "≠≠≠≠≠"
    assert "closes the reconstruction's gap by 97% [48%, 99%]" in findings[0].text
    assert "keep 100% [78%, 102%]" in findings[1].text
    assert "trainings differ in whether removing the unimodal atoms beats centring" in findings[4].text


def test_each_finding_is_told_on_one_line_too() -> None:
    real, null = sae(GOOD, CLOSED), sae(share=0.3, null=True)
    claims = [finding.claim for finding in verdict(real, [real, null], 0.0, 0.5)]
    assert (
        claims[0] == "removing the unimodal atoms closes the reconstruction's gap by 97% [94%, 99%] (asked: above 90%)"
    )
    assert (
        claims[-1] == "pairs that belong together add bimodal energy: +50.0 [+48.0, +52.0] points over the null model"
    )
    assert max(map(len, claims)) <= 100


def test_a_training_that_retrieves_at_chance_agrees_with_none() -> None:
    nothing = dict.fromkeys(GOOD, 0.01)
    assert states(verdict(seeds(sae(GOOD, CLOSED), sae(nothing, CLOSED)), [], 0.02, 0.5))[1] == "≠"


def test_what_the_reconstruction_retrieves_is_of_the_same_trainings_as_what_is_kept() -> None:
    several = seeds(sae({"reconstructed": 0.5}), sae({"reconstructed": 0.6}), sae({"reconstructed": 0.7}))
    assert "of 0.600," in verdict(several, [], 0.0, 0.5)[1].text


def test_a_first_training_that_retrieves_at_chance_does_not_decide_for_the_others() -> None:
    several = seeds(sae(dict.fromkeys(GOOD, 0.01), CLOSED), sae(GOOD, CLOSED))
    assert states(verdict(several, [], 0.02, 0.5))[1] == "≠"


def test_trainings_without_a_null_of_their_seed_are_said_to_be_set_against_another() -> None:
    real, null = seeds(sae(share=0.8), sae(share=0.81), sae(share=0.8)), sae(share=0.3, null=True)
    said = "(2 of 3 trainings are set against one of another seed: theirs is not beside it)"
    assert said in verdict(real, [real, null], 0.0, 0.5)[-1].text
    nulls = seeds(null, null, null)
    assert "another seed" not in verdict(real, [real, nulls], 0.0, 0.5)[-1].text


def test_trainings_are_set_against_the_null_of_their_seed_in_the_same_draws() -> None:
    real, null = seeds(sae(share=0.8), sae(share=0.81)), {**sae(share=0.795, null=True), "name": "null"}
    assert verdict(real, [real, null], 0.0, 0.5)[-1].mark == "?"
    draws = {"r2": interval(-0.01, 0.001), "bimodal_energy_share": interval(0.005, 0.001), "p_acc": interval(0, 0.001)}
    for results in (real["results"], real["repeats"][0]["results"]):
        results["against"] = {"null": draws}
    finding = verdict(real, [real, null], 0.0, 0.5)[-1]
    assert finding.mark == "✓"
    assert "80.5% [79.0%, 82.0%]" in finding.text
    assert "at equal R²" in finding.text
    assert "which shows nothing" in finding.text
    real["repeats"][0]["results"]["against"] = {"null": {**draws, "bimodal_energy_share": interval(-0.005, 0.001)}}
    assert verdict(real, [real, null], 0.0, 0.5)[-1].mark == "≠"
