"""The rows of tables in JSON: an object a line, an array of them, or one of the forms that image captions come in."""

import json
import posixpath
from typing import Any

from isoenergy.errors import InputError

_NAMED = ("image", "caption")
"""The columns of an object whose names are images and whose values are captions."""


def json_rows(text: str, path: str) -> list[dict[str, Any] | str]:
    """Return each row's object, or why it is none.

    A file is an object a line, whatever its suffix; an array of objects, as LLaVA's and ALBEF's; an object with one
    array of them, as Karpathy's split (`images` with `sentences`); or an object from image to caption or captions.

    Raises InputError if a `.json` file is none of these.
    """
    if not path.lower().endswith(".json"):
        return _of_lines(text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        rows = _of_lines(text)
        if any(isinstance(row, dict) for row in rows[:1]):
            return rows
        raise InputError(f"{path} is neither JSON nor an object a line ({error})") from error
    if isinstance(content, list):
        return [row if isinstance(row, dict) else f"entry {number}: not a JSON object ({str(row)[:80]})"
                for number, row in enumerate(content)]  # fmt: skip
    if isinstance(content, dict):
        arrays = [
            value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        if len(arrays) == 1:
            return [_with_path(row) if isinstance(row, dict) else "not a JSON object" for row in arrays[0]]
        if content and all(isinstance(value, str | list) for value in content.values()):
            return [dict(zip(_NAMED, item, strict=True)) for item in content.items()]
        return [content]
    raise InputError(f"{path} holds no rows; expected an array of objects, an object a line, or image and caption")


def _with_path(row: dict[str, Any]) -> dict[str, Any]:
    """Put Karpathy's folder and name of a file together."""
    folder, name = row.get("filepath"), row.get("filename")
    if isinstance(folder, str) and isinstance(name, str):
        return {"path": posixpath.join(folder, name)} | {
            n: v for n, v in row.items() if n not in ("filepath", "filename")
        }
    return row


def _of_lines(text: str) -> list[dict[str, Any] | str]:
    """Return each line's object, or why it is none."""
    rows: list[dict[str, Any] | str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row = f"{type(error).__name__}: {error}"
        rows.append(row if isinstance(row, dict) else f"line {number}: not a JSON object ({str(row)[:80]})")
    return rows
