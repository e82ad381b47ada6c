"""Which columns of vectors are modalities: those that are named, else all of one width that may be embeddings."""

from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.columns import usual_column
from isoenergy.settings.modalities import MODALITY_NAME
from isoenergy.store.schema import OWN_COLUMNS

LEAST_WIDTH = 16
"""Of a column that is taken for a modality without being named: a box or a date has fewer numbers."""
CLIP_RETRIEVAL_KEY = "image_path"
"""Where no column has a usual name for keys, this one has them."""
ROWS_LOOKED_AT = 1000
_SHARE_OF_ONE_LENGTH = 0.9

Width = tuple[int, float]
"""The usual length of a column's lists, 0 if there are none, and the share of the first rows that have it."""


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column of this type has a list of floats a row."""
    return bool((pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_floating(kind.value_type))


def usual_key(names: Sequence[str]) -> str | None:
    """Return the column of keys among some, by its name."""
    return usual_column(names, "key") or (CLIP_RETRIEVAL_KEY if CLIP_RETRIEVAL_KEY in names else None)


def chosen_columns(
    uri: str, schema: pa.Schema, asked: Sequence[str], width_of: Callable[[pa.DataType, str], Width]
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the width of each modality, and why other columns of vectors are none.

    uri: of the files, without secrets. asked: the columns that are named; none: all that may be taken. width_of: what
    the first rows of a column of a type and name say.
    Raises InputError for a name that is not there, is there twice, or that no modality can have; for columns without
    vectors; and for one column alone where others are in doubt.
    """
    kinds = {field.name: field.type for field in schema if is_vector(field.type)}
    _require_columns(uri, schema.names, kinds, asked)
    widths: dict[str, int] = {}
    left: dict[str, str] = {}
    for name in asked or kinds:
        width, share = width_of(kinds[name], name)
        why = "" if asked else _why_none(width, share)
        if asked and not width:
            raise InputError(f"{uri} has no {name} vector in its first {ROWS_LOOKED_AT} rows; mend the files")
        if why:
            left[name] = why
        else:
            widths[name] = width
    left |= {name: "--modalities does not name it" for name in kinds if asked and name not in widths}
    doubtful = len(widths) == 1 and left and not asked
    if not widths or doubtful:
        raise _no_modalities(uri, schema.names, kinds, {} if asked else left)
    _require_names(uri, widths)
    return widths, left


def _why_none(width: int, share: float) -> str:
    """Why a column that is not named is no modality; empty: it is one."""
    if share < _SHARE_OF_ONE_LENGTH:
        return "its lists have no one length" if width else f"none of its first {ROWS_LOOKED_AT} rows has one"
    return "" if width >= LEAST_WIDTH else f"{width} numbers a row, and fewer than {LEAST_WIDTH} may be no embedding"


def _require_columns(uri: str, names: Sequence[str], kinds: Collection[str], asked: Sequence[str]) -> None:
    if twice := [name for name in asked if asked.count(name) > 1]:
        raise InputError(f"--modalities names {twice[0]} more than once, in {','.join(asked)}; name each once")
    if missing := [name for name in asked if name not in kinds]:
        raise InputError(
            f"{uri} has no column of vectors {missing[0]!r}; those it has are {', '.join(kinds) or 'none'} among "
            f"{', '.join(names)}"
        )


def _no_modalities(uri: str, names: Sequence[str], kinds: Collection[str], left: Mapping[str, str]) -> InputError:
    why = "".join(f"; {name} is left out: {reason}; --modalities takes it" for name, reason in left.items())
    return InputError(
        f"{uri} has the columns {', '.join(names)}, of vectors: {', '.join(kinds) or 'none'}{why}; vectors are columns "
        f"of lists of float16, float32 or float64, a column a modality, of one alone by --modalities; images and texts "
        f"are embedded first, by `isoenergy embed`"
    )


def _require_names(uri: str, names: Collection[str]) -> None:
    for name in names:
        if name in OWN_COLUMNS or not MODALITY_NAME.fullmatch(name):
            raise InputError(
                f"{uri}: a modality cannot be called {name!r}; rename the column: letters, digits, _ and -, none of "
                f"{', '.join(OWN_COLUMNS)}"
            )
