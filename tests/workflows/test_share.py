"""`isoenergy share`: one command from a folder of `isoenergy train` to the hub."""

import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save_file

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.evaluation.carried import Carried, carried_by
from isoenergy.sae.model_card import model_card
from isoenergy.sae.sae_config import FITTED_FILE
from tests.encoders.fake_hub import READER, Hub
from tests.sae.small_sae import CONFIG, sae
from workflows import cli, share
from workflows.share import ShareConfig


@pytest.fixture
def trained(tmp_path: Path) -> str:
    """What `isoenergy train` leaves, with something beside it that is nobody's business."""
    folder = tmp_path / "beta-0.0025"
    sae().save(folder)
    (folder / "README.md").write_text(model_card(CONFIG, "clip", {"epochs": 5}, {"r2_image": 0.9}))
    (folder / "notes.txt").write_text("private")
    return str(folder)


def test_three_files_go_up_and_the_url_is_printed(
    hub: Hub,
    trained: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["isoenergy", "share", trained, "lab/sae"])
    cli.main()
    assert capsys.readouterr().out == f"{huggingface_hub.constants.ENDPOINT}/lab/sae\n"
    assert hub.commits == [("lab/sae", ["README.md", "config.json", "sae.safetensors"])]
    assert hub.private == {"lab/sae"}
    assert SparseAutoencoder.load("hf:lab/sae").digest == SparseAutoencoder.load(trained).digest
    card = (hub.models["lab/sae"]["main"] / "README.md").read_text()
    assert card == Path(trained, "README.md").read_text().replace("hf:ORG/NAME", "hf:lab/sae")
    assert "ORG/NAME" not in card


def test_what_it_carries_of_its_store_goes_up_and_comes_back(hub: Hub, trained: str) -> None:
    save_file({"x": np.zeros(1)}, Path(trained, FITTED_FILE), {"store": "abc", "pairs": "7"})
    share.main([trained, "lab/sae"])
    assert hub.commits == [("lab/sae", ["README.md", "config.json", FITTED_FILE, "sae.safetensors"])]
    assert carried_by("hf:lab/sae") == Carried("abc", 7)


@pytest.mark.parametrize(("flags", "private"), [([], True), (["--private"], True), (["--public"], False)])
def test_it_is_private_unless_asked_otherwise(hub: Hub, trained: str, flags: list[str], private: bool) -> None:
    share.main([trained, "hf:lab/sae", *flags])
    assert hub.private == ({"lab/sae"} if private else set())


def test_a_dry_run_shows_what_would_go_and_asks_nobody(
    hub: Hub,
    trained: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    text = share.run(ShareConfig(trained, "lab/sae", public=True, dry_run=True))
    for words in (
        "repository   lab/sae on http://127.0.0.1:",
        "visibility   public",
        f"digest {sae().digest}",
        f"{Path(trained, 'sae.safetensors').stat().st_size:,} bytes  sae.safetensors",
        "bytes  config.json",
        "bytes  README.md",
        "card         # An aligned sparse autoencoder (SAE-A) for clip",
    ):
        assert words in text
    assert "notes" not in text
    assert not hub.said


def test_without_a_card_it_gets_a_plain_one(hub: Hub, trained: str) -> None:
    Path(trained, "README.md").unlink()
    share.run(ShareConfig(f"file://{trained}", "lab/sae"))
    assert 'load("hf:lab/sae")' in (hub.models["lab/sae"]["main"] / "README.md").read_text()


def test_a_card_s_control_characters_do_not_reach_the_terminal(trained: str) -> None:
    Path(trained, "README.md").write_text("---\ntags: []\n---\n\x1b[31mred\x1b]0;title\x07")
    text = share.run(ShareConfig(trained, "lab/sae", dry_run=True))
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("card", [b"\xff\xfe", b" " * (2**20 + 1)])
def test_a_card_that_is_no_text_or_far_too_large_is_refused(trained: str, card: bytes) -> None:
    Path(trained, "README.md").write_bytes(card)
    with pytest.raises(InputError, match=rf"README\.md of {trained}"):
        share.run(ShareConfig(trained, "lab/sae", dry_run=True))


def test_what_is_on_the_hub_is_not_uploaded_again() -> None:
    with pytest.raises(InputError, match="hf:lab/one is on the hub already"):
        share.run(ShareConfig("hf:lab/one", "lab/two"))


def test_what_the_user_can_mend_is_one_line(
    refused: Callable[..., str],
    hub: Hub,
    trained: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "is not a checkpoint: there is no such folder" in refused("share", tmp_path / "nowhere", "lab/sae")
    assert "expected ORG/NAME" in refused("share", trained, "sae")
    assert "nolab must be your user name" in refused("share", trained, "nolab/sae")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "right to write" in refused("share", trained, "lab/sae")
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused("share", trained, "lab/sae")
    Path(trained, "sae.safetensors").write_bytes(b"\x80\x04pickled")
    assert f"{trained} is not a checkpoint" in refused("share", trained, "lab/sae")
    assert not hub.commits
