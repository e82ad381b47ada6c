import copy
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.alignments import GroupSparse, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, SparseEncoder

CONFIG = SaeConfig(dim=6, atoms=15, k=4, beta=0.0)
ENCODERS = [member() for member in SparseEncoder.members().values()]


def rows(count: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def untrained(**changes: object) -> SparseAutoencoder:
    """An SAE whose every weight and buffer is a number of its own."""
    generator = torch.Generator().manual_seed(0)
    sae = SparseAutoencoder(replace(CONFIG, **changes), generator)
    with torch.no_grad():
        for name, tensor in sae.state_dict().items():
            if name != "dictionary":
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
            if name == "encoder.threshold":
                tensor.add_(1)  # above 0, as it is once it was trained
    return sae.eval()


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_reconstruction_is_input_minus_residual(encoder: SparseEncoder) -> None:
    sae = untrained(sparse_encoder=encoder)
    codes = sae.encode(rows())
    assert codes.values.any()
    torch.testing.assert_close(sae.decode(codes), rows() - codes.residual)
    assert sae.encode(rows(0)).residual.shape == (0, 6)
    for nothing in (np.zeros((0, 6), np.float16), np.zeros((0, 6), ">f8"), rows(0)):
        prepared = sae.prepare(nothing, "text")
        assert (prepared.shape, prepared.dtype) == ((0, 6), torch.float32)
        assert sae.decode(sae.encode(prepared)).shape == (0, 6)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_a_saved_sae_loads_with_the_same_codes(encoder: SparseEncoder, tmp_path: Path) -> None:
    sae = untrained(sparse_encoder=encoder, input="centred", atom_norm="free", beta=1e-3)
    sae.save(tmp_path / "a" / "b")
    loaded = SparseAutoencoder.load(tmp_path / "a" / "b")
    assert loaded.config == sae.config
    assert loaded.digest == sae.digest
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.encode(loaded.prepare(rows(), "image")).values.numpy().any()
    for modality in ("image", "text"):
        x = sae.prepare(rows(), modality)
        assert torch.equal(loaded.prepare(rows(), modality), x)
        one, other = sae.encode(x), loaded.encode(x)
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.residual, other.residual)


def test_input_is_prepared_as_the_config_says() -> None:
    means = {"image": torch.arange(6.0), "text": -torch.ones(6)}
    for given, expected in (
        ("raw", {"image": rows(), "text": rows()}),
        ("normalised", {modality: normalize(rows(), dim=1) for modality in means}),
        ("centred", {modality: normalize(rows(), dim=1) - mean for modality, mean in means.items()}),
    ):
        sae = SparseAutoencoder(replace(CONFIG, input=given))
        if given == "centred":
            sae.load_state_dict({f"{modality}_mean": mean for modality, mean in means.items()}, strict=False)
        for modality, x in expected.items():
            torch.testing.assert_close(sae.prepare(rows(), modality), x)


def test_atoms_have_unit_norm_unless_they_are_free() -> None:
    unit, free = (SparseAutoencoder(replace(CONFIG, atom_norm=norm)) for norm in ("unit", "free"))
    torch.testing.assert_close(unit.dictionary.norm(dim=1), torch.ones(15))
    before = free.dictionary.detach().clone()
    free.project_atoms()
    assert torch.equal(free.dictionary, before)
    assert before.abs().max() <= math.sqrt(6 / (15 + 6))  # Xavier's bound, paper 1.3


def test_a_gram_matrix_is_only_for_a_pursuit() -> None:
    sae = SparseAutoencoder(replace(CONFIG, atoms=300, k=20))
    gram = sae.gram_of_frozen(rows=10**6)
    assert gram is not None
    torch.testing.assert_close(sae.encode(rows(), gram=gram).values, sae.encode(rows()).values)
    for encoder in set(ENCODERS) - {MatchingPursuit()}:
        assert SparseAutoencoder(replace(sae.config, sparse_encoder=encoder)).gram_of_frozen(10**6) is None


def test_integers_of_numpy_are_taken(tmp_path: Path) -> None:
    SparseAutoencoder(replace(CONFIG, dim=np.int64(6), k=np.int32(4))).save(tmp_path)
    assert SparseAutoencoder.load(tmp_path).config == CONFIG


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_any_precision_and_arrays_are_taken(dtype: type) -> None:
    sae = untrained()
    given = rows().numpy().astype(dtype)
    given.flags.writeable = False  # as pyarrow gives them
    expected = sae.prepare(torch.tensor(given).float(), "text")
    for kind in (given, torch.tensor(given)):
        x = sae.prepare(kind, "text")
        torch.testing.assert_close(x, expected)
        assert torch.equal(sae.encode(x).indices, sae.encode(expected).indices)
    assert sae.encode(given).values.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (rows().long(), r"embeddings must be floats of shape \(batch, 6\), got torch.int64"),
        (rows()[:, :5], r"got torch.float32 of \(9, 5\)"),
        (rows()[0], r"got torch.float32 of \(6,\)"),
        (rows().numpy()[None], r"got torch.float32 of \(1, 9, 6\)"),
    ],
)
def test_what_cannot_be_embeddings_is_refused(given: object, said: str) -> None:
    for form in ("normalised", "raw", "centred"):
        with pytest.raises(ValueError, match=said):
            untrained(input=form).prepare(given, "image")
    with pytest.raises(ValueError, match=r"^x must be floats"):
        untrained().encode(given)


