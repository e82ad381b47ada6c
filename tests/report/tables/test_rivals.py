import torch

from isoenergy.evaluation.embedding_variants import original_variants, sae_variants
from isoenergy.evaluation.fit import Fitted
from isoenergy.report.tables.rivals import MEASURES, VARIANTS, RivalCell, rival_sentences, rival_table
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments
from tests.report.evaluations import NAN, original, sae, seeds


def test_every_variant_of_an_evaluation_has_a_title_and_a_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(40, 10, generator=generator) for _ in range(2))
    model = SparseAutoencoder(SaeConfig(dim=10, atoms=12, k=3, beta=0.0), generator)
    statistics, moments = ConceptStatistics.zeros(12), PairMoments.zeros(10)
    moments.update(images, texts)
    with torch.no_grad():
        statistics.update(model.encode(images), model.encode(texts))
    fitted = Fitted(moments, statistics)
    variants = (*original_variants(fitted, 0).variants, *sae_variants(fitted, model, 0).variants)
    assert {variant.name for variant in variants if not variant.sweep} == set(VARIANTS)
    assert all(title and meaning for title, meaning in VARIANTS.values())


def cells(groups: list, number: int) -> list[RivalCell]:
    """The cells of a variant in a column, by group."""
    return [row.cells[number] for group in groups for row in group.rows]


def titles(groups: list, number: int, mark: str) -> list[tuple[str, str]]:
    return [(g.heading, row.title) for g in groups for row in g.rows if getattr(row.cells[number], mark)]


def test_the_winner_is_the_highest_recall_and_the_smallest_gap_and_no_control() -> None:
    of_original, of_sae = {"centred": 0.5}, {"coral": 0.6, "matched_removal": 0.9}
    gaps = {"bimodal": 0.05, "unimodal": 0.01}
    one = sae(of_sae, gaps, of_original)
    groups = rival_table(original(of_original), [one], {one["name"]: "A"})
    assert titles(groups, 0, "winner") == [("With A", "CORAL")]
    assert titles(groups, 0, "best") == [("The embeddings themselves", "centring"), ("With A", "CORAL")]
    for column in range(2, len(MEASURES)):
        assert titles(groups, column, "winner") == [("With A", "unimodal atoms removed")]
    assert groups[-1].heading == "With A: controls"
    assert [row.title for row in groups[-1].rows] == ["bimodal atoms removed", "matched atoms removed"]


def test_ways_that_leave_nothing_have_no_place_among_the_gaps() -> None:
    one = sae({"bimodal": 0.0}, {"bimodal": 0.0, "centred": 0.1})
    one["results"]["pairs"] = 10
    one["results"]["retrieval"]["bimodal"]["zero_rows"] = {"image": 10, "text": 9}
    for column in range(2, len(MEASURES)):
        groups = rival_table(original(), [one], {one["name"]: "A"})
        assert titles(groups, column, "winner") == [("With A", "centring")]
    sentences = rival_sentences(original(), one)
    assert "Difference in means: removing the unimodal atoms has no place in it: nothing is left of 19 of 20 rows." in (
        sentences
    )
    assert not any(sentence.startswith("Both a smaller") for sentence in sentences)
    one["results"]["retrieval"]["bimodal"]["zero_rows"] = {"image": 0, "text": 0}
    assert "smallest for unimodal atoms removed" in " ".join(rival_sentences(original(), one))


def test_sentences_of_several_trainings_say_that_they_are_of_the_first() -> None:
    said = "All numbers of rivals are of the first of 3 trainings. R@1 in the full gallery"
    assert rival_sentences(original(), seeds(sae(), sae(), sae()))[0].startswith(said)
    assert rival_sentences(original(), sae())[0].startswith("R@1 in the full gallery")


def test_what_is_shown_alike_wins_together() -> None:
    one = sae({"centred": 0.50001, "coral": 0.50002})
    groups = rival_table(original(), [one], {one["name"]: "A"})
    assert titles(groups, 0, "winner") == [("With A", "centring"), ("With A", "CORAL")]


