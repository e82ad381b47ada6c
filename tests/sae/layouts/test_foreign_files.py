"""Files as other libraries write them, made here; codes against a plain implementation of what those libraries do."""

import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae.calibration import calibrate, lacks_threshold
from isoenergy.sae.joint import load_autoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, ReLU, SparseEncoder, TopK
from tests.sae.layouts import plain

DIM, ATOMS, K = 12, 40, 5
GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(60, DIM, generator=GENERATOR)
FREE = torch.randn(ATOMS, DIM, generator=GENERATOR)
UNIT = torch.nn.functional.normalize(FREE, dim=1)
ENCODER = FREE + 0.3 * torch.randn(ATOMS, DIM, generator=GENERATOR)
OFFSET = 0.2 * torch.randn(ATOMS, generator=GENERATOR)
BIAS = torch.randn(DIM, generator=GENERATOR)
THRESHOLD = torch.linspace(-0.5, 2.5, ATOMS)


def scores(x: Tensor, weight: Tensor = ENCODER, offset: Tensor = OFFSET) -> np.ndarray:
    return (x.double() @ weight.T.double() + offset.double()).numpy()


def saelens(folder: Path, architecture: str, tensors: dict[str, Tensor], **settings: Any) -> str:
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    config = {"architecture": architecture, "d_in": DIM, "d_sae": ATOMS, "dtype": "float32", "device": "cpu"}
    config |= {"normalize_activations": "none", "reshape_activations": "none", "metadata": {"sae_lens_version": "6.54"}}
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    return f"saelens:{folder}"


def require_codes(place: str, codes: np.ndarray, dictionary: Tensor, bias: Tensor | float = 0.0) -> SparseAutoencoder:
    """The SAE at `place` makes these codes of the raw rows, and rebuilds what they rebuild."""
    sae = SparseAutoencoder.load(place)
    found = sae.encode(ROWS, "image")
    np.testing.assert_allclose(found.to_dense(ATOMS), codes, atol=2e-5)
    assert 0 < (codes != 0).sum() < codes.size
    rebuilt = torch.from_numpy(codes).float() @ dictionary + bias
    torch.testing.assert_close(sae.restore(sae.decode(found), "image"), rebuilt, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sae.prepare(ROWS, "text") - found.residual, sae.decode(found), atol=1e-4, rtol=1e-4)
    return sae


LEARNED = {"W_dec": FREE, "W_enc": ENCODER.T, "b_enc": OFFSET, "b_dec": BIAS}


@pytest.mark.parametrize("subtracts", [True, False])
def test_saelens_top_k(subtracts: bool, tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "topk", LEARNED, k=K, apply_b_dec_to_input=subtracts)
    codes = plain.top_k(scores(ROWS - BIAS if subtracts else ROWS), K)
    sae = require_codes(place, codes, FREE, BIAS)
    assert (sae.config.k, sae.config.atom_norm, sae.config.decoder_bias) == (K, "free", True)


def test_saelens_top_k_whose_scores_are_rescaled_by_the_norms_has_them_folded(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "topk", LEARNED, k=K, rescale_acts_by_decoder_norm=True)
    codes = plain.top_k(scores(ROWS - BIAS) * FREE.norm(dim=1).double().numpy(), K)
    assert require_codes(place, codes, UNIT, BIAS).config.atom_norm == "unit"


def test_saelens_jump_relu_with_thresholds_below_zero(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "jumprelu", {**LEARNED, "threshold": THRESHOLD})
    require_codes(place, plain.above(scores(ROWS - BIAS), THRESHOLD.double().numpy()), FREE, BIAS)


def test_saelens_standard_and_that_of_version_5(tmp_path: Path) -> None:
    codes = plain.above(scores(ROWS - BIAS), 0)
    require_codes(saelens(tmp_path / "a", "standard", LEARNED), codes, FREE, BIAS)
    old = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "metadata": {}}
    require_codes(saelens(tmp_path / "b", "standard", LEARNED, **old), plain.top_k(scores(ROWS - BIAS), K), FREE, BIAS)


