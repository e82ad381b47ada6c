from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import cosine_similarity

from isoenergy.encoders import CosineToFloat32, cosine_to_float32, load_encoder
from isoenergy.encoders.dual_encoder import Pixels
from isoenergy.encoders.torch_encoder import TorchEncoder
from isoenergy.errors import InputError
from tests.encoders import checkpoints

MODELS = ["clip", "siglip2", "open_clip"]


@pytest.fixture
def name(request: pytest.FixtureRequest, clip_both_ways: tuple[Path, Path], siglip2: Path) -> str:
    open_clip, clip = clip_both_ways
    return {"clip": f"hf:{clip}", "siglip2": f"hf:{siglip2}", "open_clip": f"open_clip:{open_clip}"}[request.param]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", MODELS, indirect=True)
def test_bfloat16_is_close_to_float32_on_the_same_weights(name: str, pixels: Pixels) -> None:
    texts = checkpoints.captions(8)
    encoder, exact = load_encoder(name, precision="bfloat16"), load_encoder(name)
    assert (encoder.precision, exact.precision) == ("bfloat16", "float32")
    assert encoder.digest == exact.digest
    image, text = encoder.encode_pixels(pixels), encoder.encode_texts(texts)
    assert image.dtype == text.dtype == torch.float32
    cosines = cosine_to_float32(encoder, pixels, encoder.tokenise(texts))
    assert cosines.image == cosine_similarity(image, exact.encode_pixels(pixels)).min().item()
    assert cosines.text == cosine_similarity(text, exact.encode_texts(texts)).min().item()
    assert 0.99 < min(cosines.image, cosines.text) < max(cosines.image, cosines.text) < 1 - 1e-6
    assert cosine_to_float32(exact, pixels, exact.tokenise(texts)) == CosineToFloat32(1.0, 1.0)
    assert encoder.precision == "bfloat16"


def test_the_comparison_holds_no_second_model(clip: Path) -> None:
    encoder = load_encoder(f"hf:{clip}", precision="bfloat16")
    assert isinstance(encoder, TorchEncoder)
    assert encoder.in_float32()._model is encoder._model


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(InputError, match="precision must be one of float32, bfloat16, got 'float16'"):
        load_encoder("bundled", precision="float16")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS, indirect=True)
def test_towers_are_compiled_once_for_all_sizes_of_a_batch(
    name: str, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")  # captures as inductor would have it, without its minute of C++
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    encoder, eager = load_encoder(name, compile=True), load_encoder(name)
    texts = checkpoints.captions(8)
    for rows in (6, 8, 3, 1, 2):
        torch.testing.assert_close(encoder.encode_pixels(pixels[:rows]), eager.encode_pixels(pixels[:rows]))
        torch.testing.assert_close(encoder.encode_texts(texts[:rows]), eager.encode_texts(texts[:rows]))
    assert counter.frame_count == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", MODELS, indirect=True)
def test_compiled_towers_on_a_gpu(name: str, pixels: Pixels) -> None:
    device, texts = torch.device("cuda"), checkpoints.captions(8)
    exact, compiled = load_encoder(name), load_encoder(name, device, compile=True)
    torch.testing.assert_close(compiled.encode_pixels(pixels), exact.encode_pixels(pixels), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(compiled.encode_texts(texts), exact.encode_texts(texts), rtol=1e-3, atol=1e-3)
    compiled = load_encoder(name, device, "bfloat16", compile=True)
    cosines = cosine_to_float32(compiled, pixels, compiled.tokenise(texts))
    assert min(cosines.image, cosines.text) > 0.99
