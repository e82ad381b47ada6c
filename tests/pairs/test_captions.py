"""Which of an image's captions become pairs."""

import pytest

from isoenergy.pairs.captions import CaptionChoice, Captions


@pytest.mark.parametrize("choice", ["first", "random"])
@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        ([None, "b"], "b"),
        (["", " \n", "c"], "c"),
        ([None, None], None),
        (["", None], ""),
        ([None, " ", "d", None], "d"),
    ],
)
def test_one_caption_of_several_is_one_that_says_something(
    choice: CaptionChoice, texts: list[str | None], chosen: str | None
) -> None:
    for key in (b"a", b"b", b"c", b"d"):
        drawn = Captions(choice).chosen(key, texts)
        assert drawn == [(key, chosen)] or (chosen in (None, "") and drawn[0][1] in texts)


def test_all_captions_keep_their_numbers() -> None:
    assert Captions("all").chosen(b"k", [None, "b"]) == [(b"k#0", None), (b"k#1", "b")]
