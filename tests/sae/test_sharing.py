"""What is uploaded to a hub by its own client is what is loaded from it, and what goes wrong is said."""

import json
import pickle
import socket
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae.fetching import hub_name
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import JumpReLU
from isoenergy.storage import hub as hub_module
from tests.encoders.fake_hub import READER, WRITER, Hub
from tests.sae.small_sae import CONFIG, sae

FILES = {"sae.safetensors", "config.json", "README.md"}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("config", [CONFIG, SaeConfig(6, 15, 4, 0.0, JumpReLU(l0=0.3), "free", "centred")])
def test_what_is_pushed_is_loaded(hub: Hub, tmp_path: Path, large: bool, config: SaeConfig) -> None:
    hub.large = large
    pushed = sae(config=config)
    url = pushed.push_to_hub("hf:lab/sae")
    assert url == f"{huggingface_hub.constants.ENDPOINT}/lab/sae"
    assert hub.commits == [("lab/sae", sorted(FILES))]
    assert hub.private == {"lab/sae"}
    assert any("/objects/" in request for request in hub.said) == large
    pushed.save(tmp_path / "here")
    for place in ("hf:lab/sae", "hf://lab/sae", tmp_path / "here", f"file://{tmp_path}/here"):
        loaded = SparseAutoencoder.load(place)
        assert (loaded.digest, loaded.config) == (pushed.digest, config)
    assert 'load("hf:lab/sae")' in (tmp_path / "uploads" / "lab" / "sae" / "README.md").read_text()


def test_what_was_loaded_once_needs_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = sae().digest
    sae().push_to_hub("lab/sae")
    assert SparseAutoencoder.load("hf:lab/sae").digest == digest
    hub_module.snapshot.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert SparseAutoencoder.load("hf:lab/sae").digest == digest
    assert hub.said


def test_a_second_push_replaces_the_first_also_for_who_had_loaded_it(hub: Hub) -> None:
    sae(0).push_to_hub("lab/sae")
    assert SparseAutoencoder.load("hf:lab/sae").digest == sae(0).digest
    sae(1).push_to_hub("lab/sae")
    assert SparseAutoencoder.load("hf:lab/sae").digest == sae(1).digest
    assert len(hub.commits) == 2


@pytest.mark.parametrize("private", [True, False])
def test_nothing_is_shown_to_others_than_was_asked_for(hub: Hub, private: bool) -> None:
    sae().push_to_hub("lab/sae", private=private)
    with pytest.raises(InputError, match=f"/lab/sae is there already.*ask for --{'private' if private else 'public'}"):
        sae().push_to_hub("lab/sae", private=not private)
    assert len(hub.commits) == 1


def test_another_model_of_that_name_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text("# a model")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"weights")
    hub.models = {"lab/model": {"main": tmp_path / "model"}}
    with pytest.raises(InputError, match=r"/lab/model holds something else already \(README\.md, pytorch_model\.bin"):
        sae().push_to_hub("lab/model", private=False)
    assert (tmp_path / "model" / "README.md").read_text() == "# a model"


def test_a_commit_that_was_refused_is_made_by_the_same_call(hub: Hub) -> None:
    hub.broken = 500
    with pytest.raises(InputError, match="not well or busy; run the same command again later"):
        sae().push_to_hub("lab/sae")
    hub.broken = 0
    sae().push_to_hub("lab/sae")
    assert SparseAutoencoder.load("hf:lab/sae").digest == sae().digest


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        (None, "lab/sae", "no token for .*hf auth login.*HF_TOKEN"),
        ("hf_unknown", "lab/sae", "does not accept the token; log in anew"),
        (READER, "lab/sae", "lab must be your user name or an organisation of yours.*right to write.*settings/tokens"),
        (WRITER, "nolab/sae", 'nolab must be your user name .*rights to create a model under the namespace "nolab"'),
        ("hf_bro\x01ken", "lab/sae", "token has characters that no token has"),
        ("hf_brökén", "lab/sae", "token has characters that no token has"),
        ("hf_bro ken", "lab/sae", "token has characters that no token has"),
    ],
)
def test_a_token_that_will_not_do_is_said_and_never_shown(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    name: str,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=message) as refused:
        sae().push_to_hub(name)
    assert "\n" not in str(refused.value)
    assert "hf_" not in str(refused.value) + caplog.text
    assert not hub.commits


