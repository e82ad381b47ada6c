"""Whether a tokenizer is the model's own."""

from pathlib import Path
from typing import Any

from isoenergy.errors import InputError


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