def test_saelens_constant_norm_rescale_takes_rows_of_any_norm(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "topk", LEARNED, k=K, normalize_activations="constant_norm_rescale")
    sae = SparseAutoencoder.load(place)
    theirs = ROWS / ROWS.norm(dim=1, keepdim=True) * DIM**0.5
    codes = plain.top_k(scores(theirs - BIAS), K)
    np.testing.assert_allclose(sae.encode(7 * ROWS, "image").to_dense(ATOMS), codes, atol=1e-4)
    rebuilt = (torch.from_numpy(codes).float() @ FREE + BIAS) / DIM**0.5
    torch.testing.assert_close(sae.restore(sae.decode(sae.encode(ROWS, "image")), "image"), rebuilt)


@pytest.mark.parametrize(("threshold", "repeats"), [(0.0, False), (1.5, False), (0.0, True), (1.5, True)])
def test_saelens_pursuit(threshold: float, repeats: bool, tmp_path: Path) -> None:
    rounds = 14  # enough for atoms to be chosen again
    settings = {"max_iterations": rounds, "residual_threshold": threshold, "stop_on_duplicate_support": repeats}
    place = saelens(tmp_path / "a", "matching_pursuit", {"W_dec": UNIT, "b_dec": BIAS}, **settings)
    codes = plain.pursuit((ROWS - BIAS).double().numpy(), UNIT.double().numpy(), rounds, threshold, repeats)
    require_codes(place, codes, UNIT, BIAS)
    no_rules = plain.pursuit((ROWS - BIAS).double().numpy(), UNIT.double().numpy(), rounds, 0.0, False)
    assert np.allclose(codes, no_rules) == (not threshold and not repeats)


def test_saelens_pursuit_of_defaults(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "matching_pursuit", {"W_dec": UNIT, "b_dec": BIAS}, apply_b_dec_to_input=False)
    codes = plain.pursuit(ROWS.double().numpy(), UNIT.double().numpy(), DIM, 1e-2, True)
    require_codes(place, codes, UNIT)
    long = {"max_iterations": ATOMS, "apply_b_dec_to_input": False}
    sae = SparseAutoencoder.load(saelens(tmp_path / "b", "matching_pursuit", {"W_dec": UNIT, "b_dec": BIAS}, **long))
    assert DIM < sae.encode(ROWS, "image").indices.shape[1] < ATOMS, "as wide as the fullest row"


@pytest.mark.parametrize(
    ("architecture", "settings", "said"),
    [
        ("gated", {}, "gated"),
        ("topk", {"k": K, "normalize_activations": "layer_norm"}, "layer_norm"),
        ("topk", {"k": K, "reshape_activations": "hook_z"}, "reshapes"),
        ("topk", {}, "KeyError"),
        ("standard", {"activation_fn": "tanh-relu", "metadata": {}}, "tanh-relu"),
    ],
)
def test_what_has_no_counterpart_is_named(
    architecture: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    place = saelens(tmp_path / "a", architecture, LEARNED, **settings)
    with pytest.raises(InputError, match=said) as error:
        SparseAutoencoder.load(place)
    assert place in str(error.value)


OURS = [
    MatchingPursuit(),
    MatchingPursuit("non-negative", 0.3, "end"),
    TopK(),
    BatchTopK(),
    JumpReLU(),
    ReLU(),
]  # fmt: skip


@pytest.mark.parametrize("encoder", OURS, ids=str)
def test_ours_in_saelens_layout_comes_back_and_says_all_to_others(encoder: SparseEncoder, tmp_path: Path) -> None:
    sae = SparseAutoencoder(SaeConfig(DIM, ATOMS, K, beta=1e-3, sparse_encoder=encoder), GENERATOR).eval()
    if encoder.name == "batch-top-k":
        calibrate(sae, sae.prepare(ROWS, "image"))
    sae.save(tmp_path, layout="saelens")
    back = load_autoencoder(f"saelens:{tmp_path}")
    assert (back.config, back.digest) == (sae.config, sae.digest)
    prepared, tensors = sae.prepare(ROWS, "image"), load_file(tmp_path / "sae_weights.safetensors")
    theirs = SparseAutoencoder.load(f"saelens:{tmp_path}?input=raw")  # without what we wrote for ourselves
    torch.testing.assert_close(theirs.encode(prepared).to_dense(ATOMS), sae.encode(prepared).to_dense(ATOMS))
    assert not tensors["b_dec"].any()
    assert ("W_enc" in tensors) == (not isinstance(encoder, MatchingPursuit))


def test_what_saelens_changed_since_is_what_is_read(tmp_path: Path) -> None:
    SparseAutoencoder(SaeConfig(DIM, ATOMS, K, 0.0)).save(tmp_path, layout="saelens")
    written = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(written | {"max_iterations": K - 1}))
    assert SparseAutoencoder.load(f"saelens:{tmp_path}").config.k == K - 1
    (tmp_path / "cfg.json").write_text(json.dumps(written | {"d_in": DIM + 1}))
    with pytest.raises(InputError, match="W_dec must be of shape"):
        SparseAutoencoder.load(f"saelens:{tmp_path}")
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(written | {"apply_b_dec_to_input": True}))
    save_file(tensors | {"b_dec": torch.ones(DIM)}, tmp_path / "sae_weights.safetensors")
    changed = SparseAutoencoder.load(f"saelens:{tmp_path}")
    assert changed.config.decoder_bias
    torch.testing.assert_close(changed.decoder_bias, torch.ones(DIM))


