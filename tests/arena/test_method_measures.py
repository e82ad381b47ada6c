"""What is measured of a method whose atoms are the truth, and of one that has none of it."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.method_measures import agreement_of, all_measures, brief_measures, embedding_measures
from isoenergy.arena.pairs import (
    ArenaPairs,
    MadePairs,
    Rows,
    Sizes,
    StorePairs,
    draw_pairs,
    require_drawable,
    require_pairs,
)
from isoenergy.errors import InputError
from isoenergy.metrics.code_matching import code_correlations, matched_columns
from isoenergy.metrics.retrieval import recall_at
from isoenergy.synthetic.experiment_config import SyntheticConfig
from tests.arena.planted_rows import orthogonal, planted_rows
from tests.store.stores import write_store

CONCEPTS, DIM = 8, 16
ATOMS = orthogonal(2 * CONCEPTS, DIM)


def pairs_of(image: torch.Tensor, text: torch.Tensor) -> ArenaPairs:
    train, validation, test = (planted_rows(image, text, n, 2, seed) for seed, n in enumerate((600, 60, 200)))
    return ArenaPairs(train, validation, test, (image, text))


def of_truth(image: torch.Tensor, text: torch.Tensor) -> FittedMethod:
    return FittedMethod(
        encoders={"image": lambda x: x @ image.T, "text": lambda x: x @ text.T},
        dictionaries={"image": image, "text": text},
        offsets=dict.fromkeys(("image", "text"), torch.zeros(DIM)),
    )


def clean(fitted: FittedMethod) -> FittedMethod:
    """Coefficients of rounding are none."""
    encoders = {
        name: (lambda x, encode=encode: torch.where(encode(x).abs() > 1e-4, encode(x), 0.0))
        for name, encode in fitted.encoders.items()
    }
    return FittedMethod(encoders, fitted.dictionaries, fitted.offsets)


def test_true_atoms_score_full_marks_in_one_space_and_in_two() -> None:
    for text in (ATOMS[:CONCEPTS], ATOMS[CONCEPTS:]):
        image = ATOMS[:CONCEPTS]
        found = all_measures(clean(of_truth(image, text)), pairs_of(image, text), "test", sparse=True)
        for name in ("r2", "r2_centred", "codes_r@10", "bimodal_energy", "agreement", "agreeing", "found", "joined"):
            assert found[name] == pytest.approx(1, abs=0.02), name
        assert found["agreement_fitted"] == pytest.approx(1, abs=0.02)
        assert found["translation_r2"] == pytest.approx(1, abs=0.01)
        assert found["translation_r2_100%"] > 0.9
        assert found["translation_r2_0.1%"] < 0.5
        assert found["l0"] == 2
        assert found["dominance"] == pytest.approx(0, abs=1e-3)
        assert found["joint_gallery"] == pytest.approx(0.5, abs=0.03)
        assert found["clusters_pairs"] == pytest.approx(1)
        assert found["steering_success"] > 0.3
        assert found["mms"] > 0.5
        one_space = text is ATOMS[:CONCEPTS] or torch.equal(text, image)
        assert found["direction_cosine"] == pytest.approx(float(one_space), abs=1e-5)
        assert math.isnan(found["p_acc"]) == (not one_space)
        assert found["mms_coded"] == pytest.approx(found["mms"] if one_space else 0, abs=1e-4)


def test_captions_of_one_image_are_not_pairs_enough_to_agree() -> None:
    """Random pairs, which have nothing to do with each other, but of few images with forty captions each."""
    random = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.rand(15, DIM, generator=random), dim=1).repeat_interleave(40, 0) for _ in range(2))
    others = normalize(images + 1e-3 * torch.randn(images.shape, generator=random), dim=1)
    fitted = of_truth(ATOMS[:CONCEPTS], ATOMS[:CONCEPTS])
    labels, codes = torch.full((len(images),), -1), fitted.encode(texts, "text")
    together, apart = (
        agreement_of(
            Rows(own, texts, own, texts, labels), {"image": fitted.encode(own, "image"), "text": codes}
        ).agrees.sum()
        for own in (images, others)
    )
    assert together == 0
    assert apart > 0


def test_what_was_matched_on_train_pairs_agrees_there_and_test_pairs_say_by_how_much_too_well() -> None:
    """Rows that have nothing to do with each other: each image atom has the text atom that goes with it best."""
    image = text = ATOMS
    random = torch.Generator().manual_seed(0)

    def unrelated(pairs: int) -> Rows:
        own, other = (normalize(torch.randn(pairs, DIM, generator=random), dim=1) for _ in range(2))
        return Rows(own, other, own, other, torch.full((pairs,), -1))

    pairs = ArenaPairs(unrelated(60), unrelated(60), unrelated(1000))
    codes = [pairs.train.of(name) @ ATOMS.T for name in ("image", "text")]
    partner = torch.from_numpy(matched_columns(code_correlations(codes[0].numpy(), codes[1].numpy())))
    found = all_measures(of_truth(image, text[partner]), pairs, "test", sparse=True)
    assert found["agreement_fitted"] > 0.15
    assert abs(found["agreement"]) < 0.05


def test_without_a_judge_mms_is_told_once() -> None:
    image = ATOMS[:CONCEPTS]
    pairs = pairs_of(image, image)
    alone = replace(pairs, test=replace(pairs.test, reference_image=pairs.test.image, reference_text=pairs.test.text))
    judged, own = (all_measures(clean(of_truth(image, image)), each, "test", sparse=True) for each in (pairs, alone))
    assert math.isnan(own["mms_coded"])
    assert own["mms"] == pytest.approx(judged["mms_coded"])


def test_another_encoder_judges_without_its_cones() -> None:
    """Its rows are less the train mean of their modality; that of known concepts, which have no cone, is as it is."""
    image = ATOMS[:CONCEPTS]
    known = pairs_of(image, image)

    def with_cones(rows: Rows) -> Rows:
        cones = 3 * ATOMS[0, :CONCEPTS], 3 * ATOMS[0, :CONCEPTS] + ATOMS[1, :CONCEPTS]
        seen = [normalize(part + cone, dim=1) for part, cone in zip((rows.image @ image.T,) * 2, cones, strict=True)]
        return replace(rows, reference_image=seen[0], reference_text=seen[1])

    judged = ArenaPairs(with_cones(known.train), with_cones(known.validation), with_cones(known.test))
    fitted = clean(of_truth(image, image))
    found, made = (all_measures(fitted, pairs, "test", sparse=True) for pairs in (judged, known))
    assert math.isnan(made["mms_uncentred"])
    codes = fitted.encode(judged.test.image, "image").numpy()
    seen = {}
    for name in ("reference_image", "reference_text"):
        centred = (getattr(judged.test, name) - getattr(judged.train, name).mean(0)).numpy()
        seen[name] = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for measure, names in (
        ("mms", ("reference_image", "reference_text")),
        ("mms_image", ("reference_image", "reference_image")),
        ("mms_text", ("reference_text", "reference_text")),
    ):
        similar = seen[names[0]] @ seen[names[1]].T
        if names[0] == names[1]:
            np.fill_diagonal(similar, 0)
        weights = [
            np.outer(codes[:, j], codes[:, j]) * (1 - np.eye(len(codes)) * (names[0] == names[1]))
            for j in range(CONCEPTS)
        ]
        expected = np.mean([(weight * similar).sum() / weight.sum() for weight in weights])
        assert found[measure] == pytest.approx(expected, abs=1e-4), measure
    assert found["mms_uncentred"] > found["mms"] + 0.2


def test_atoms_of_their_own_modality_share_nothing() -> None:
    image, text = ATOMS[:CONCEPTS], ATOMS[CONCEPTS:]
    split = clean(FittedMethod.of_shared(lambda x: x @ ATOMS.T, ATOMS))
    found = all_measures(split, pairs_of(image, text), "test", sparse=True)
    assert found["r2"] == pytest.approx(1, abs=1e-4)
    assert found["bimodal_energy"] == 0
    assert found["dominance"] == pytest.approx(1)
    assert found["mms"] == 0
    assert found["gap_closed"] == pytest.approx(1)
    assert (found["found"], found["joined"]) == (1, 0)
    assert math.isnan(found["steering_success"])
    assert found["translation_r2"] < 0


def test_an_offset_goes_with_the_unimodal_atoms() -> None:
    image = text = ATOMS[:CONCEPTS]
    shift = {"image": ATOMS[-1] * 2, "text": -ATOMS[-1] * 2}
    plain = of_truth(image, text)
    found = all_measures(
        clean(FittedMethod(plain.encoders, plain.dictionaries, shift)), pairs_of(image, text), "test", sparse=True
    )
    assert found["gap_closed"] > 0.95
    assert found["r2"] < 0


def test_transfer_measures_there_what_was_fitted_here() -> None:
    """An atom that images alone fire here is left out there too, where images and texts fire it."""
    alone = ATOMS[CONCEPTS - 1]
    here = pairs_of(ATOMS[:CONCEPTS], torch.cat([ATOMS[: CONCEPTS - 1], ATOMS[-1:]]))
    fitted = clean(FittedMethod.of_shared(lambda x: x @ ATOMS.T, ATOMS))
    there = planted_rows(ATOMS[:CONCEPTS], ATOMS[:CONCEPTS], 600, 2, seed=7)
    found = all_measures(fitted, replace(here, transfer=there), "test", sparse=True)
    left = there.image - (there.image @ alone)[:, None] * alone
    assert found["transfer_codes_r@10"] == pytest.approx(1)
    assert found["transfer_r@10_bimodal"] == pytest.approx(recall_at(left, left, (10,))[10], abs=0.03)
    assert found["transfer_r@10_bimodal"] < 0.95
    there = replace(there, image=there.image + alone, text=there.text + alone / 2)
    found = all_measures(fitted, replace(here, transfer=there), "test", sparse=True)
    assert found["transfer_gap_closed"] == pytest.approx(1)
    plain = all_measures(fitted, here, "test", sparse=True)
    assert plain == pytest.approx({name: found[name] for name in plain}, nan_ok=True)
    assert set(found) - set(plain) == {"transfer_gap_closed", "transfer_r@10_bimodal", "transfer_codes_r@10"}
    baseline = all_measures(fitted, replace(here, transfer=there), "test", sparse=False)
    assert baseline["transfer_codes_r@10"] == found["transfer_codes_r@10"]
    assert "transfer_gap_closed" not in baseline
    own = embedding_measures(replace(here, transfer=there), "test")
    assert own["transfer_gap"] == pytest.approx(0.5, abs=1e-5)
    assert own["transfer_r@10"] == recall_at(there.image, there.text, (10,))[10]


def test_norms_of_atoms_do_not_change_energies() -> None:
    image, text = ATOMS[:CONCEPTS], ATOMS[CONCEPTS:]
    plain = clean(of_truth(image, text))
    scaled = FittedMethod(
        {name: (lambda x, encode=encode: encode(x) / 7) for name, encode in plain.encoders.items()},
        {name: 7 * part for name, part in plain.dictionaries.items()},
        plain.offsets,
    )
    one, other = (all_measures(each, pairs_of(image, text), "test", sparse=True) for each in (plain, scaled))
    for name in set(one) - {"steering_success", "steering_collateral"}:
        assert one[name] == pytest.approx(other[name], abs=2e-3, nan_ok=True), name


def test_validation_and_test_are_measured_alike() -> None:
    image, text = ATOMS[:CONCEPTS], ATOMS[CONCEPTS:]
    pairs, fitted = pairs_of(image, text), clean(of_truth(image, text))
    brief, full = brief_measures(fitted, pairs.test), all_measures(fitted, pairs, "test", sparse=False)
    assert brief == {name: full[name] for name in brief}


def test_made_pairs_know_their_concepts(tmp_path: Path) -> None:
    config = MadePairs(SyntheticConfig(dim=40, instances=20, atoms_per_row=4, pairs=300), Sizes(200, 40, 60, 0))
    found = draw_pairs(config, {}, tmp_path)
    expected = {"train": 200, "validation": 40, "test": 60, "dim": 40, "classes": 0, "known_concepts": 8, "transfer": 0}
    pairs = ArenaPairs.load(tmp_path)
    times = np.unique(pairs.test.image.numpy(), axis=0, return_counts=True)[1]
    assert found == {**expected, "of_one_image": times[times > 1].sum()}
    assert 0 < found["of_one_image"] < 60
    assert pairs.concepts is not None
    assert float((pairs.concepts[0] * pairs.concepts[1]).sum(1).mean()) == pytest.approx(0.99, abs=1e-4)
    torch.testing.assert_close(pairs.test.reference_image, pairs.test.reference_text)
    assert embedding_measures(pairs, "test")["gap"] > 0.5
    with pytest.raises(InputError, match="give more pairs"):
        draw_pairs(MadePairs(config.data, Sizes(200, 100, 60, 0)), {}, tmp_path)


def test_pairs_of_a_store_are_drawn_once_with_a_reference_and_labels(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), train=[120, 80], others=60)
    sizes = Sizes(100, 20, 30, 0)
    config = StorePairs(
        store.fingerprint, sizes, reference_fingerprint=store.fingerprint, store=store.uri, reference=store.uri
    )
    out = tmp_path / "out"
    out.mkdir()
    found = draw_pairs(config, {}, out)
    assert (found["train"], found["validation"], found["test"], found["classes"]) == (100, 20, 30, 0)
    pairs = ArenaPairs.load(out)
    assert float((pairs.train.image.norm(dim=1) - 1).abs().max()) < 1e-5
    torch.testing.assert_close(pairs.train.reference_text, pairs.train.text)  # the same encoder here
    assert (pairs.test.labels == -1).all()
    again = tmp_path / "again"
    again.mkdir()
    draw_pairs(StorePairs(store.fingerprint, sizes, store=store.uri), {}, again)
    torch.testing.assert_close(ArenaPairs.load(again).train.image, pairs.train.image)
    other = write_store(str(tmp_path / "other"), train=[5], others=1)
    judged = replace(config, reference_fingerprint=other.fingerprint, reference=other.uri)
    for refused, message in ((replace(config, labels="colour"), "no column 'colour'"), (judged, "lacks")):
        for asked in (require_drawable, lambda it: draw_pairs(it, {}, out)):
            with pytest.raises(InputError, match=message):
                asked(refused)


def test_a_store_that_is_another_one_by_now_is_not_drawn_from(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), train=[40], others=30)
    config = StorePairs(store.fingerprint, Sizes(30, 5, 5, 0), store=store.uri)
    config = replace(config, transfer_fingerprint=store.fingerprint, transfer=store.uri)
    draw_pairs(config, {}, tmp_path)
    for name in ("fingerprint", "transfer_fingerprint"):
        with pytest.raises(InputError, match="has other pairs than when the arena was planned"):
            draw_pairs(replace(config, **{name: "f" * 64}), {}, tmp_path)


def test_pairs_without_a_class_or_of_a_small_one_are_no_class(tmp_path: Path) -> None:
    def classes(key: str) -> str | None:
        return "few" if int(key) < 5 else ("a", "b", None)[int(key) % 3]

    store = write_store(str(tmp_path / "store"), train=[60], others=300, classes=classes)
    config = StorePairs(store.fingerprint, Sizes(60, 100, 200, 0), "classes", store=store.uri)
    assert draw_pairs(config, {}, tmp_path)["classes"] == 2
    test = store.to_arrays("test")
    order = np.random.default_rng(0).permutation(len(test))[:200]
    expected = [{"a": 0, "b": 1}.get(classes(key) or "", -1) for key in test.keys[order]]
    assert ArenaPairs.load(tmp_path).test.labels.tolist() == expected
    assert {-1, 0, 1} == set(expected)


@pytest.mark.parametrize(("classes", "found"), [(str, "has 0 classes"), (lambda _: "a", "has 1 classes")])
def test_labels_of_fewer_than_two_classes_are_refused(tmp_path: Path, classes, found: str) -> None:  # type: ignore[no-untyped-def]
    store = write_store(str(tmp_path / "store"), train=[60], others=60, classes=classes)
    config = StorePairs(store.fingerprint, Sizes(60, 100, 200, 0), "classes", store=store.uri)
    for asked in (require_drawable, lambda it: draw_pairs(it, {}, tmp_path)):
        with pytest.raises(InputError, match=f"{found} with 10 or more of the .* two classes or more"):
            asked(config)


def test_a_blank_text_and_a_nan_are_no_label_and_bytes_are_refused(tmp_path: Path) -> None:
    def drawn(kind: pa.DataType, values: tuple[object, ...]) -> StorePairs:
        place = str(tmp_path / f"{kind}-{len(set(map(str, values)))}")
        store = write_store(place, train=[60], others=300, classes=lambda key: values[int(key) % 3], kind=kind)
        return StorePairs(store.fingerprint, Sizes(60, 100, 200, 0), "classes", store=store.uri)

    assert draw_pairs(drawn(pa.float64(), (1.0, 2.0, math.nan)), {}, tmp_path)["classes"] == 2
    assert draw_pairs(drawn(pa.string(), ("a", " a", "b")), {}, tmp_path)["classes"] == 3
    for kind, values in ((pa.string(), ("", " ", "a")), (pa.float64(), (math.nan, math.nan, 1.0))):
        with pytest.raises(InputError, match="has 1 classes"):
            require_drawable(drawn(kind, values))
    with pytest.raises(InputError, match="labels are texts or numbers"):
        require_drawable(drawn(pa.binary(), (b"a", b"b", b"a")))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_store_of_so_few_pairs_that_any_partner_is_found_is_refused(tmp_path: Path, split: str) -> None:
    store = write_store(str(tmp_path / "store"), train=[60], others=4)
    with pytest.raises(InputError, match=f"{split} pairs.*of which any partner is among the 10 nearest"):
        require_pairs(store, [split])


def test_pairs_of_another_store_are_drawn_for_transfer_if_they_are_of_the_same_encoder(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), train=[60], others=40)
    style = write_store(str(tmp_path / "style"), train=[10], others=20)
    config = StorePairs(store.fingerprint, Sizes(50, 10, 15, 0), transfer_fingerprint=style.fingerprint)
    config = replace(config, store=store.uri, transfer=style.uri)
    found = draw_pairs(config, {}, tmp_path)
    assert found["transfer"] == min(15, style.pairs_in("test"))
    there = ArenaPairs.load(tmp_path).transfer
    assert there is not None
    rows = normalize(torch.from_numpy(style.to_arrays("test").images).float(), dim=1)
    assert torch.cdist(there.image, rows).min(1).values.max() < 1e-3
    manifest = tmp_path / "style" / "manifest.json"
    told = manifest.read_text()
    for digest, refused in (("e" * 64, True), ("", False)):
        manifest.write_text(told.replace("d" * 64, digest))
        for asked in (require_drawable, lambda it: draw_pairs(it, {}, tmp_path)):
            with pytest.raises(InputError, match="encoder_digest is") if refused else contextlib.nullcontext():
                asked(config)