def test_the_change_is_empty_for_what_it_is_measured_against() -> None:
    one = sae({"reconstructed": 0.3, "bimodal": 0.1})
    one["results"]["retrieval"]["reconstructed"]["change_r1"] = dict.fromkeys(("value", "low", "high"), 0.0)
    rows = {row.title: row for row in rival_table(original(), [one], {one["name"]: "A"})[1].rows}
    assert rows["all atoms"].change.text == ""
    assert rows["unimodal atoms removed"].change == RivalCell("−0.200", "[−0.210, −0.190]")


def test_the_sentences_say_who_wins_by_how_much_and_where_the_bimodal_atoms_stand() -> None:
    of_original = {"centred": 0.5, "coral": 0.4}
    one = sae({"bimodal": 0.3, "whitened": 0.35}, of_original=of_original)
    first = rival_sentences(original(of_original), one)[0]
    assert "centring (embeddings) wins with 0.500 [0.490, 0.510], 0.100 [0.090, 0.110] ahead of CORAL" in first
    assert "too close" not in first
    assert "number 4 of 28" in first
    assert "0.200 [0.190, 0.210] behind the winner" in first
    assert "of the ways with the same SAE whitening is best, 0.050 [0.040, 0.060] ahead of it" in first


def test_a_lead_within_its_interval_is_too_close_to_call() -> None:
    of_original = {"centred": 0.5, "coral": 0.495}
    first = rival_sentences(original(of_original), sae(of_original=of_original))[0]
    assert "centring (embeddings) comes first with 0.500" in first
    assert "too close to call a winner" in first
    assert "behind the first" in first
    assert "wins" not in first


def test_gaps_are_apart_only_if_their_intervals_are() -> None:
    for second, said in ((0.115, "too close to call"), (0.125, "apart")):
        sentences = rival_sentences(original(), sae(gap={"coral": 0.1, "centred": second}))
        assert f"next centring (rebuilt), {second:.3f}" in sentences[3]
        assert said in sentences[3]


def test_bimodal_atoms_can_win() -> None:
    sentences = rival_sentences(original(), sae({"bimodal": 0.5}, {"bimodal": 0.1}))
    assert sentences[0].startswith("R@1 in the full gallery: unimodal atoms removed (rebuilt) wins with 0.500")
    assert "behind" not in sentences[0]
    assert "smallest for unimodal atoms removed (rebuilt), 0.100" in sentences[2]
    assert "number 1 of 28" in sentences[2]
    assert sentences[-1].endswith("0 of 27 rivals.")


def test_bimodal_atoms_can_be_best_of_what_the_sae_rebuilds_and_lose_to_the_embeddings() -> None:
    of_original = {"centred": 0.9}
    first = rival_sentences(original(of_original), sae({"bimodal": 0.5, "coral": 0.4}, of_original=of_original))[0]
    assert "of the ways with the same SAE it is best, 0.100 [0.090, 0.110] ahead of CORAL" in first


def test_rivals_that_are_better_at_both_are_named() -> None:
    recall, gap = {"centred": 0.5, "coral": 0.5}, {"centred": 0.1}
    last = rival_sentences(original(recall, gap), sae(recall, gap, recall))[-1]
    assert last.endswith("2 of 27 rivals: of the embeddings centring; with the SAE centring.")


def test_recall_on_too_few_pairs_for_a_batch_is_not_measured() -> None:
    one, all_of = sae(), original()
    for measured in (one["results"], all_of):
        for name in VARIANTS:
            if name in measured["retrieval"]:
                measured["retrieval"][name]["in_batches_r1"] = dict.fromkeys(("value", "low", "high"), NAN)
    groups = rival_table(all_of, [one], {one["name"]: "A"})
    assert {(cell.text, cell.interval, cell.best, cell.winner) for cell in cells(groups, 1)} == {
        ("–", "", False, False)
    }
    assert "not measured" in rival_sentences(all_of, one)[1]


def test_what_takes_from_the_embeddings_is_not_called_rebuilt() -> None:
    first = rival_sentences(original(), sae({"less_unimodal": 0.5, "centred": 0.4}))[0]
    assert "unimodal part subtracted wins with 0.500" in first
    assert "ahead of centring (rebuilt)" in first