def test_what_saelens_lacks_is_not_written(tmp_path: Path) -> None:
    absolute = SaeConfig(DIM, ATOMS, K, 0.0, sparse_encoder=MatchingPursuit("absolute"))
    with pytest.raises(InputError, match="negative correlation"):
        SparseAutoencoder(absolute).save(tmp_path, layout="saelens")
    with pytest.raises(InputError, match="no threshold"):
        SparseAutoencoder(replace(absolute, sparse_encoder=BatchTopK())).save(tmp_path, layout="saelens")
    with pytest.raises(InputError, match="layout must be"):
        SparseAutoencoder(absolute).save(tmp_path, layout="onnx")  # type: ignore[arg-type]
    SparseAutoencoder(SaeConfig(DIM, ATOMS, K, 0.0, input="centred")).save(tmp_path, layout="saelens")
    with pytest.raises(InputError, match="centred"):
        SparseAutoencoder.load(f"saelens:{tmp_path}")


def test_sparsify(tmp_path: Path) -> None:
    tensors = {"encoder.weight": ENCODER, "encoder.bias": OFFSET, "W_dec": UNIT, "b_dec": BIAS}
    save_file(tensors, tmp_path / "sae.safetensors")
    config = {"activation": "topk", "k": K, "d_in": DIM, "num_latents": ATOMS, "transcode": False}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    require_codes(f"sparsify:{tmp_path}", plain.top_k(scores(ROWS - BIAS), K), UNIT, BIAS)
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"skip_connection": True}))
    with pytest.raises(InputError, match=r"cfg\.json says skip_connection true$"):
        SparseAutoencoder.load(f"sparsify:{tmp_path}")
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"activation": "groupmax"}))
    with pytest.raises(InputError, match=r'cfg\.json says activation "groupmax"$'):
        SparseAutoencoder.load(f"sparsify:{tmp_path}")
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"k": 999}))
    with pytest.raises(InputError, match=rf"it says k 999, and has {ATOMS} atoms"):
        SparseAutoencoder.load(f"sparsify:{tmp_path}")
    with pytest.raises(
        InputError, match=r"no SAE that saelens wrote: expected .* those of sparsify: give sparsify:PLACE"
    ):
        SparseAutoencoder.load(f"saelens:{tmp_path}")


def dictionary_learning(folder: Path, name: str, tensors: dict[str, Any]) -> str:
    torch.save(tensors, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "k": K}}))
    return f"dictionary-learning:{folder}"


LINEAR = {"encoder.weight": ENCODER, "encoder.bias": OFFSET, "decoder.weight": FREE.T}
COUNTS = {"k": torch.tensor(K, dtype=torch.int32)}


