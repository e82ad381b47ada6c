"""Which words a vocabulary does not hold, by several kinds of tokenizers."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from isoenergy.encoders import load_encoder
from isoenergy.encoders.dual_encoder import KnowsWords
from isoenergy.encoders.vocabulary import unknown_words


def tokenizer_of(model: models.Model, **parts: object) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=getattr(model, "unk_token", None))


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    bytes_ = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    fallback = {f"<0x{number:02X}>": number for number in range(256)}
    return {
        "unknown for words": tokenizer_of(
            models.WordPiece({"[UNK]": 0, "cat": 1, "##s": 2, "4": 3, "##2": 4}, unk_token="[UNK]"),
            normalizer=normalizers.Lowercase(),
            pre_tokenizer=pre_tokenizers.Whitespace(),
        ),
        "bytes as letters": tokenizer_of(
            models.BPE({**bytes_, "ca": 256, "cat": 257}, [("c", "a"), ("ca", "t")]),
            normalizer=normalizers.Lowercase(),
            pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
        ),
        "bytes by number": tokenizer_of(
            models.BPE({**fallback, **{letter: 256 + n for n, letter in enumerate("▁cats42")}}, [], byte_fallback=True),
            normalizer=normalizers.Sequence([normalizers.Lowercase(), normalizers.Prepend("▁")]),
            decoder=decoders.ByteFallback(),
        ),
    }


@pytest.mark.parametrize("kind", ["unknown for words", "bytes as letters", "bytes by number"])
def test_what_is_nothing_but_bytes_or_unknown_is_not_held(tokenizers: dict, kind: str) -> None:
    assert unknown_words(tokenizers[kind], "Cat 猫 cats 42 😀 猫") == ["猫", "😀"]
    assert unknown_words(tokenizers[kind], "  ") == []


def test_the_bundled_encoder_tells_what_it_does_not_know() -> None:
    encoder = load_encoder("bundled")
    assert isinstance(encoder, KnowsWords)
    assert encoder.unknown_words("a red heart, café x 42 !!! <script>") == []
    assert encoder.unknown_words("Крым 猫 heart") == ["Крым", "猫"]
