import json
from pathlib import Path

from isoenergy.sae.given_saes import DONE_FILE, given_saes
from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import write_sae

CONFIG = SaeConfig(dim=3, atoms=4, k=1, beta=0.0)


def test_a_folder_stands_for_the_saes_in_it_in_the_order_of_their_training(tmp_path: Path) -> None:
    for name in ("beta-0", "beta-0.001", "another"):
        write_sae(tmp_path / name, CONFIG)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "curves.png").write_text("")
    folder = str(tmp_path)
    assert given_saes([f"{folder}/"]) == tuple(f"{folder}/{name}" for name in ("another", "beta-0", "beta-0.001"))
    (tmp_path / DONE_FILE).write_text(json.dumps({"saes": ["beta-0.001", "beta-0", "gone"]}))
    assert given_saes([folder]) == tuple(f"{folder}/{name}" for name in ("beta-0.001", "beta-0", "another"))


def test_what_is_named_twice_is_one(tmp_path: Path) -> None:
    one = str(write_sae(tmp_path / "one", CONFIG))
    assert given_saes([one, str(tmp_path)]) == (one,)


def test_saes_themselves_hub_names_and_what_holds_none_are_left_as_they_are(tmp_path: Path) -> None:
    one = str(write_sae(tmp_path / "a" / "one", CONFIG))
    (tmp_path / "empty").mkdir()
    places = (one, "hf:lab/sae", "saelens:s3://bucket/sae", str(tmp_path / "empty"), str(tmp_path / "nowhere"))
    assert given_saes(places) == places