def test_dictionary_learning(tmp_path: Path) -> None:
    place = dictionary_learning(tmp_path, "AutoEncoderTopK", {**LINEAR, **COUNTS, "b_dec": BIAS})
    require_codes(place, plain.top_k(scores(ROWS - BIAS), K), FREE, BIAS)

    dictionary_learning(tmp_path, "AutoEncoder", {**LINEAR, "bias": BIAS})
    folded = plain.above(scores(ROWS - BIAS) * FREE.norm(dim=1).double().numpy(), 0)
    require_codes(place, folded, UNIT, BIAS)

    dictionary_learning(tmp_path, "AutoEncoderNew", {**LINEAR, "decoder.bias": BIAS})
    require_codes(place, plain.above(scores(ROWS), 0), FREE, BIAS)

    matrices = {"W_enc": ENCODER.T, "b_enc": OFFSET, "W_dec": FREE, "b_dec": BIAS, "threshold": THRESHOLD}
    dictionary_learning(tmp_path, "JumpReluAutoEncoder", matrices)
    require_codes(place, plain.above(scores(ROWS), THRESHOLD.double().numpy()), FREE, BIAS)

    one = {**matrices, **COUNTS, "threshold": torch.tensor(1.5), "group_sizes": torch.tensor([ATOMS])}
    dictionary_learning(tmp_path, "MatryoshkaBatchTopKSAE", one)
    require_codes(place, plain.above(scores(ROWS - BIAS), 1.5), FREE, BIAS)

    dictionary_learning(tmp_path, "BatchTopKSAE", {**LINEAR, **COUNTS, "b_dec": BIAS, "threshold": torch.tensor(1.5)})
    require_codes(place, plain.above(scores(ROWS - BIAS), 1.5), FREE, BIAS)

    dictionary_learning(tmp_path, "GatedAutoEncoder", LINEAR)
    with pytest.raises(InputError, match="GatedAutoEncoder"):
        SparseAutoencoder.load(place)


def test_a_batch_top_k_without_a_threshold_is_calibrated(tmp_path: Path) -> None:
    tensors = {**LINEAR, **COUNTS, "b_dec": BIAS, "threshold": torch.tensor(-1.0)}
    sae = SparseAutoencoder.load(dictionary_learning(tmp_path, "BatchTopKSAE", tensors))
    assert lacks_threshold(sae)
    with pytest.raises(ValueError, match="no threshold"):
        sae.encode(ROWS, "image")
    threshold = calibrate(sae, sae.prepare(ROWS, "image"))
    own = np.sort(np.maximum(scores(ROWS - BIAS), 0).ravel())[::-1]
    assert threshold == pytest.approx(own[K * len(ROWS) - 1], rel=1e-5)
    assert calibrate(sae, sae.prepare(ROWS, "image").double().numpy()) == threshold
    with pytest.raises(ValueError, match=rf"rows must be floats of shape \(batch, {ROWS.shape[1]}\)"):
        calibrate(sae, ROWS[:, 1:])
    assert (sae.encode(ROWS, "image").values != 0).sum() == K * len(ROWS)
    assert not lacks_threshold(sae)


OVERCOMPLETE = {"dictionary._weights": FREE, "dictionary.multiplier": torch.tensor(0.3)}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_overcomplete(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"sae.{suffix}"
    save: Callable[[Any, Path], None] = torch.save if suffix == "pt" else save_file
    atoms = 0.5 * FREE * torch.tensor(0.3).exp() / FREE.norm(dim=1).max()  # of norms below 1: the pursuit goes down
    save({**OVERCOMPLETE, "dictionary._weights": 0.5 * FREE / FREE.norm(dim=1).max()}, file)
    codes = plain.pursuit(ROWS.double().numpy(), atoms.double().numpy(), K, 0.0, False)
    require_codes(f"overcomplete:{file}?kind=mp&k={K}", codes, atoms)

    layer = {"encoder.final_block.0.weight": ENCODER, "encoder.final_block.0.bias": OFFSET}
    save({**OVERCOMPLETE, **layer}, file)
    dictionary = FREE * torch.tensor(0.3).exp()
    require_codes(f"overcomplete:{file}?kind=top-k&k={K}", plain.top_k(scores(ROWS), K), dictionary)
    place = f"overcomplete:{file}?kind=batch-top-k&k={K}"
    require_codes(f"{place}&threshold=1.5", plain.above(scores(ROWS), 1.5), dictionary)
    assert lacks_threshold(SparseAutoencoder.load(place))

    norm = torch.nn.BatchNorm1d(ATOMS).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2, generator=GENERATOR)
        normed = norm(torch.from_numpy(scores(ROWS)).float()).double().numpy()
    save({**OVERCOMPLETE, **layer, **{f"encoder.final_block.1.{k}": v for k, v in norm.state_dict().items()}}, file)
    require_codes(f"overcomplete:{file}?kind=top-k&k={K}", plain.top_k(normed, K), dictionary)

    for lacking in ("", "?kind=top-k", "?kind=omp&k=3", "?kind=mp&k=-2"):
        with pytest.raises(InputError, match=r"add \?kind=KIND"):
            SparseAutoencoder.load(f"overcomplete:{file}{lacking}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("kind=foo&k=4", r"\?kind=KIND&k=K, where .*mp, top-k, batch-top-k and K .*; kind is 'foo'$"),
        ("kind=mp&k=four", "K how many atoms a row has; k is 'four'$"),
        ("kind=mp", "; k is not given$"),
        ("kind=mp&k=3&atoms=9", "no option atoms, given as '9'; overcomplete has kind, k, threshold, input$"),
        (
            "kind=mp&k=3&threshold=1",
            "no option threshold, given as '1'; overcomplete has kind, k, input where kind is mp",
        ),
        ("kind=top-k&k=3&threshold=1", "no option threshold, .* where kind is top-k"),
        ("kind=batch-top-k&k=3&threshold=low", "threshold must be 0 or more, and finite, got 'low'"),
        ("kind=mp&k=3&k=4", "k is given more than once in 'kind=mp&k=3&k=4'"),
        ("kind=mp&k", "options must be NAME=VALUE, with & between, got 'kind=mp&k'"),
        ("kind=mp&k=41", "k must be at most its 40 atoms, got 41"),
        ("kind=mp&k=3&input=centred", "input of .* must be raw or normalised, got 'centred'"),
    ],
)
def test_an_option_that_would_mean_nothing_is_refused(options: str, said: str, tmp_path: Path) -> None:
    layer = {"encoder.final_block.0.weight": ENCODER, "encoder.final_block.0.bias": OFFSET}
    save_file({**OVERCOMPLETE, **layer}, tmp_path / "sae.safetensors")
    with pytest.raises(InputError, match=said):
        SparseAutoencoder.load(f"overcomplete:{tmp_path / 'sae.safetensors'}?{options}")


