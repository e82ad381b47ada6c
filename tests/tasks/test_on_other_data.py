"""The tasks on data in the formats of others, embedded by the store's encoder; pictures of one colour, no mysteries."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isoenergy.errors import InputError
from tests.tasks.data_sets import picture, write, write_coco, write_fashioniq, write_imagenet
from tests.tasks.task_stores import measured, values, write_planted, write_planted_sae
from workflows.evaluation.task_config import TasksConfig

Tasks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder / "store")
    write_planted_sae(folder / "sae")
    return folder


def tasks_on(place: Path, root: Path, **options: Any) -> Tasks:
    return measured(place / "store", place / "sae", TasksConfig(**{"part_images": 3, **options}), root)


def test_an_imagenet_folder(place: Path, tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path / "imagenet")
    write(folder / "val/n01/broken.png", picture("green")[:40])
    names = str(folder / "names.txt")
    found = tasks_on(place, tmp_path / "steps", imagenet=str(folder), imagenet_names=names, templates="name")
    assert values(found["zero-shot/imagenet"], None, "original")["top1"] == 1
    assert values(found["probe/imagenet"], None, "original")["accuracy"] == 1
    assert {row["sae"] for row in found["probe/imagenet"]["rows"]} == {None, "sae"}
    made = found["zero-shot/imagenet"]["made"]
    assert made["images"] == 16
    assert sum(made["rejected"].values()) == 1
    assert "n01/broken.png" in made["named"]
    assert "16 images to the nearest of 4 classes" in found["zero-shot/imagenet"]["what"]
    alone = tasks_on(place, tmp_path / "alone", imagenet=str(folder / "val"), templates="name")
    assert list(alone) == ["zero-shot/imagenet"]


def test_images_are_read_as_those_of_the_store_were(place: Path, tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path / "imagenet", parts=("val",))
    for file in (folder / "val/n00").iterdir():
        with Image.open(file) as image:
            image.putalpha(0)
            image.save(file, "PNG")
    found = {}
    for transparency in ("as-stored", "white"):
        store = shutil.copytree(place / "store", tmp_path / transparency / "store")
        manifest = json.loads((store / "manifest.json").read_text()) | {"transparent": transparency}
        (store / "manifest.json").write_text(json.dumps(manifest))
        options = TasksConfig(imagenet=str(folder / "val"), imagenet_names=str(folder / "names.txt"), templates="name")
        tasks = measured(store, place / "sae", options, tmp_path / transparency / "steps")
        found[transparency] = values(tasks["zero-shot/imagenet"], None, "original")["top1"]
    assert found == {"as-stored": 1, "white": 0.75}  # the red ones, which nobody can see


def test_coco_captions(place: Path, tmp_path: Path) -> None:
    captions, images = write_coco(tmp_path / "coco")
    content = json.loads(captions.read_text())
    content["images"] += [{"id": 100, "file_name": "gone.jpg"}, {"id": 101, "file_name": "../captions.json"}]
    content["annotations"] += [{"id": n, "image_id": n, "caption": "H"} for n in (100, 101)]
    content["annotations"] += [{"id": 500, "image_id": 0, "caption": " "}, {"id": 501, "image_id": 0}]
    captions.write_text(json.dumps(content))
    found = tasks_on(place, tmp_path / "steps", coco=str(captions), coco_images=str(images))
    retrieval = values(found["retrieval/coco"], None, "original")
    assert retrieval["image_to_text_r1"] == pytest.approx(0.5)  # two images of a colour, whose captions are as near
    assert retrieval["text_to_image_r1"] == pytest.approx(0.5)
    assert retrieval["text_to_image_r5"] == 1
    mixed = found["mixed-retrieval/coco"]
    assert mixed["what"].startswith("8 texts and 0 images looked up among 8 documents")
    assert 0.5 < values(mixed, None, "original")["ndcg_text"] <= 1
    assert np.isnan(values(mixed, None, "original")["ndcg_image"])
    assert mixed["made"]["rejected"] == {"missing_image": 1, "unsafe_path": 1}


def test_fashioniq(place: Path, tmp_path: Path) -> None:
    other = {"candidate": "Bdred", "target": "B000000000", "captions": ["is longer"]}
    folder = write_fashioniq(tmp_path / "fashioniq", [other])
    found = tasks_on(place, tmp_path / "steps", fashioniq=str(folder))["composed-retrieval/fashioniq"]
    for group in ("all", "dress", "shirt"):
        assert values(found, None, "text", group)["r1"] == 1
        assert values(found, None, "source", group)["r1"] == pytest.approx(1 / 3)
        # red and green are nearer to white than to green: half of the sums miss
        assert values(found, None, "sum", group)["r1"] == pytest.approx(1 / 2)
        assert values(found, "sae", "bimodal_sum", group)["r10"] == 1
    assert found["made"]["unknown_keys"] == 1
    assert "dress/B000000000" in found["made"]["named"]
    assert "one exact target among 4 or 4 images" in found["what"]


def test_fashioniq_without_some_images(place: Path, tmp_path: Path) -> None:
    folder = write_fashioniq(tmp_path / "fashioniq")
    (folder / "images/Bdwhite.png").write_bytes(b"")
    (folder / "images/Bswhite.png").unlink()
    found = tasks_on(place, tmp_path / "steps", fashioniq=str(folder))["composed-retrieval/fashioniq"]
    assert found["made"]["rejected"] == {"empty_image": 1, "missing_image": 1}
    assert found["made"]["unknown_keys"] == 2
    assert values(found, None, "sum", "all")["r1"] == pytest.approx(1)
    for file in (folder / "images").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="none of 8 images could be embedded"):
        tasks_on(place, tmp_path / "steps", fashioniq=str(folder))
