"""Lists, pages, labels and comparisons of atoms, against plain computations."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.explorer import atom_page
from isoenergy.explorer.atom_entries import AtomEntries
from isoenergy.explorer.atom_labels import atom_labels, words_of
from isoenergy.explorer.atom_list import AtomChoice, AtomList
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.compared_dictionaries import compared
from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.gallery import Gallery
from isoenergy.explorer.serving import open_exploration
from isoenergy.metrics.agreement import agreement
from isoenergy.metrics.bridges import BridgeThresholds, sigma_bridge
from isoenergy.metrics.partners import strongest_partners
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import shifted_pairs, write_pairs
from tests.explorer.small_exploration import ATOMS, DIM, PAIRS, KnowingEncoder, arrays, explored, make_sae, make_store


@pytest.fixture(scope="module")
def exploration(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    return explored(tmp_path_factory.mktemp("explored"))


def codes_of(exploration: Exploration, rows: slice = slice(None)) -> list:
    sae = exploration.coded[0].sae
    both = zip(arrays(), sae.config.modalities, strict=True)
    return [sae.encode(sae.prepare(torch.from_numpy(x[rows].astype(np.float32)), name)) for x, name in both]


def test_a_first_start_tells_how_far_it_is_and_a_second_reads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    explored(tmp_path)
    said = capsys.readouterr().err
    for step in ("1/4 read the store", "2/4 encode by first", "3/4 encode by second"):
        assert f"{step}:   0%|" in said
    assert said.count(f"{PAIRS}/{PAIRS}") >= 3
    saes = {"first": make_sae(0), "second": make_sae(1, beta=1e-3)}
    open_exploration(saes, EmbeddingStore.open(str(tmp_path / "store")), tmp_path / "output")
    again = capsys.readouterr().err
    assert "read the store" not in again
    assert "encode by" not in again


def test_entries_are_the_codes_by_atom():
    indices = np.array([[0, 2, 0], [2, 1, 0], [1, 2, 0]], np.int32)
    values = np.array([[0.5, 0.2, 0.0], [0.9, -0.1, 0.0], [0.4, 0.3, 0.7]], np.float32)
    entries = AtomEntries.of(indices, values, 4)
    assert [[part.tolist() for part in entries[atom]] for atom in range(4)] == [
        [[2, 0], pytest.approx([0.7, 0.5])],
        [[2, 1], pytest.approx([0.4, -0.1])],
        [[1, 2, 0], pytest.approx([0.9, 0.3, 0.2])],
        [[], []],
    ]
    assert [part.tolist() for part in entries.tops(1)[:2]] == [[0, 1, 2], [2, 2, 1]]


def test_what_is_known_of_atoms_is_of_the_train_split(exploration: Exploration):
    statistics, together = ConceptStatistics.zeros(ATOMS), PairAgreement.zeros(ATOMS)
    statistics.update(*codes_of(exploration, slice(100)))
    together.update(*codes_of(exploration, slice(100)))
    atoms = exploration.coded[0].atoms.to_pydict()
    np.testing.assert_allclose(atoms["energy"], statistics.energy, rtol=1e-5)
    expected = np.nan_to_num(agreement(together).correlation, nan=-2)
    np.testing.assert_allclose([-2 if each is None else each for each in atoms["correlation"]], expected, atol=1e-6)
    assert exploration.about()["fitted"] == {"pairs": 100, "which": "the train split"}


def test_captions_of_one_image_are_not_pairs_enough_to_agree(tmp_path: Path):
    images, texts = (np.repeat(rows[:15], 40, axis=0) for rows in shifted_pairs(15, DIM, noise=0.5))
    others = images + 1e-3 * np.random.default_rng(0).normal(size=images.shape)
    agreeing = []
    for name, rows in (("together", images), ("apart", others)):
        store = EmbeddingStore.open(str(write_pairs(tmp_path / name, rows, texts, train=600)))
        folder = tmp_path / f"{name}-cache"
        coded = CodedPairs.of("sae", make_sae(), Gallery.of(store, folder), store, folder)
        agreeing.append(sum(coded.atoms["agrees"].to_pylist()))
    assert agreeing[0] == 0
    assert agreeing[1] > 0


def test_partners_are_those_of_the_bridge_of_all_pairs(exploration: Exploration):
    statistics = ConceptStatistics.zeros(ATOMS)
    statistics.update(*codes_of(exploration))
    coded = exploration.coded[0]
    bridge = sigma_bridge(statistics, coded.dictionary.numpy(), BridgeThresholds(gram=0.0, cross=0.0))
    expected = strongest_partners(bridge, 6)
    for atom in (0, 11, 30):
        own = expected.atoms == atom
        found = atom_page.partners(coded, atom, 6)
        assert [row["atom"] for row in found] == expected.partners[own].tolist()
        np.testing.assert_allclose([row["weight"] for row in found], expected.weights[own], rtol=1e-4)
        assert [row["side"] == 0 for row in found] == expected.atom_is_image[own].tolist()


def test_examples_go_from_the_strongest_to_the_weakest_and_none_stands_twice(exploration: Exploration):
    coded = exploration.coded[0]
    for side, entries in enumerate(coded.entries):
        atom = int(entries.fires.argmax())
        assert entries.fires[atom] > 40
        bands = [band for band in atom_page.examples(coded, atom) if band["side"] == side]
        assert [band["band"] for band in bands] == [name for name, _ in atom_page.BANDS]
        shown = [each for band in bands for each in band["examples"]]
        assert len({each["pair"] for each in shown}) == len(shown)
        sizes = [each["value"] for each in shown]
        assert sizes == sorted(sizes, reverse=True)
        dense = coded.codes[side].to_dense(ATOMS)[:, atom]
        assert all(float(dense[each["pair"]]) == pytest.approx(each["value"]) for each in shown)
        drawn = atom_page.histogram(coded, atom)
        assert sum(drawn["counts"][side]) == entries.fires[atom]


def test_similar_atoms_are_those_of_the_largest_cosine(exploration: Exploration):
    coded = exploration.coded[0]
    cosines = (coded.dictionary @ coded.dictionary[3]).numpy()
    found = atom_page.similar(coded, 3)
    others = [atom for atom in np.argsort(-cosines) if atom != 3 and coded.live[atom]]
    assert [row["atom"] for row in found] == others[:8]


def test_an_atom_that_is_not_there_is_named(exploration: Exploration):
    with pytest.raises(InputError, match="first has atoms 0 to 39, and none of number 40"):
        exploration.atom("first", 40)
    with pytest.raises(InputError, match="no autoencoder 'third'; there are first, second"):
        exploration.atom("third", 0)


@pytest.mark.parametrize("sort", ["energy", "modality_score", "frequency", "atom"])
@pytest.mark.parametrize("falling", [True, False])
def test_atoms_are_sorted(exploration: Exploration, sort: str, falling: bool):
    found = AtomList(exploration.coded[0], exploration.gallery).chosen(AtomChoice(sort=sort, falling=falling))
    values = np.array(exploration.coded[0].atoms[sort].to_pylist(), float)[found]
    assert len(found) > 30
    assert (np.diff(values) <= 0).all() if falling else (np.diff(values) >= 0).all()


def test_the_default_order_is_by_agreement_with_the_unknown_last(exploration: Exploration):
    found = exploration.atoms("first", AtomChoice(), 0, 100)["rows"]
    lows = [row["correlation_low"] for row in found]
    known = [low for low in lows if low is not None]
    assert known == sorted(known, reverse=True)
    assert lows[: len(known)] == known


def test_atoms_are_filtered_by_class_agreement_and_note(exploration: Exploration):
    atoms = AtomList(exploration.coded[0], exploration.gallery)
    columns = exploration.coded[0].atoms.to_pydict()
    shared = atoms.chosen(AtomChoice(shared=True))
    assert 0 < len(shared) < len(atoms.live)
    bimodal = {atom for atom in atoms.live if columns["class"][atom] == "bimodal"}
    assert set(shared) == {atom for atom in bimodal if columns["agrees"][atom]}
    kinds = {kind: atoms.chosen(AtomChoice(kind=kind)) for kind in ("bimodal", "image_only", "text_only")}
    assert all(columns["class"][atom] == kind for kind, chosen in kinds.items() for atom in chosen)
    assert len(kinds["bimodal"])
    assert atoms.chosen(AtomChoice(noted=True), frozenset({4})).tolist() == [4]


def test_words_are_looked_for_within_one_caption_whole_ones_first(exploration: Exploration):
    atoms = AtomList(exploration.coded[0], exploration.gallery)
    found = atoms.chosen(AtomChoice(query="CAT"))
    assert len(found) > 3
    has = {}
    for atom in atoms.live:
        pairs = np.concatenate([entries[atom][0][:12] for entries in exploration.coded[0].entries])
        captions = [exploration.gallery.caption(pair).lower() for pair in pairs]
        has[atom] = (any(" cat " in text for text in captions), any("cat" in text for text in captions))
    assert set(found) == {atom for atom, (_, part) in has.items() if part}
    wholes = [has[atom][0] for atom in found]
    assert wholes == sorted(wholes, reverse=True)
    shown = exploration.atoms("first", AtomChoice(query="CAT"), 0, 100)
    for row in shown["rows"]:
        answer = shown["captions"][row["answer"]].lower()
        assert "cat" in answer
        assert (" cat " in answer) == has[row["atom"]][0], "a whole word, where a caption has one"
    assert {row["answer"] for row in exploration.atoms("first", AtomChoice(query="atom 7"), 0, 9)["rows"]} == {None}
    both = [atom for atom in atoms.live if {"zebra", "violin"} <= set(exploration.coded[0].labels[atom].split(" · "))]
    assert sorted(atoms.chosen(AtomChoice(query="zebra violin"))) == both, "no caption has the two, a label may"
    assert atoms.chosen(AtomChoice(query="atom 7")).tolist() == [7]
    assert atoms.chosen(AtomChoice(query="(.*")).tolist() == []


def test_a_label_alone_comes_after_captions_with_the_words(exploration: Exploration):
    coded = exploration.coded[0]
    unlabelled = coded.atoms.drop_columns("label")
    plain = replace(coded, atoms=unlabelled.append_column("label", [[""] * len(unlabelled)]))
    found = AtomList(plain, exploration.gallery).chosen(AtomChoice(query="cat"))
    other = next(atom for atom in np.flatnonzero(coded.live) if atom not in found)
    labels = ["cat" if atom in (other, found[-1]) else "" for atom in range(len(unlabelled))]
    named = replace(coded, atoms=unlabelled.append_column("label", [labels]))
    ranked = AtomList(named, exploration.gallery).chosen(AtomChoice(query="cat"))
    wholes = [atom for atom in found if has_whole_word(exploration, int(atom), "cat")]
    assert ranked[: len(wholes)].tolist() == wholes
    assert other in ranked[len(wholes) : len(wholes) + 2]


def has_whole_word(exploration: Exploration, atom: int, word: str) -> bool:
    pairs = np.concatenate([entries[atom][0][:12] for entries in exploration.coded[0].entries])
    return any(f" {word} " in exploration.gallery.caption(pair) for pair in pairs)


def test_a_list_is_served_in_pages(exploration: Exploration):
    whole = exploration.atoms("first", AtomChoice(sort="atom", falling=False), 0, 100)
    part = exploration.atoms("first", AtomChoice(sort="atom", falling=False), 5, 3, whole["rows"][20]["atom"])
    assert part["place"] == 20
    assert exploration.atoms("first", AtomChoice(kind="bimodal"), 0, 0, 10**6)["place"] is None
    assert part["rows"] == whole["rows"][5:8]
    assert part["count"] == whole["count"] == len(whole["rows"])
    assert {each["pair"] for row in part["rows"] for each in row["top"]} == set(part["captions"])


def test_names_and_hashes_of_files_are_no_labels():
    captions = [
        "drawn cross x8a3cd28 HASH(0x8a3cd28) img_20190304 covid19 mp3",
        "drawn cross x8a3cd28 HASH(0x8a3cd28) 3f9c1ab dsc01234 covid19",
    ]
    labels = atom_labels(np.array([0, 0]), np.array([0, 1]), captions, ["a dog", "a cat", "a bird", "a tree"], 1)
    assert labels == ["drawn · cross · covid19"]
    assert words_of(captions[0]) == ["drawn", "cross", "img", "covid19", "mp3"]


def test_labels_are_words_that_set_captions_apart():
    usual = ["a dog on the beach", "a red bus", "a blue bus in the street", "the cat on a mat", *["a thing"] * 16]
    captions = ["a red teapot", "the red teapot on a table", "a dog"]
    assert atom_labels(np.array([0, 0, 2]), np.array([0, 1, 2]), captions, usual, 3) == ["teapot · red", "", "dog"]


def test_function_words_name_nothing():
    captions = ["man with a can in the fire", "man with the can near fire"]
    labels = atom_labels(np.array([0, 0]), np.array([0, 1]), captions, ["a dog", "a cat", "a bird", "a tree"], 1)
    assert labels == ["man · can · fire"]


def test_atoms_that_were_named_otherwise_are_named_anew_without_their_shards(tmp_path: Path):
    store = EmbeddingStore.open(str(make_store(tmp_path)))
    gallery, sae = Gallery.of(store, tmp_path / "cache"), make_sae()
    before = CodedPairs.of("sae", sae, gallery, store, tmp_path / "cache")
    (file,) = tmp_path.glob("cache/codes-*/atoms.parquet")
    named = pq.read_table(file)
    place = named.schema.get_field_index("label")
    otherwise = named.set_column(place, "label", pa.array(["with · in"] * len(named))).replace_schema_metadata(None)
    pq.write_table(otherwise, file)
    shutil.rmtree(tmp_path / "store" / "shards")
    after = CodedPairs.of("sae", sae, gallery, store, tmp_path / "cache")
    assert after.labels == before.labels
    assert pq.read_table(file).equals(named, check_metadata=True)


def test_an_atom_of_nearly_all_is_called_so(tmp_path: Path):
    images, texts = (rows + side * np.eye(DIM)[0] for rows, side in zip(arrays(), (6, -6), strict=True))
    store = EmbeddingStore.open(str(write_pairs(tmp_path / "store", images, texts)))
    sae = make_sae()
    sae.dictionary[:2] = torch.eye(DIM)[0] * torch.tensor([[1.0], [-1.0]])  # the constants of images and of texts
    coded = CodedPairs.of("sae", sae, Gallery.of(store, tmp_path), store, tmp_path)
    for atom, rows in ((0, "image"), (1, "caption")):
        share = coded.entries[atom].fires[atom] / PAIRS
        assert share > 0.5
        assert coded.labels[atom] == (f"nearly every {rows}" if share > 0.9 else f"most {rows}s")


def with_dictionary(exploration: Exploration, rows: np.ndarray, name: str):
    sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=len(rows), k=2, beta=0.0)).requires_grad_(False)
    sae.dictionary.copy_(torch.from_numpy(rows.astype(np.float32)))
    one = exploration.coded[0].atoms.slice(0, 1).to_pydict()
    columns = {key: value * len(rows) for key, value in one.items()} | {"atom": list(range(len(rows)))}
    table = type(exploration.coded[0].atoms).from_pydict(columns)
    return replace(exploration.coded[0], name=name, sae=sae, atoms=table)


def test_dictionaries_are_matched_one_to_one_and_splits_found(exploration: Exploration):
    axes = np.eye(DIM)
    first = with_dictionary(exploration, axes[:3], "first")
    halves = [axes[0] * 0.8 + side * axes[5] * 0.6 for side in (1, -1)]
    second = with_dictionary(exploration, np.stack([axes[2], halves[0], axes[1], halves[1], axes[9]]), "second")
    found = compared(first, second)
    matched = {(pair["first"]["atom"], pair["second"]["atom"]): pair["cosine"] for pair in found["pairs"]}
    assert set(matched) - {(0, 1), (0, 3)} == {(1, 2), (2, 0)}
    assert len(matched) == 3
    assert found["same"] == 3
    assert found["alone"] == [0, 2]
    (split,) = found["splits"]
    assert split["atom"]["atom"] == 0
    assert [part["atom"] for part in split["parts"]] == [1, 3]
    assert found["joins"] == []
    (joined,) = compared(second, first)["joins"]
    assert joined["atom"]["atom"] == 0


def test_a_map_is_by_axes_at_once_and_by_umap_when_it_is_found(exploration: Exploration):
    assert len(exploration.map("first", "pca")["places"]) == len(exploration.map("first", "pca")["atoms"])
    exploration.map("first", "umap")
    thread = exploration.parts("first").map._thread
    if thread is not None:
        thread.join()
    places = np.array(exploration.map("first", "umap")["places"])
    assert places.shape == (len(exploration.map("first", "pca")["atoms"]), 2)
    assert np.isfinite(places).all()


def test_captions_are_searched_for_pairs(exploration: Exploration):
    found = exploration.pairs("harbour 14", 5)
    assert all("harbour" in found["captions"][pair] and "14" in found["captions"][pair] for pair in found["pairs"])
    assert found["pairs"]
    assert len(exploration.pairs("", 12)["pairs"]) == 12


def test_a_second_start_reads_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = explored(tmp_path)
    monkeypatch.setattr(EmbeddingStore, "read_unit", lambda *_, **__: pytest.fail("a shard is read"))
    store = EmbeddingStore.open(str(tmp_path / "store"))
    saes = {each.name: each.sae for each in first.coded}
    again = open_exploration(saes, store, tmp_path / "output", KnowingEncoder(*arrays()))  # type: ignore[arg-type]
    assert again.atom("first", 3) == first.atom("first", 3)


def test_of_too_many_pairs_a_seeded_sample_is_drawn_and_said(tmp_path: Path):
    first = explored(tmp_path, most_pairs=60)
    assert first.about()["pairs"] == 60
    assert first.about()["total"] == PAIRS
    store = EmbeddingStore.open(str(tmp_path / "store"))
    saes = {each.name: each.sae for each in first.coded}
    other = open_exploration(saes, store, tmp_path / "output", KnowingEncoder(*arrays()), most_pairs=60, seed=1)  # type: ignore[arg-type]
    assert first.gallery.chosen.tolist() != other.gallery.chosen.tolist()
    for some in (first, other):
        images = torch.from_numpy(arrays()[0][some.gallery.chosen].astype(np.float32))
        torch.testing.assert_close(
            some.gallery.rows[0].floats(slice(None)), torch.nn.functional.normalize(images, dim=1), atol=1e-4, rtol=0
        )
        coded = some.coded[0]
        expected = coded.sae.encode(coded.sae.prepare(images, "image")).to_dense(ATOMS)
        torch.testing.assert_close(coded.codes[0].to_dense(ATOMS), expected)
