from isoenergy.report.page.headline import Headline, headline
from isoenergy.report.page.verdict import NULL_COMMAND
from isoenergy.report.saes import labels
from tests.report.evaluations import NAN, interval, sae, seeds

CHANCE, ORIGINAL = 0.01, 0.6
KEPT = {"reconstructed": 0.5, "bimodal": 0.48, "centred": 0.6}
CLOSED = {"reconstructed": 0.6, "bimodal": 0.2, "centred": 0.01}


def named(name: str, one: dict, r2: float = 0.8) -> dict:
    one["results"]["intervals"]["r2"] = interval(r2)
    return {**one, "name": name}


def of(*saes: dict) -> Headline:
    found = headline(saes, labels(saes), CHANCE, ORIGINAL)
    assert found is not None
    return found


def good() -> list[dict]:
    return [
        named("plain", sae(share=0.5, beta=0.0), 0.9),
        named("aligned", sae(KEPT, CLOSED, share=0.8)),
        named("null", sae(share=0.6, null=True)),
    ]


def test_three_sentences_say_what_went_well_with_numbers() -> None:
    found = of(*good())
    assert found.label == "SAE-A (β = 0.001)"
    energy, removal, null = found.sentences
    assert energy == (
        "Bimodal atoms of SAE-A (β = 0.001) hold 80.0% [79.0%, 81.0%] of the energy at R² 0.800 [0.790, 0.810] "
        "(centred 0.700; the means alone 0.200); without alignment they hold 50.0% [49.0%, 51.0%], and "
        "alignment costs 0.100 [0.080, 0.120] of R²."
    )
    assert "closes the reconstruction's gap by 67% [64%, 69%] (difference in means 0.600 → 0.200)" in removal
    assert "keeps 96% [94%, 98%] of the reconstruction's R@10" in removal
    assert "centring the same reconstruction closes its gap by 98%" in removal
    assert "keeps 120% [118%, 122%] of the reconstruction's R@10, 100% of the original embeddings'" in removal
    assert null.startswith("Pairs that belong together add 20.0 [18.0, 22.0] points of bimodal energy")


def test_they_say_what_went_badly_as_plainly() -> None:
    bad = [
        named("plain", sae(share=0.5, beta=0.0), 0.7),
        named("aligned", sae({**KEPT, "bimodal": 0.1}, {"reconstructed": 0.2, "bimodal": 0.4}, share=0.3)),
        named("null", sae(share=0.6, null=True)),
    ]
    energy, removal, null = of(*bad).sentences
    assert "alignment gains 0.100 [0.080, 0.120] of R²" in energy
    assert "widens the reconstruction's gap by 100% [" in removal
    assert "keeps 20% [" in removal
    assert "take 30.0 [28.0, 32.0] points of bimodal energy away" in null


def test_what_the_intervals_do_not_decide_is_not_decided() -> None:
    close = [
        named("plain", sae(share=0.8, beta=0.0), 0.805),
        named("aligned", sae(KEPT, CLOSED, share=0.8)),
        named("null", sae(share=0.79, null=True)),
    ]
    energy, _, null = of(*close).sentences
    assert "costs, as far as can be told, nothing: 0.005 [−0.015, 0.025] of R²" in energy
    assert "cannot be told: +1.0 [−1.0, +3.0] points" in null


def test_what_was_not_measured_is_said() -> None:
    alone = of(named("aligned", sae(KEPT, CLOSED)))
    assert "no SAE with β = 0 is beside it" in alone.sentences[0]
    assert "was not measured" in alone.sentences[2]
    assert NULL_COMMAND in alone.sentences[2]
    assert alone.choice == ""
    plain = of(named("plain", sae(KEPT, CLOSED, beta=0.0)))
    assert plain.sentences[0].endswith("nothing asked them to align.")
    assert "β is 0" in plain.sentences[2]


def test_no_gap_and_no_retrieval_have_no_share() -> None:
    nothing = {"reconstructed": 0.0, "bimodal": 0.0, "centred": 0.0}
    assert of(named("one", sae(KEPT, nothing))).sentences[1].startswith("There is no gap")
    removal = of(named("one", sae(nothing, CLOSED))).sentences[1]
    assert removal.endswith(
        "The reconstruction retrieves no better than a random order does (R@10 0.000 [−0.010, 0.010]; by chance 0.010)."
    )
    assert "keeps" not in removal
    unknown = of(named("one", sae(dict.fromkeys(KEPT, NAN), CLOSED, share=NAN), NAN))
    assert "nan" not in " ".join(unknown.sentences)


def test_they_are_about_the_largest_beta_without_collapse() -> None:
    collapsed = named("far", sae(KEPT, CLOSED, beta=0.1))
    collapsed["results"]["always_on_energy_share"] = 0.6
    found = of(*good(), collapsed)
    assert found.sae["name"] == "aligned"
    assert "the largest β of 3 SAEs whose atoms are not always on" in found.choice
    assert of(collapsed).sae["name"] == "far"


def test_null_models_alone_have_no_headline() -> None:
    null = named("null", sae(null=True))
    assert headline([null], labels([null]), CHANCE, ORIGINAL) is None


def test_with_several_trainings_the_middle_one_is_told_with_all_that_their_intervals_reach() -> None:
    plain, aligned, null = good()
    other = sae({**KEPT, "bimodal": 0.5}, {**CLOSED, "bimodal": 0.1}, share=0.7)
    other["results"]["intervals"]["r2"] = interval(0.82)
    energy, removal, against = of(plain, seeds(aligned, other), null).sentences
    assert "75% [69%, 81%] of the energy at R² 0.810 [0.790, 0.830]" in energy
    assert "closes the reconstruction's gap by 75% [64%, 86%] (difference in means 0.600 → 0.150)" in removal
    assert "keeps 98% [94%, 102%]" in removal
    assert "of R² (median of the differences, training by training)" in energy
    assert "add 15 [8, 22] points of bimodal energy (median of the differences, training by training), a" in against
    assert "median of the differences" not in " ".join(of(plain, aligned, null).sentences)
