from collections import Counter

from isoenergy.pairs.splits import split_of


def test_a_key_keeps_its_split_for_ever() -> None:
    splits = {"twemoji/flag-mongolia": "train", "noto/wine-glass": "test", "a": "train", "g": "validation"}
    assert {key: split_of(key) for key in splits} == splits


def test_shares_are_as_stated() -> None:
    counts = Counter(split_of(f"key-{number}") for number in range(20_000))
    assert abs(counts["test"] / 20_000 - 0.10) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.05) < 0.01