def test_a_token_that_may_only_read_replaces_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    sae(0).push_to_hub("lab/sae")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(InputError, match=r"the token needs the right to write there.*403"):
        sae(1).push_to_hub("lab/sae")
    assert len(hub.commits) == 1
    assert SparseAutoencoder.load("hf:lab/sae").digest == sae(0).digest


def test_a_private_one_is_not_there_for_others(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    sae().push_to_hub("lab/sae")
    assert hub.private
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"lab/sae is neither .* or a private one \(`hf auth login`\)"):
        SparseAutoencoder.load("hf:lab/sae")


def test_without_a_network_nothing_is_uploaded_and_no_password_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://user:pass@{_nowhere()}")
    with pytest.raises(InputError, match="check the network and HF_ENDPOINT") as refused:
        sae().push_to_hub("lab/sae")
    with pytest.raises(InputError, match="could not be reached") as unread:
        SparseAutoencoder.load("hf:lab/sae")
    assert "pass" not in str(refused.value) + str(unread.value)
    assert not hub.said


def test_a_card_that_the_hub_cannot_read_is_said(hub: Hub) -> None:
    with pytest.raises(InputError, match=r"look at the front matter of README\.md .*not YAML"):
        sae().push_to_hub("lab/sae", "---\ntags: [a\n---\n")
    assert not hub.commits


@pytest.mark.parametrize(
    "name", ["", "hf:", "sae", "lab/", "/sae", "lab/sae/more", "lab/a--b", "lab/..", "https://hub.org/lab/sae", "a b/c"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a name on the Hugging Face hub; expected ORG/NAME"):
        hub_name(name)


@pytest.mark.parametrize("where", ["folder", "file", "hub"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no weights", "sae.safetensors"),
        ("no config", "config.json"),
        ("other config", r"dictionary of \[15, 6\], config\.json says otherwise"),
        ("pickle", "is not a checkpoint"),
        ("cut weights", "is not a checkpoint"),
        ("huge config", r"config\.json of .* is larger than 1,048,576 bytes"),
        ("config of no object", "is not a checkpoint"),
        ("deep config", "is not a checkpoint"),
        ("only a pickle", "sae.safetensors"),
    ],
)
def test_what_cannot_be_loaded_is_named(hub: Hub, tmp_path: Path, where: str, fault: str, message: str) -> None:
    folder = tmp_path / "broken"
    sae().save(folder)
    config, weights = folder / "config.json", folder / "sae.safetensors"
    if fault == "no weights":
        weights.unlink()
    elif fault == "no config":
        config.unlink()
    elif fault == "other config":
        config.write_text(json.dumps({"dim": 7, "atoms": 10**12, "k": 4, "beta": 0}))
    elif fault == "pickle":
        weights.write_bytes(pickle.dumps(_Trap(tmp_path)))
    elif fault == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif fault == "huge config":
        config.write_bytes(b" " * (100 * 2**20))
    elif fault == "config of no object":
        config.write_text("[1]")
    elif fault == "deep config":
        config.write_text("[" * 100_000)
    elif fault == "only a pickle":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(tmp_path)))
    hub.models = {"lab/broken": {"main": folder}}
    place = {"folder": str(folder), "file": f"file://{folder}", "hub": "hf:lab/broken"}[where]
    with pytest.raises(InputError, match=message) as refused:
        SparseAutoencoder.load(place)
    assert place.removeprefix("hf:") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("place", ["hf:lab/none", "hf:none", "nowhere", "nope://bucket/sae", "memory://nothing/here"])
def test_a_place_without_anything_is_named(hub: Hub, place: str) -> None:
    assert not hub.models
    with pytest.raises(InputError, match=place.removeprefix("hf:")):
        SparseAutoencoder.load(place)


def test_an_sae_may_be_saved_where_it_was_loaded_from(tmp_path: Path) -> None:
    sae(config=SaeConfig(64, 4096, 4, 0.0)).save(tmp_path)
    loaded = SparseAutoencoder.load(tmp_path)
    loaded.save(tmp_path)
    assert torch.equal(load_file(tmp_path / "sae.safetensors")["dictionary"], loaded.dictionary)


class _Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "unpickled"

    def __reduce__(self) -> tuple:
        return Path.touch, (self._file,)


def _nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_null_model_says_on_the_hub_what_it_is(hub: Hub, tmp_path: Path) -> None:
    sae(config=replace(CONFIG, null=True)).push_to_hub("lab/null")
    assert SparseAutoencoder.load("hf:lab/null").config.null
    assert hub.commits == [("lab/null", sorted(FILES))]
    assert "# A null model" in (tmp_path / "uploads" / "lab" / "null" / "README.md").read_text()