def test_a_modality_that_it_was_not_trained_on_is_refused() -> None:
    for form in ("normalised", "raw", "centred"):
        with pytest.raises(ValueError, match="modality must be image or text, got 'audio'"):
            untrained(input=form).prepare(rows(), "audio")


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_that_are_not_finite_are_refused_by_every_encoder(encoder: SparseEncoder, bad: float) -> None:
    x = rows()
    x[7, 2] = bad
    for sae in (untrained(sparse_encoder=encoder), untrained(sparse_encoder=encoder).train()):
        with pytest.raises(ValueError, match=r"x must be finite, got NaN or infinity in rows \[7\]"):
            sae.encode(x)


def test_a_batch_top_k_that_was_never_trained_says_so() -> None:
    sae = SparseAutoencoder(replace(CONFIG, sparse_encoder=BatchTopK())).eval()
    with pytest.raises(ValueError, match=r"no threshold yet: train it, or .*calibration\.calibrate\(sae"):
        sae.encode(rows())
    sae.train().encode(rows())
    assert sae.eval().encode(rows()).values.any()


def test_rows_that_cannot_be_normalised_or_are_sparse_are_refused() -> None:
    sae, some = untrained(), rows(3)
    some[1] *= 1e30
    for given in (some, some.numpy()):
        with pytest.raises(ValueError, match=r"too large to be normalised in rows \[1\]"):
            sae.encode(given, "image")
    with pytest.raises(ValueError, match="must be a dense tensor"):
        sae.prepare(some.to_sparse(), "image")


@pytest.mark.parametrize("name", ["sparse_encoder", "alignment"])
def test_a_family_by_its_name_alone_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="must be objects of"):
        replace(CONFIG, **{name: "cosine"})


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_a_copy_may_be_made_in_the_middle_of_a_step(encoder: SparseEncoder) -> None:
    sae = untrained(sparse_encoder=encoder).train()
    sae(rows()).residual.square().sum().backward()
    assert copy.deepcopy(sae).digest == sae.digest


def test_a_gram_matrix_of_the_dictionary_as_it_was_is_refused() -> None:
    sae = SparseAutoencoder(replace(CONFIG, atoms=300, k=20))
    gram = sae.gram_of_frozen(rows=10**6)
    with torch.no_grad():
        sae.dictionary[200] += 0.01
    with pytest.raises(ValueError, match=r"gram must be that of this very dictionary.*has changed since"):
        sae.encode(rows(), gram=gram)


def test_half_precision_has_a_digest() -> None:
    assert untrained().bfloat16().digest != untrained().digest
    assert untrained().bfloat16().digest == untrained().bfloat16().digest


@pytest.mark.parametrize("encoder", [MatchingPursuit(), JumpReLU()], ids=str)
def test_weights_that_are_not_finite_are_refused(encoder: SparseEncoder, tmp_path: Path) -> None:
    sae = untrained(sparse_encoder=encoder)
    for name in sae.state_dict():
        weights = {key: tensor.clone() for key, tensor in sae.state_dict().items()}
        weights[name].view(-1)[0] = math.nan
        sae.save(tmp_path)
        save_file(weights, tmp_path / "sae.safetensors")
        with pytest.raises(InputError, match=f"{name} in sae.safetensors has NaN or infinity"):
            SparseAutoencoder.load(tmp_path)


def test_atoms_that_are_not_as_long_as_the_config_says_are_refused(tmp_path: Path) -> None:
    sae = untrained()
    sae.save(tmp_path)
    save_file({"dictionary": 1.05 * sae.dictionary.detach()}, tmp_path / "sae.safetensors")
    with pytest.raises(InputError, match=r"atom \d+ has norm 1.05.* atom_norm unit"):
        SparseAutoencoder.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"atom_norm": "free"}))
    assert SparseAutoencoder.load(tmp_path).dictionary.norm(dim=1).max() > 1.04


def test_the_digest_tells_weights_apart_and_nothing_else() -> None:
    sae = untrained(sparse_encoder=BatchTopK())
    assert sae.digest == untrained(sparse_encoder=BatchTopK(), beta=0.5, null=True).digest
    sae.encoder.threshold.add_(1)
    assert sae.digest != untrained(sparse_encoder=BatchTopK()).digest


