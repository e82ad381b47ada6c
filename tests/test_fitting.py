"""`isoenergy.fit`: arrays or a store in, autoencoders out."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import isoenergy
from isoenergy.codes.numpy_codes import NumpyCodes
from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.encoders import load_encoder
from isoenergy.errors import InputError
from isoenergy.fitting import Fit
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import PairBatches
from isoenergy.training import Trainer, TrainingConfig
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.store.given_vectors import stored
from tests.workflows.embedding_stores import SMALL_ENCODER

SETTINGS = {"k": 4, "expansion": 2, "epochs": 2, "learning_rate": 5e-3, "progress": False}


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    return planted_pairs(600, 16)


@pytest.fixture(scope="module")
def fit(pairs: tuple[np.ndarray, np.ndarray]) -> Fit:
    return isoenergy.fit(*pairs, beta=(0.0, 1e-3), batch_pairs=100, seed=3, **SETTINGS)


def test_beta_may_be_a_number_of_numpy(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    found = isoenergy.fit(*pairs, beta=np.float32(1e-3), batch_pairs=300, **SETTINGS | {"epochs": 1})
    assert found.config.beta == (pytest.approx(1e-3),)
    several = isoenergy.fit(*pairs, beta=np.array([0.0, 1e-3]), batch_pairs=300, **SETTINGS | {"epochs": 1})
    assert several.config.beta == (0.0, 1e-3)


def test_it_is_the_trainers_training(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    config = TrainingConfig(beta=(0.0, 1e-3), k=4, expansion=2, epochs=2, learning_rate=5e-3, batch_pairs=100, seed=3)
    trainer = Trainer(config, PairBatches.of_arrays(*pairs, 100, 3), 16)
    trainer.run(None)
    assert list(fit.saes) == trainer.group.names
    for ours, theirs in zip(fit.saes.values(), trainer.group.saes, strict=True):
        assert torch.equal(ours.dictionary, theirs.dictionaries[0].dictionary)
    assert fit.steps == 12
    assert 3.5 < fit.history[-1]["beta-0.001/l0"] <= 4
    assert repr(fit) == "Fit(dim 16, 32 atoms, k 4, β 0, 0.001, 12 steps)"
    assert repr(fit.sae) == "SparseAutoencoder(dim 16, 32 atoms, k 4, β 0.001)"
    assert fit.sae is fit.saes["beta-0.001"]


def test_arrays_are_coded_as_arrays_and_tensors_as_tensors(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    for modality, rows in zip(("image", "text"), pairs, strict=True):
        codes = fit.encode(rows, modality)
        tensors = fit.encode(torch.from_numpy(rows), modality)
        expected = fit.sae.encode(fit.sae.prepare(rows, modality))
        np.testing.assert_array_equal(codes.indices, expected.indices)
        np.testing.assert_array_equal(codes.values, expected.values)
        assert torch.equal(tensors.values, expected.values)
        rebuilt = fit.decode(codes)
        assert isinstance(rebuilt, np.ndarray)
        unit = rows.astype(np.float32) / np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
        np.testing.assert_allclose(rebuilt + codes.residual, unit, atol=1e-5)
        np.testing.assert_allclose(fit.decode(tensors), rebuilt, atol=1e-6)
    with pytest.raises(ValueError, match="modality must be image or text, got 'sound'"):
        fit.encode(pairs[0], "sound")


def test_its_statistics_are_of_the_training_pairs(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    assert fit.statistics.rows == 1200
    codes = [fit.sae.encode(fit.sae.prepare(rows, m)) for rows, m in zip(pairs, ("image", "text"), strict=True)]
    energy = sum(part.energy(32).double() for part in codes)
    np.testing.assert_allclose(fit.statistics.energy, energy / 2, rtol=1e-5)


def test_a_store_is_taken_by_its_train_split(pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    store = write_planted_store(tmp_path / "store", *pairs, pairs_a_shard=200)
    of_path = isoenergy.fit(store, beta=0.0, bias_atoms="means", **SETTINGS)
    of_store = isoenergy.fit(isoenergy.store.EmbeddingStore.open(str(store)), beta=0.0, bias_atoms="means", **SETTINGS)
    assert of_path.sae.digest == of_store.sae.digest
    assert (of_path.config.batch_pairs, of_path.atoms.pairs) == (512, 514)


@pytest.mark.parametrize("settings", [{"bias_atoms": "means"}, {"input": "centred"}])
def test_means_are_of_whatever_arrays_are_taken(pairs: tuple[np.ndarray, np.ndarray], settings: dict[str, Any]) -> None:
    short = SETTINGS | {"epochs": 1} | settings
    usual = isoenergy.fit(*pairs, **short).sae
    tables = tuple(pd.DataFrame(rows) for rows in pairs)
    swapped = tuple(rows.astype(rows.dtype.newbyteorder(">")) for rows in pairs)
    for given in (tables, swapped, tuple(rows[::-1].copy()[::-1] for rows in pairs)):
        assert isoenergy.fit(*given, **short).sae.digest == usual.digest


def test_what_is_known_of_atoms_is_of_every_pair(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    found = isoenergy.fit(*pairs, batch_pairs=450, **SETTINGS)
    of_all = isoenergy.describe_atoms(found.sae, *pairs)
    assert found.atoms.pairs == 600
    for name in ("image_energy", "text_energy", "frequency", "correlation"):
        np.testing.assert_allclose(found.atoms[name], of_all[name], rtol=1e-5)


def test_what_cannot_be_trained_on_is_said(pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two arrays, or an embedding store"):
        isoenergy.fit(pairs[0])
    with pytest.raises(InputError, match=r"fit has no setting epoch; there are .*epochs"):
        isoenergy.fit(*pairs, epoch=3)
    for few in (0, 1):
        with pytest.raises(InputError, match=rf"^images and texts must hold 2 pairs or more to train on, got {few}$"):
            isoenergy.fit(pairs[0][:few], pairs[1][:few])
    for wrong, said in (
        ({"beta": "auto"}, r"beta must be one or more numbers, got 'auto'"),
        ({"beta": (0.0, -1.0)}, r"beta must be 0 or more, and finite, got -1\.0"),
        ({"device": "abacus"}, r"device abacus cannot be used .*; leave it out"),
        ({"device": "cuda:99"}, r"device cuda:99 cannot be used .*; leave it out"),
        ({"seed": None}, r"seed must be a whole number, got None"),
        ({"batch_pairs": 0}, r"batch_pairs must be above 0, got 0"),
        ({"dictionaries": "own"}, r"one dictionary .* widths are 16 and 16, dictionaries own; .*Trainer"),
    ):
        with pytest.raises(InputError, match=said):
            isoenergy.fit(*pairs, **SETTINGS | wrong)
    with pytest.raises(InputError, match=r"one dictionary .* widths are 16 and 8, dictionaries auto; .*Trainer"):
        isoenergy.fit(pairs[0], pairs[1][:, :8], **SETTINGS)
    np.savez(tmp_path / "all.npz", images=pairs[0])
    with pytest.raises(InputError, match=r"all\.npz holds one modality; one modality alone, .* train --beta 0"):
        isoenergy.fit(tmp_path / "all.npz")
    spoilt = pairs[0].copy()
    spoilt[7, 3] = np.nan
    with pytest.raises(InputError, match="row 7"):
        isoenergy.fit(spoilt, pairs[1], **SETTINGS)


def test_what_was_fitted_is_saved(fit: Fit, tmp_path: Path) -> None:
    fit.save(tmp_path)
    loaded = isoenergy.SparseAutoencoder.load(tmp_path / "beta-0.001")
    assert loaded.digest == fit.sae.digest


def test_a_training_goes_on_from_an_autoencoder(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    longer = isoenergy.fit(*pairs, beta=1e-3, start_from=fit, **SETTINGS | {"learning_rate": 1e-5})
    begun = isoenergy.fit(*pairs, beta=1e-3, **SETTINGS | {"learning_rate": 1e-5})
    moved = (longer.sae.dictionary - fit.sae.dictionary).norm()
    assert 0 < moved < 0.01 * (begun.sae.dictionary - fit.sae.dictionary).norm()
    assert fit.sae.digest != longer.sae.digest
    with pytest.raises(InputError, match="give the same settings"):
        isoenergy.fit(*pairs, start_from=fit, **SETTINGS | {"expansion": 3})
    with pytest.raises(InputError, match=r"start_from must be a SparseAutoencoder.* got a str"):
        isoenergy.fit(*pairs, start_from="beta-0", **SETTINGS)  # type: ignore[arg-type]  # no autoencoder


def test_atoms_are_taken_out_of_codes_and_added_to_rows(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    sae = fit.sae
    rows = sae.prepare(pairs[0][:20], "image")
    codes = sae.encode(rows)
    atom = int(codes.indices[0, 0])
    dense = codes.to_dense(32)
    dense[:, [atom, 3]] = 0
    torch.testing.assert_close(sae.decode(sae.without(codes, [atom, 3])), dense @ sae.dictionary)
    torch.testing.assert_close(sae.steer(rows, atom, 0.5), rows + 0.5 * sae.dictionary[atom])
    np.testing.assert_allclose(sae.steer(rows.numpy(), atom, 0.5), sae.steer(rows, atom, 0.5), atol=1e-6)
    for wrong in (lambda: sae.without(codes, [32]), lambda: sae.steer(rows, -1, 1.0)):
        with pytest.raises(ValueError, match="atoms are numbered from 0 to 31"):
            wrong()
    arrays = fit.encode(pairs[0][:20], "image")
    np.testing.assert_allclose(fit.decode(fit.without(arrays, [atom, 3])), dense @ sae.dictionary, atol=1e-5)
    np.testing.assert_allclose(fit.steer(rows.numpy(), atom, 0.5), sae.steer(rows, atom, 0.5), atol=1e-6)
    for mask in (np.ones(32), np.ones((1, 32), bool), np.ones(int(arrays.indices.max()), bool)):
        with pytest.raises(ValueError, match="atom_mask"):
            arrays.keep(mask)


def test_the_folder_of_several_names_those_in_it(fit: Fit, tmp_path: Path) -> None:
    fit.save(tmp_path / "saes")
    first, second = (str(tmp_path / "saes" / name) for name in fit.saes)
    with pytest.raises(InputError, match=f"lacks config.json; .* It holds 2 of them: give {first} or {second}$"):
        isoenergy.SparseAutoencoder.load(tmp_path / "saes")
    for name in fit.saes:
        fs = fsspec.filesystem("memory")
        fs.put(str(tmp_path / "saes" / name), f"/{tmp_path.name}/{name}", recursive=True)
    with pytest.raises(
        InputError, match=f"It holds 2 of them: give memory://{tmp_path.name}/{next(iter(fit.saes))} or"
    ):
        isoenergy.SparseAutoencoder.load(f"memory://{tmp_path.name}")
    with pytest.raises(InputError, match="the name of the autoencoder is empty; give a folder"):
        isoenergy.SparseAutoencoder.load("")


def test_one_modality_is_told_where_it_is_trained(pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"in place of both; one modality alone, .*\.AlignedSAE\(\)\.fit\(images\)"):
        isoenergy.fit(pairs[0], None, beta=0.0, **SETTINGS)
    np.save(tmp_path / "text_emb.npy", pairs[1][:64])
    store = stored(tmp_path / "text_emb.npy", tmp_path)
    with pytest.raises(InputError, match=r"the store holds one modality; one modality alone, .* train --beta 0"):
        isoenergy.fit(store, beta=0.0, **SETTINGS)


def test_codes_of_prepared_arrays_are_arrays_too(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    rows = fit.sae.prepare(pairs[0][:20], "image")
    codes, of_raw = fit.sae.encode(rows.numpy()), fit.encode(pairs[0][:20], "image")
    assert isinstance(codes, NumpyCodes)
    np.testing.assert_array_equal(codes.values, of_raw.values)
    assert isinstance(fit.sae.encode(rows), SparseCodes)


def test_what_is_no_atom_strength_or_encoder_is_one_sentence(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    rows, codes = pairs[0][:20], fit.encode(pairs[0][:20], "image")
    wrong: dict[str, Callable[[], Any]] = {
        "strength must be finite, got nan": lambda: fit.steer(rows, 3, float("nan")),
        "strength must be finite, got -inf": lambda: fit.steer(rows, 3, -np.inf),
        "numbered from 0 to 31, got True; codes.keep takes a mask": lambda: fit.steer(rows, True, 1.0),
        "numbered from 0 to 31, got 1.7": lambda: fit.steer(rows, 1.7, 1.0),  # type: ignore[arg-type]
        r"numbers of atoms, such as \[3\], got 3": lambda: fit.without(codes, 3),  # type: ignore[call-overload]
        "numbered from 0 to 31, got 2.0": lambda: fit.without(codes, [1, 2.0]),  # type: ignore[list-item]
        "got .*False.*; codes.keep takes a mask": lambda: fit.without(codes, [np.False_]),  # type: ignore[list-item]
        "numbered from 0 to 31, got tensor": lambda: fit.without(codes, torch.tensor([2.5])),  # type: ignore[arg-type]
        "encoder must be what .*load_encoder returns, got 3": lambda: fit.top_atoms("a", 3),  # type: ignore[arg-type]
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError, match=message):
            call()
    for atoms in (np.array([3]), torch.tensor([3])):
        np.testing.assert_array_equal(fit.without(codes, atoms).values, fit.without(codes, [3]).values)  # type: ignore[arg-type]


def test_rows_of_zeros_are_spoken_of_and_a_file_is_no_folder(fit: Fit, tmp_path: Path) -> None:
    rows = np.zeros((3, 16), np.float32)
    rows[0] = 1
    with pytest.warns(UserWarning, match=r"zero in rows \[1, 2\]"):
        assert not fit.encode(rows, "image").values[1:].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.encode(rows[:1], "image")
    (tmp_path / "a.npy").write_bytes(b"")
    for layout in ("isoenergy", "saelens"):
        with pytest.raises(InputError, match=r"a\.npy is a file, or lies in one .*; give a folder"):
            fit.sae.save(tmp_path / "a.npy", layout=layout)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"of 70 pairs cannot be drawn .* smaller batch_pairs \(--batch-pairs\)"):
        isoenergy.fit(np.ones((60, 16)), np.ones((60, 16)), batch_pairs=70, **SETTINGS)


def test_an_encoder_may_be_named(fit: Fit) -> None:
    encoder = load_encoder(SMALL_ENCODER)
    torch.manual_seed(0)  # an atom that is chosen twice is one of two
    sae = isoenergy.SparseAutoencoder(SaeConfig(dim=encoder.dim, atoms=16, k=3, beta=0.0))
    named = replace(fit, saes={"one": sae})
    found = named.top_atoms("a red heart", SMALL_ENCODER)
    assert len(found) == 3
    assert found == sae.top_atoms("a red heart", encoder)
    with pytest.raises(ValueError, match=r"load_encoder returns, got 'crayon'; give load_encoder\('crayon'\)"):
        sae.top_atoms("a red heart", "crayon")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown encoder 'crayon'"):
        fit.top_atoms("a red heart", "crayon")


def test_atoms_are_a_table(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    table = fit.atoms
    classes = fit.statistics.classes()
    assert (len(table), table.pairs) == (32, 600)
    np.testing.assert_array_equal(table["class"] == "image_only", classes.image_only)
    np.testing.assert_array_equal(table["image_energy"], fit.statistics.image.energy)
    assert table["agrees"].any()
    frame = table.frame()
    assert frame.index.name == "atom"
    assert list(frame.columns) == list(table.columns)
    strongest = table.strongest(2)
    assert f"{strongest[0]:6}" in repr(table).splitlines()[2]

    captions = [f"pair {number}" for number in range(600)]
    described = isoenergy.describe_atoms(fit.sae, *pairs, captions=captions, examples=3)
    np.testing.assert_allclose(described["text_energy"], table["text_energy"])
    codes = np.maximum(*(dense(fit.encode(x, name), 32) for x, name in zip(pairs, ("image", "text"), strict=True)))
    best = np.argsort(-codes[:, strongest[0]])[:3]
    assert described["examples"][strongest[0]] == " | ".join(captions[pair] for pair in best)
    dead = np.flatnonzero(~(codes > 0).any(axis=0))
    assert all(described["examples"][atom] == "" for atom in dead)
    with pytest.raises(InputError, match="as many, got 600, 600, 599"):
        isoenergy.describe_atoms(fit.sae, *pairs, captions=captions[1:])


def test_captions_of_one_image_are_not_pairs_enough_to_agree(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    images, texts = (np.repeat(rows[:15], 40, axis=0) for rows in pairs)
    each_its_own = images + 1e-3 * np.random.default_rng(0).normal(size=images.shape).astype(images.dtype)
    together, apart = (
        isoenergy.describe_atoms(fit.sae, rows, texts)["agrees"].sum() for rows in (images, each_its_own)
    )
    assert together == 0
    assert apart > 0


def test_atoms_have_labels_and_examples_of_the_captions(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    directions = np.abs(np.concatenate(pairs, axis=1)).argmax(axis=1)
    words = [f"shape {chr(ord('a') + number % 26)}{chr(ord('k') + number // 26)}x" for number in directions]
    words[7] = ""
    found = isoenergy.fit(*pairs, captions=words, beta=1e-3, batch_pairs=100, seed=3, **SETTINGS)
    frame = found.atoms.frame()
    described = isoenergy.describe_atoms(found.sae, *pairs, captions=words).frame()
    assert list(frame["label"]) == list(described["label"])
    assert list(frame["examples"]) == list(described["examples"])
    named = frame[frame["label"] != ""]
    assert len(named) > 3
    assert all(label.split(" · ")[0] in " ".join(words) for label in named["label"])
    assert "shape" not in " ".join(named["label"])
    first = named.index[0]
    assert named["label"][first].split(" · ")[0] in named["examples"][first]
    assert "label" in repr(found.atoms).splitlines()[1]
    assert "label" not in fit.atoms.columns
    with pytest.raises(InputError, match="captions must be as many as the pairs, 600, got 599"):
        isoenergy.fit(*pairs, captions=words[1:], **SETTINGS)
    with pytest.raises(InputError, match="captions must be a list of texts"):
        isoenergy.fit(*pairs, captions=[1.5] * 600, **SETTINGS)  # type: ignore[list-item]
    with pytest.raises(AttributeError, match=r"isoenergy\.describe_atoms\(sae, images, texts, captions\)"):
        _ = found.sae.atoms


@pytest.mark.parametrize("has_captions", [True, False])
def test_a_stores_captions_describe_atoms_by_their_own_pairs(has_captions: bool, tmp_path: Path) -> None:
    images, texts = planted_pairs(300, 16)
    columns = {"image": list(images), "text": list(texts), "key": [f"k{row}" for row in range(300)]}
    captions = {"caption": [f"caption {row}" for row in range(300)]} if has_captions else {}
    for part in range(2):
        rows = slice(150 * part, 150 * (part + 1))
        table = {name: values[rows] for name, values in (columns | captions).items()}
        (tmp_path / "v").mkdir(exist_ok=True)
        pq.write_table(pa.table(table), tmp_path / f"v/part-{part}.parquet")
    store = stored(tmp_path / "v", tmp_path)
    found = isoenergy.fit(store, beta=1e-3, batch_pairs=50, **SETTINGS)
    if not has_captions:
        assert "examples" not in found.atoms.columns
        return
    arrays = store.to_arrays("train")
    named = [f"caption {key[1:]}" for key in arrays.keys]
    expected = isoenergy.describe_atoms(found.sae, arrays.images, arrays.texts, named)
    assert found.atoms["examples"].tolist() == expected["examples"].tolist()
    assert any(found.atoms["examples"])


def test_files_of_vectors_are_trained_and_measured_on_as_their_store_is(
    pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    keys = np.array([f"k{row}" for row in range(600)])
    captions = np.array([f"caption {row}" for row in range(600)])
    np.savez(tmp_path / "v.npz", images=pairs[0], texts=pairs[1], key=keys, caption=captions)
    store = stored(tmp_path / "v.npz", tmp_path)
    train = store.to_arrays("train")
    settings = SETTINGS | {"beta": 1e-3, "batch_pairs": 50}
    found = isoenergy.fit(tmp_path / "v.npz", **settings)
    of_arrays = isoenergy.fit(
        train.images, train.texts, captions=[f"caption {key[1:]}" for key in train.keys], **settings
    )
    assert torch.equal(found.sae.dictionary, of_arrays.sae.dictionary)
    assert found.atoms["examples"].tolist() == of_arrays.atoms["examples"].tolist()
    test = store.to_arrays("test")
    expected = isoenergy.evaluate(found, test.images, test.texts, queries=20).frame()
    for place in (store, store.uri, tmp_path / "v.npz"):
        pd.testing.assert_frame_equal(isoenergy.evaluate(found, place, queries=20).frame(), expected)
    for wrong in ((pairs[0],), (store, pairs[1])):
        with pytest.raises(InputError, match="two arrays, or an embedding store, or a path, in place of both"):
            isoenergy.evaluate(found, *wrong)
    with pytest.raises(InputError, match="leave captions out"):
        isoenergy.fit(store, captions=captions.tolist(), **settings)
    keys[5], keys[9] = "", "k1"
    np.savez(tmp_path / "v.npz", images=pairs[0], texts=pairs[1], key=keys)
    with pytest.raises(InputError, match=r"1 row without a key.*row 5; 1 row with a key that stands before.*row 9"):
        isoenergy.fit(tmp_path / "v.npz", **settings)
    spoilt = pairs[0].copy()
    spoilt[3, 0] = np.nan
    np.savez(tmp_path / "v.npz", images=spoilt, texts=pairs[1])
    with pytest.raises(InputError, match=r"v\.npz, row 3: image is not finite.*`isoenergy import --skip-bad-rows`"):
        isoenergy.evaluate(found, tmp_path / "v.npz")


def dense(codes: NumpyCodes, atoms: int) -> np.ndarray:
    found = np.zeros((len(codes), atoms), np.float32)
    np.add.at(found, (np.arange(len(codes))[:, None], codes.indices), codes.values)
    return found


class Eye:
    """An encoder whose embeddings are given."""

    def __init__(self, image: np.ndarray, text: np.ndarray) -> None:
        self.image, self.text = image, text

    def encode_images(self, images: list) -> torch.Tensor:
        assert images == [7]
        return torch.from_numpy(self.image[None])

    def encode_texts(self, texts: list) -> torch.Tensor:
        assert texts == ["a red heart"]
        return torch.from_numpy(self.text[None])


def test_the_atoms_of_a_text_and_of_a_picture(pairs: tuple[np.ndarray, np.ndarray], fit: Fit) -> None:
    encoder: Any = Eye(pairs[0][0], pairs[1][1])
    for what, found in (("a red heart", fit.encode(pairs[1][1:2], "text")), (7, fit.encode(pairs[0][:1], "image"))):
        codes = dense(found, 32)[0]
        top = fit.top_atoms(what, encoder, count=2)  # type: ignore[arg-type]  # no picture
        expected = np.argsort(-np.abs(codes))[:2]
        assert [atom for atom, _ in top] == expected.tolist()
        np.testing.assert_allclose([value for _, value in top], codes[expected], rtol=1e-5)
