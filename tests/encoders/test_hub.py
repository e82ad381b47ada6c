import shutil
import socket
from pathlib import Path

import pytest

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.storage import hub
from tests.encoders.fake_hub import Hub, at_this_hub

CLIP = "openai/clip-vit-base-patch32"


@pytest.fixture
def pickled(clip: Path, tmp_path: Path) -> Path:
    """The model as it was before safetensors."""
    shutil.copytree(clip, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    return tmp_path / "pickled"


@pytest.mark.parametrize("converted", [False, True])
def test_an_alias_is_fetched_once_and_then_needs_no_network(
    clip: Path, pickled: Path, monkeypatch: pytest.MonkeyPatch, converted: bool
) -> None:
    revisions = {"main": pickled, "refs/pr/3": clip} if converted else {"main": clip}
    at_hand = Hub({CLIP: revisions}, {CLIP: ("SFconvertbot", "refs/pr/3")} if converted else {})
    with at_this_hub(at_hand, monkeypatch):
        preprocessing = load_preprocessor("clip").describe()
        encoder = load_encoder("clip")
    assert (encoder.name, encoder.digest) == ("clip", load_encoder(f"hf:{clip}").digest)
    assert encoder.preprocessor.describe() == preprocessing == load_preprocessor(f"hf:{clip}").describe()
    hub.snapshot.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", _nowhere())
    assert load_encoder("clip").digest == encoder.digest


def test_only_the_hub_s_own_bot_may_convert_weights(clip: Path, pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hand = Hub({CLIP: {"main": pickled, "refs/pr/3": clip}}, {CLIP: ("somebody", "refs/pr/3")})
    with at_this_hub(at_hand, monkeypatch), pytest.raises(InputError, match=r"hub has no model\.safetensors"):
        load_encoder("clip")


def test_a_wrong_id_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with at_this_hub(Hub({}), monkeypatch), pytest.raises(InputError, match="no/such is neither a folder nor a model"):
        load_encoder("hf:no/such")


@pytest.mark.parametrize("name", ["clip", "siglip2", "hf:no/such", "open_clip:ViT-B-32:openai"])
def test_without_a_network_it_is_said_what_was_tried_and_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", _nowhere())
    with pytest.raises(InputError, match=r"could not be reached: one request, given up after 10 s.*hf:FOLDER"):
        load_encoder(name)


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "_TIMEOUT", 0.1)
        with pytest.raises(InputError, match="ReadTimeout"):
            load_preprocessor("clip")


def _nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"