def test_a_checkpoint_from_before_there_were_encoders_loads(tmp_path: Path) -> None:
    save_file({"dictionary": normalize(rows(15), dim=1)}, tmp_path / "sae.safetensors")
    (tmp_path / "config.json").write_text('{"dim": 6, "atoms": 15, "k": 4, "beta": 0.0004}')
    sae = SparseAutoencoder.load(tmp_path)
    assert sae.config == replace(CONFIG, beta=4e-4)
    assert not sae.config.null
    assert sae.config.sparse_encoder == MatchingPursuit()
    assert sae.encode(sae.prepare(rows(), "image")).values.shape == (9, 4)


def test_weights_that_were_stored_in_half_precision_are_float32_once_loaded(tmp_path: Path) -> None:
    untrained(sparse_encoder=JumpReLU()).save(tmp_path)
    halves = {name: tensor.half() for name, tensor in load_file(tmp_path / "sae.safetensors").items()}
    save_file(halves, tmp_path / "sae.safetensors")
    sae = SparseAutoencoder.load(tmp_path)
    assert {tensor.dtype for tensor in sae.state_dict().values()} == {torch.float32}
    assert sae.encode(rows()).values.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": 7}, "says otherwise"),
        ({"atoms": 10**15, "dim": 10**9}, "says otherwise"),
        ({"atoms": 10**15, "sparse_encoder": {"name": "relu", "l1": 0.1}}, "says otherwise"),
        ({"k": 0}, "k must be"),
        ({"k": 2.5}, "k must be"),
        ({"modalities": "image"}, "modalities must be a list"),
        ({"modalities": []}, "modalities must be one or more"),
        ({"modalities": ["a", "a"]}, "modalities must be one or more different"),
        ({"beta": math.inf}, "beta must be"),
        ({"k": 16}, "k must be at most the number of atoms, 15"),
        ({"dim": "6"}, "dim must be"),
        ({"atoms": None}, "atoms must be"),
        ({"beta": math.nan}, "beta must be"),
        ({"beta": "0"}, "beta must be"),
        ({"beta": -1}, "beta must be"),
        ({"input": "whitened"}, "input must be"),
        ({"atom_norm": ["unit"]}, "atom_norm must be"),
        ({"sparse_encoder": "relu"}, "is not a checkpoint"),
        ({"sparse_encoder": {"name": "os.system"}}, "there is no sparse encoder"),
        ({"sparse_encoder": {"name": ["relu"]}}, "unhashable"),
        ({"sparse_encoder": {"name": "relu", "l1": [1]}}, "is written relu"),
        ({"sparse_encoder": {"name": "relu", "l1": 0.1}}, "Missing key"),
        ({"null": "false"}, "null must be true or false"),
        ({"input": "centred"}, "Missing key"),
        ({"trust_remote_code": True}, "trust_remote_code, which this version.*newer"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict, said: str, tmp_path: Path) -> None:
    SparseAutoencoder(CONFIG).save(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | changes))
    with pytest.raises(InputError, match=f"(?s)is not a checkpoint.*{said}|{said}"):
        SparseAutoencoder.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 10**5, "\xff", '{"dim": 6}', "1e999"])
def test_a_config_that_is_no_json_of_ours_is_refused(text: str, tmp_path: Path) -> None:
    SparseAutoencoder(CONFIG).save(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)


def test_weights_that_are_not_the_configs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)
    untrained(sparse_encoder=JumpReLU()).save(tmp_path)
    file = tmp_path / "sae.safetensors"
    weights = load_file(file)
    for changed in (
        {"dictionary": weights["dictionary"]},
        weights | {"encoder.weight": torch.zeros(10**3, 6)},
        weights | {"another": torch.zeros(1)},
        {name: tensor.long() for name, tensor in weights.items()},
    ):
        save_file(changed, file)
        with pytest.raises(InputError, match="is not a checkpoint"):
            SparseAutoencoder.load(tmp_path)
    torch.save(weights, file)  # a pickle
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)
    save_file(weights, file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)


def test_a_config_says_what_beta_weighed(tmp_path: Path) -> None:
    config = SaeConfig(dim=4, atoms=6, k=2, beta=0.1, alignment=GroupSparse())
    SparseAutoencoder(config).save(tmp_path)
    assert SparseAutoencoder.load(tmp_path).config.alignment == GroupSparse()
    saved = json.loads((tmp_path / "config.json").read_text())
    del saved["alignment"]  # as saved before
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert SparseAutoencoder.load(tmp_path).config.alignment == MaskedCosine()
    (tmp_path / "config.json").write_text(json.dumps({**saved, "alignment": {"name": "love"}}))
    with pytest.raises(InputError, match="no alignment 'love'"):
        SparseAutoencoder.load(tmp_path)


def test_loading_imports_no_symbolic_algebra(tmp_path: Path) -> None:
    """Torch asks for sympy, over a second of it, as soon as something is computed on the meta device."""
    SparseAutoencoder(CONFIG).save(tmp_path)
    program = "import sys; from isoenergy.sae.autoencoder import SparseAutoencoder; SparseAutoencoder.load(sys.argv[1])"
    program += "; assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
