import json
from pathlib import Path

import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.sae.given_saes import DONE_FILE, given_saes, require_no_saes
from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import write_sae
from workflows.training.vector_stores import GivenStore

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


def test_saes_where_a_store_should_be_are_called_so(tmp_path: Path) -> None:
    for name in ("beta-0", "beta-0.001"):
        write_sae(tmp_path / "saes" / name, CONFIG)
    for place, names in (("saes", "beta-0, beta-0.001"), ("saes/beta-0", "beta-0")):
        with pytest.raises(InputError, match=rf"{place} holds SAEs \({names}\) and no store; give the store that"):
            GivenStore.at(str(tmp_path / place), "", str(tmp_path / "output"))
    np.save(tmp_path / "image.npy", np.zeros((4, 16), np.float32))
    for place in (f"{tmp_path}/image.npy", f"{tmp_path}/image.npy,{tmp_path}/image.npy", "hf:lab/sae"):
        require_no_saes(place)
