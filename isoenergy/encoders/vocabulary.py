"""Whether a tokenizer is the model's own, and which words it knows."""

import re
from pathlib import Path
from typing import Any

from isoenergy.errors import InputError

_MARKS = re.compile(r"^(Ġ|▁|##)|</w>$")
"""Of the beginning or the end of a word, by several kinds of tokenizers."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def require_vocabulary(name: str, tokenizer: Any, folder: Path) -> None:
    """Raise InputError if the tokenizer's files are not in `folder`: transformers would make one that knows no word.

    tokenizer: of transformers.
    """
    files = dict(tokenizer.vocab_files_names)
    whole = files.pop("tokenizer_file", "tokenizer.json")
    if not (folder / whole).is_file() and not (files and all((folder / file).is_file() for file in files.values())):
        needed = " or ".join([whole, *([" and ".join(files.values())] if files else [])])
        raise InputError(f"the tokenizer of {name} needs {needed} in {folder}")


def require_tokens(name: str, tokens: int, embedded: int) -> None:
    """Raise InputError if the tokenizer has more tokens than the model has embeddings: it is another model's."""
    if tokens > embedded:
        raise InputError(f"the tokenizer of {name} is another model's: it has {tokens} tokens, the model {embedded}")


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words of a text of which a vocabulary has nothing but bytes, or what is for unknown ones.

    tokenizer: of transformers. A word that is cut into letters, or into parts of other words, is held.
    """
    return [word for word in dict.fromkeys(text.split()) if _is_unknown(tokenizer, word)]


def _is_unknown(tokenizer: Any, word: str) -> bool:
    pieces = [left for piece in tokenizer.tokenize(word) if (left := _MARKS.sub("", piece))]
    letters = word + word.lower()
    return bool(pieces) and all(
        piece == tokenizer.unk_token or _BYTE.fullmatch(piece) or (len(piece) == 1 and piece not in letters)
        for piece in pieces
    )
