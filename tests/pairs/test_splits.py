from collections import Counter

from isoenergy.pairs.splits import split_of, split_of_pair


def test_a_key_keeps_its_split_for_ever() -> None:
    splits = {"twemoji/flag-mongolia": "train", "noto/wine-glass": "test", "a": "train", "g": "validation"}
    assert {key: split_of(key) for key in splits} == splits


def test_shares_are_as_stated() -> None:
    counts = Counter(split_of(f"key-{number}") for number in range(20_000))
    assert abs(counts["test"] / 20_000 - 0.10) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.05) < 0.01


def test_captions_of_one_image_are_in_its_split() -> None:
    for image in map(str, range(50)):
        assert {split_of_pair(f"{image}#{number}") for number in range(20)} == {split_of(image)}
    assert all(split_of_pair(key) == split_of(key) for key in ("a#", "#b", "a#1b", "#", "a#1\n", "a #-1"))
