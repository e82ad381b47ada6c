"""The one schema of many Parquet files, whose programs may have stored the same columns in different ways."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.captions import TEXT_FIELDS

_UNITS = ("s", "ms", "us", "ns")
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def plain_schema(schema: pa.Schema, keep_lengths: bool = False) -> pa.Schema:
    """Return the schema without what only says how a column is stored: dictionaries, large and view types, metadata.

    A column of a type that Parquet cannot hold, such as a struct without fields or a union, is one of text.
    keep_lengths: whether columns of lists that all have one length stay such.
    """
    kept = [keep_lengths and pa.types.is_fixed_size_list(field.type) for field in schema]
    return pa.schema([(f.name, f.type if keep else _plain(f.type)) for f, keep in zip(schema, kept, strict=True)])


def has_lengths(kind: pa.DataType) -> bool:
    """Return whether a type is one of lists of one length, or holds such."""
    fields = (kind.field(place) for place in range(kind.num_fields))
    return bool(pa.types.is_fixed_size_list(kind)) or any(has_lengths(field.type) for field in fields)


def common_schema(schemas: Mapping[pa.Schema, str], apart: str = "embed them apart") -> pa.Schema:
    """Return the schema that `plain_schema`s share, in the order of the first: all columns, of the widest types.

    Numbers may differ in their width and kind, timestamps in their unit; numbers beside texts become texts; a column of
    nulls alone, or none at all, fits any type.
    schemas: each with the name of a file that has it. apart: what to do with files of types that differ otherwise.
    Raises InputError, saying how, if they have types that differ otherwise, or one has a column twice.
    """
    merged: dict[str, pa.DataType] = {}
    holders: dict[str, str] = {}
    for schema, file in schemas.items():
        if len(set(schema.names)) != len(schema):
            raise InputError(f"{file} has two columns of one name among {', '.join(schema.names)}; rename one")
        for field in schema:
            known = merged.get(field.name, field.type)
            wider = _wider(known, field.type)
            if wider is None:
                raise InputError(
                    f"column {field.name!r} holds {known} in {holders[field.name]} and {field.type} in {file}; {apart}"
                )
            merged[field.name] = wider
            holders.setdefault(field.name, file)
    return pa.schema(list(merged.items()))


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a file's rows with the columns of `schema`, null where it has none of that name.

    Text that is not UTF-8 has question marks in it instead.
    """
    there = set(table.schema.names)
    columns = [_conformed(table[f.name], f.type) if f.name in there else pa.nulls(len(table), f.type) for f in schema]
    return pa.table(columns, schema) if columns else table.select([])


def _conformed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not _is_storable(column.type):
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    is_rounded = pa.types.is_integer(column.type) and pa.types.is_floating(kind)
    plain = column.cast(kind, safe=not is_rounded)
    try:
        plain.validate(full=True)
    except pa.ArrowInvalid:
        values = plain.cast(of_bytes(kind)).to_pylist()
        return pa.chunked_array([pa.array([_readable(value, kind) for value in values], kind)])
    return plain


def of_bytes(kind: pa.DataType) -> pa.DataType:
    """Return a type of the same layout with bytes for its texts."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(of_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, of_bytes(field.type)) for field in kind])
    return kind


def _readable(value: Any, kind: pa.DataType) -> Any:
    """Return a value of the type that `of_bytes` gives as one of `kind`."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value.decode("utf-8", "replace").replace("\ufffd", "?")
    if pa.types.is_list(kind):
        return [_readable(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _readable(value[field.name], field.type) for field in kind}
    return value


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both; None if there is none."""
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _is_list(one) and _is_list(other):
        inner = _wider(one.value_type, other.value_type)
        lengths = {kind.list_size if pa.types.is_fixed_size_list(kind) else -1 for kind in (one, other)}
        if inner is None or (len(lengths) > 1 and -1 not in lengths):
            return None
        return pa.list_(inner, lengths.pop() if len(lengths) == 1 else -1)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        kinds = {field.name: field.type for field in one}
        for field in other:
            inner = _wider(kinds.get(field.name, field.type), field.type)
            if inner is None:
                return None
            kinds[field.name] = inner
        return pa.struct(list(kinds.items()))
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return max(one, other, key=lambda kind: _UNITS.index(kind.unit)) if one.tz == other.tz else None
    if all(_is_number(kind) or pa.types.is_string(kind) for kind in (one, other)):
        return _of_numbers(one, other) if _is_number(one) and _is_number(other) else pa.string()
    return None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _of_numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds the numbers of both, those of integers and floats as pandas does."""
    both_integers = pa.types.is_integer(one) and pa.types.is_integer(other)
    both_floats = pa.types.is_floating(one) and pa.types.is_floating(other)
    if not (both_integers or both_floats):
        return pa.float64()
    if both_floats or pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    return pa.int64()


def _is_storable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_storable(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_storable(kind.value_type)
    if pa.types.is_union(kind) or pa.types.is_interval(kind) or pa.types.is_run_end_encoded(kind):
        return False
    fields = [kind.field(place) for place in range(kind.num_fields)]
    return all(_is_storable(field.type) for field in fields) and bool(fields or not pa.types.is_struct(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    if not _is_storable(kind):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    if pa.types.is_timestamp(kind) and kind.unit == "s":  # Parquet has no such unit
        return pa.timestamp("ms", kind.tz)
    if any(is_list(kind) for is_list in _LISTS):
        return pa.list_(_plain(kind.value_type))
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _is_key(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind)


def _is_image(kind: pa.DataType) -> bool:
    """Whether it is bytes, or Hugging Face's struct of bytes and path, of which one may lack."""
    if pa.types.is_struct(kind):
        kinds = {field.name: field.type for field in kind}
        named = pa.types.is_string(kinds.get("path", pa.null()))
        return bool(pa.types.is_binary(own := kinds.get("bytes", pa.null())) or (named and pa.types.is_null(own)))
    return bool(pa.types.is_binary(kind))


def _is_caption(kind: pa.DataType) -> bool:
    """Whether it is a text, a record with one, or a list of these."""
    if pa.types.is_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return any(field.name in TEXT_FIELDS and _is_text(field.type) for field in kind)
    return _is_text(kind)


ROLES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "key": (_is_key, "strings or integers"),
    "image": (_is_image, "bytes"),
    "url": (_is_text, "strings"),
    "path": (_is_text, "strings"),
    "caption": (_is_text, "strings"),
    "captions": (_is_caption, "strings or lists of them"),
}
"""Which plain types the column for a role may have, and what to call them."""