def test_an_option_of_another_library_or_against_the_files_is_refused(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "topk", LEARNED, k=K, normalize_activations="constant_norm_rescale")
    with pytest.raises(InputError, match=r"no option k, given as '3'; saelens has input$"):
        SparseAutoencoder.load(f"{place}?k=3")
    with pytest.raises(InputError, match=r"itself \(constant_norm_rescale\), and input=raw says otherwise"):
        SparseAutoencoder.load(f"{place}?input=raw")
    assert SparseAutoencoder.load(f"{place}?input=normalised").config == SparseAutoencoder.load(place).config


class Harmful:
    """Unpickling it would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    place = dictionary_learning(tmp_path, "AutoEncoderTopK", {**LINEAR, "b_dec": Harmful(tmp_path / "harm")})
    with pytest.raises(InputError, match="more than tensors") as refusal:
        SparseAutoencoder.load(place)
    told = "".join(traceback.format_exception(refusal.value))
    assert "weights_only=False" not in told  # torch's advice, which would run it
    assert "WeightsUnpickler" not in told
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("saelens:", "names no folder"),
        ("saelens:/nowhere", "expected cfg.json and sae_weights.safetensors"),
        ("saelens:hf:ORG", "expected saelens:hf:ORG/NAME"),
        ("sparsify:memory://nowhere", "expected cfg.json and sae.safetensors"),
        ("overcomplete:/nowhere/sae.pt?kind=mp&k=3", "expected sae.pt"),
        ("foo:PLACE", "no such folder.*other libraries are saelens:PLACE, overcomplete:PLACE"),
    ],
)
def test_a_place_without_one_is_named(place: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SparseAutoencoder.load(place)


def test_a_folder_of_theirs_that_is_taken_for_ours_is_told_whose_it_is(tmp_path: Path) -> None:
    for made in (
        saelens(tmp_path / "theirs", "topk", LEARNED, k=K),
        dictionary_learning(tmp_path, "AutoEncoderNew", {**LINEAR, "decoder.bias": BIAS}),
    ):
        with pytest.raises(InputError, match=f"another library: give {made}$"):
            SparseAutoencoder.load(made.partition(":")[2])


def test_shapes_that_disagree_are_named(tmp_path: Path) -> None:
    place = saelens(tmp_path / "a", "topk", {**LEARNED, "b_dec": BIAS[1:]}, k=K)
    with pytest.raises(InputError, match=r"b_dec must be of shape \(12\), got \(11,\)"):
        SparseAutoencoder.load(place)
    place = saelens(tmp_path / "b", "topk", {**LEARNED, "W_enc": ENCODER}, k=K)
    with pytest.raises(InputError, match="W_enc must be"):
        SparseAutoencoder.load(place)
