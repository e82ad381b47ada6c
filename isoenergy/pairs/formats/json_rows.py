"""The rows of tables in JSON: an object a line, an array of them, or one of the forms that image captions come in."""

import json
import posixpath
import re
from typing import Any

from isoenergy.errors import InputError
from isoenergy.pairs.columns import usual_column
from isoenergy.pairs.formats.named import is_path
from isoenergy.pairs.kinds import role_of

_NAMED = ("image", "caption")
"""The columns of an object whose names are images and whose values are captions."""
_MOST_DIGITS = 4300  # Python's own
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_SPACE = re.compile(r"[\s,]*")


def json_rows(text: str, path: str) -> list[dict[str, Any] | str]:
    """Return each row's object, or why it is none.

    A file is an object a line or an array of objects, whatever its suffix; a `.json` file may also be one row, an
    object with one array of rows, as Karpathy's split (`images` with `sentences`), one from keys to rows, or one from
    images to captions.

    Raises InputError if a `.json` file is none of these, or several arrays in it have rows.
    """
    is_array = text.lstrip().startswith("[")
    if not path.lower().endswith(".json") and not is_array:
        return _of_lines(text)
    try:
        content = parsed(text)
    except (ValueError, RecursionError) as error:
        rows = max(_of_lines(text), _of_entries(text) if is_array else [], key=_objects)
        if _objects(rows) or is_array:
            return rows
        if not text.strip():
            return []
        raise InputError(
            f"{path} is neither JSON nor an object a line ({type(error).__name__}: {error}); give an array of objects"
        ) from error
    if isinstance(content, list):
        return _entries(content)
    if isinstance(content, dict):
        return _of_object(content, path)
    raise InputError(f"{path} holds no rows; expected an array of objects, an object a line, or image and caption")


def parsed(text: str) -> Any:
    """Return what a text in JSON holds; a number of more digits than Python reads is their text.

    Raises ValueError or RecursionError if it is none.
    """
    return _DECODER.decode(text)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


_DECODER = json.JSONDecoder(parse_int=_integer)


def _of_object(content: dict[str, Any], path: str) -> list[dict[str, Any] | str]:
    """Return the rows of a file that is one object."""
    if _is_row(content):
        image = content[usual_column(list(content), "path") or ""]
        if isinstance(image, list) or (isinstance(image, dict) and not {"bytes", "path"} & image.keys()):
            what = "a list" if isinstance(image, list) else "an object"
            raise InputError(
                f"{path} holds {what} for each column; write it as an array of objects, one for each row, "
                f"as pandas does with orient='records'"
            )
        return [content]
    arrays = {name: value for name, value in content.items() if isinstance(value, list) and any(map(_is_object, value))}
    with_pairs = {name: value for name, value in arrays.items() if any(map(_is_row, value))}
    chosen = with_pairs if len(arrays) > 1 and with_pairs else arrays
    if len(chosen) > 1:
        raise InputError(f"{path} holds several arrays of objects, {', '.join(chosen)}; give each as a file of its own")
    if chosen:
        return _entries(next(iter(chosen.values())))
    if content and all(map(_is_row, content.values())):
        return [_with_path({"key": key} | row) for key, row in content.items()]
    if any(role_of(name) == "image" or not is_path(name) for name in content):
        return [dict(zip(_NAMED, item, strict=True)) for item in content.items()]
    return [content] if content else []


def _objects(rows: list[dict[str, Any] | str]) -> int:
    return sum(map(_is_object, rows))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and all(usual_column(list(value), role) for role in ("path", "caption"))


def _entries(values: list[Any]) -> list[dict[str, Any] | str]:
    return [_row(value, number) for number, value in enumerate(values)]


def _row(value: Any, number: int) -> dict[str, Any] | str:
    if isinstance(value, dict):
        return _with_path(value)
    return f"entry {number}: not a JSON object ({str(value)[:80]})"


def _of_entries(text: str) -> list[dict[str, Any] | str]:
    """Return the entries of an array that cannot be read as a whole: what is wrong with one costs it alone."""
    rows: list[dict[str, Any] | str] = []
    place = _end_of_space(text, text.index("[") + 1)
    while place < len(text) and text[place] != "]":
        try:
            value, end = _DECODER.raw_decode(text, place)
            rows.append(_row(value, len(rows)))
        except (ValueError, RecursionError) as error:
            end = _end_of_value(text, place)
            rows.append(f"entry {len(rows)}: {type(error).__name__}: {error}")
        place = _end_of_space(text, end)
    return rows


def _end_of_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _end_of_value(text: str, place: int) -> int:
    """Return where a value ends that is not JSON: at the comma or bracket that closes what it opened."""
    depth = 0
    for token in _TOKEN.finditer(text, place):
        if depth == 0 and token[0] in ("]", ","):
            return token.start()
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
    return len(text)


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
            row = parsed(line)
        except (ValueError, RecursionError) as error:
            row = f"{type(error).__name__}: {error}"
        rows.append(row if isinstance(row, dict) else f"line {number}: not a JSON object ({str(row)[:80]})")
    return rows
