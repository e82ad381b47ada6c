"""Neighbours in every way to close the gap, against the rows that `isoenergy apply` would write."""

from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.applying.application import Application
from isoenergy.explorer.asked_query import Query, contributions, encoded_term, nearest, pair_term
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.gallery import Gallery
from isoenergy.explorer.way_scores import WayScores
from isoenergy.store import EmbeddingStore
from tests.explorer.small_exploration import PAIRS, arrays, make_sae, make_store

MODALITIES = ("image", "text")


def scores_of(folder: Path, **settings: object) -> WayScores:
    store = EmbeddingStore.open(str(make_store(folder)))
    gallery = Gallery.of(store, folder / "cache")
    return WayScores(gallery, CodedPairs.of("sae", make_sae(**settings), gallery, store, folder / "cache"), folder)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> WayScores:
    return scores_of(tmp_path_factory.mktemp("scores"))


def mapped_rows(scores: WayScores, way: str) -> list[np.ndarray]:
    """The unit rows of images and texts in a way, as `isoenergy apply` makes them."""
    sae = scores.coded.sae
    application = Application.fitted(
        sae, (way,), "float32", True, scores.coded.statistics, scores.gallery.moments, scores.seed
    )
    both = dict(zip(MODALITIES, (rows.astype(np.float32) for rows in arrays()), strict=True))
    columns = application(both, application.grams(PAIRS)).columns
    return [columns[f"{name}_{way}"].flatten().to_numpy().reshape(PAIRS, -1) for name in MODALITIES]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("form", ["normalised", "centred", "raw"])
def test_cosines_are_those_of_mapped_rows(tmp_path: Path, form: str, bias: bool):
    scores = scores_of(tmp_path, input=form, decoder_bias=bias)
    assert {"original", "bimodal", "centred"} < set(scores.maps)
    assert ("less_unimodal" in scores.maps) == (form != "raw")
    query = Query((pair_term(scores, 5, 1),), {})
    for way in scores.maps:
        images, texts = mapped_rows(scores, way)
        if not texts[5].any():
            continue
        mapped = scores.mapped(way, query.points(scores.coded.dictionary))
        np.testing.assert_allclose(mapped.numpy(), texts[5], atol=2e-4, err_msg=way)
        found = scores.cosines({way: torch.tensor(texts[5])})[way]
        for side, rows in enumerate((images, texts)):
            np.testing.assert_allclose(found[side], rows @ texts[5], atol=4e-4, err_msg=f"{way} {side}")


def test_an_asked_row_is_coded_as_the_pair_that_it_is(scores: WayScores):
    row = torch.from_numpy(arrays()[1][9].astype(np.float32))
    asked, pair = encoded_term(scores.coded, row, 1), pair_term(scores, 9, 1)
    torch.testing.assert_close(asked.point.unit, pair.point.unit, atol=1e-3, rtol=0)
    torch.testing.assert_close(asked.point.code, pair.point.code, atol=1e-3, rtol=0)


def test_contributions_add_up_to_what_is_rebuilt(scores: WayScores):
    listed, whole = contributions(Query((pair_term(scores, 3, 0),), {}), scores.coded)
    sae, unit = scores.coded.sae, scores.point(3, 0).unit
    codes = sae.encode(sae.prepare(unit[None], "image"))
    rebuilt = sae.decode(codes)[0]
    assert sum(row["share"] for row in listed) == pytest.approx(float(unit @ rebuilt), abs=2e-3)
    assert whole["error"] == pytest.approx(float(codes.residual[0].square().sum()), abs=2e-3)
    shares = [abs(row["share"]) for row in listed]
    assert shares == sorted(shares, reverse=True)
    assert {row["class"] for row in listed} <= {"bimodal", "image_only", "text_only"}


def test_steering_moves_the_query_along_atoms_and_nowhere_else(scores: WayScores):
    term = pair_term(scores, 3, 0)
    atom = int(term.point.code.argmax())
    added = next(number for number in range(40) if not term.point.code[number])
    steered = Query((term,), {atom: 0.0, added: 0.25})
    dictionary = scores.coded.dictionary
    expected = term.point.unit - term.point.code[atom] * dictionary[atom] + 0.25 * dictionary[added]
    ((point, factor),) = steered.points(dictionary)
    assert factor == 1
    torch.testing.assert_close(point.unit, expected)
    assert point.code[atom] == 0
    assert point.code[added] == 0.25
    listed, _ = contributions(steered, scores.coded)
    assert listed[0]["atom"] == added, "what was added is seen, though it explains nothing"
    by_atom = {row["atom"]: row for row in listed}
    assert by_atom[atom]["coefficient"] == 0 < by_atom[atom]["found"]
    assert by_atom[added]["found"] == 0
    assert by_atom[added]["coefficient"] == 0.25


def test_neighbours_change_with_the_atoms_and_come_in_order(scores: WayScores):
    term = pair_term(scores, 3, 0)
    before = nearest(Query((term,), {}), scores, ["original"], 10)["original"]
    atoms = torch.nonzero(term.point.code)[:, 0].tolist()
    after = nearest(Query((term,), dict.fromkeys(atoms, 0.0)), scores, ["original", "bimodal"], 10)
    assert before["neighbours"] != after["original"]["neighbours"]
    assert after["bimodal"] == {"neighbours": [], "mixed": None, "partner": None}, "nothing is left of it"
    cosines = [row["cosine"] for row in before["neighbours"]]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] < 0.999, "without itself"
    assert sum(before["mixed"]) == 50
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in arrays())
    cosines = texts @ images[3]
    assert before["partner"] == int((cosines > cosines[3]).sum())


def test_a_text_less_itself_leaves_nothing_and_less_another_the_difference(scores: WayScores):
    first = pair_term(scores, 3, 1)
    nothing = Query((first, pair_term(scores, 3, 1, -1.0)), {})
    assert nearest(nothing, scores, ["original"], 5)["original"]["neighbours"] == []
    less = Query((first, pair_term(scores, 4, 1, -0.5)), {}).points(scores.coded.dictionary)
    units = [scores.point(pair, 1).unit for pair in (3, 4)]
    expected = torch.nn.functional.normalize(units[0] - 0.5 * units[1], dim=0)
    torch.testing.assert_close(scores.mapped("original", less), expected)
    mean = torch.from_numpy(scores.gallery.moments.text_mean).float()
    centred = torch.nn.functional.normalize((units[0] - mean) - 0.5 * (units[1] - mean), dim=0)
    torch.testing.assert_close(scores.mapped("centred", less), centred)
