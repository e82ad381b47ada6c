import json
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.tasks.imagenet import image_folders, read_image_classes
from tests.tasks.data_sets import TEXTS, picture, write, write_imagenet


def test_classes_are_folders_and_their_names_a_file_s(tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path)
    write(folder / "val/n00/.hidden.jpg", b"")
    write(folder / "val/n00/notes.txt", b"")
    found = read_image_classes(str(folder / "val"), str(folder / "names.txt"))
    assert found.classes == tuple(TEXTS.values())
    assert found.files[:5] == (*(f"n00/val_{n}.JPEG" for n in range(4)), "n01/val_0.JPEG")
    assert found.labels == (0,) * 4 + (1,) * 4 + (2,) * 4 + (3,) * 4


@pytest.mark.parametrize(
    "names",
    [
        {"n00": "red", "n01": "green", "n02": "blue", "n03": "plain_white"},
        {"0": ["n00", "red"], "1": ["n01", "green"], "2": ["n02", "blue"], "3": ["n03", "plain_white"]},
        ["red", "green", "blue", "plain_white"],
    ],
)
def test_names_in_json(tmp_path: Path, names: dict | list) -> None:
    folder = write_imagenet(tmp_path)
    write(folder / "names.json", json.dumps(names))
    found = read_image_classes(str(folder / "val"), str(folder / "names.json"))
    assert found.classes == ("red", "green", "blue", "plain white")


def test_so_many_of_a_class_from_all_over_it(tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path, images=9)
    found = read_image_classes(str(folder / "val"), most_a_class=3)
    assert found.files[:3] == ("n00/val_0.JPEG", "n00/val_4.JPEG", "n00/val_8.JPEG")
    assert found.classes[0] == "n00"
    assert len(read_image_classes(str(folder / "val"), most_a_class=100).files) == 36


def test_the_digest_changes_with_files_and_names(tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path)
    digests = [read_image_classes(str(folder / "val")).digest]
    digests.append(read_image_classes(str(folder / "val"), str(folder / "names.txt")).digest)
    write(folder / "val/n00/val_0.JPEG", picture("red") + b"more")
    digests.append(read_image_classes(str(folder / "val")).digest)
    assert len(set(digests)) == 3


def test_a_folder_without_val_is_it(tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path)
    assert set(image_folders(str(folder))) == {"train", "val"}
    assert image_folders(str(folder / "val")) == {"val": str(folder / "val")}


def test_what_is_no_image_folder_is_refused(tmp_path: Path) -> None:
    folder = write_imagenet(tmp_path)
    (folder / "val/n04").mkdir()
    with pytest.raises(InputError, match=r"n04 holds no images"):
        read_image_classes(str(folder / "val"))
    write(folder / "val/n04/a.png", picture("red"))
    with pytest.raises(InputError, match="no name for 1 of 5 class folders, such as n04"):
        read_image_classes(str(folder / "val"), str(folder / "names.txt"))
    write(folder / "names.json", json.dumps(["one", "two"]))
    with pytest.raises(InputError, match="lists 2 names for 5 folders"):
        read_image_classes(str(folder / "val"), str(folder / "names.json"))
    write(folder / "names.json", "7")
    with pytest.raises(InputError, match="does not name classes"):
        read_image_classes(str(folder / "val"), str(folder / "names.json"))
    with pytest.raises(InputError, match="0 class folders"):
        read_image_classes(str(folder / "val/n00"))
    with pytest.raises(InputError, match="no folder"):
        read_image_classes(str(folder / "gone"))
