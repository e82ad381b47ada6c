"""The one schema of many Parquet files, whose programs may have stored the same columns in different ways."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from isoenergy.errors import InputError


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema without what only says how a column is stored: dictionaries, large and view types, metadata."""
    return pa.schema([(field.name, _plain(field.type)) for field in schema])


def common_schema(schemas: Mapping[pa.Schema, str]) -> pa.Schema:
    """Return the schema that `plain_schema`s share, in the order of the first; a column of nulls alone fits any type.

    schemas: each with the name of a file that has it.
    Raises InputError, saying how, if they have different columns or types, or one has a column twice.
    """
    (first, first_file), *_ = schemas.items()
    merged = {field.name: field.type for field in first}
    for schema, file in schemas.items():
        if len(set(schema.names)) != len(schema):
            raise InputError(f"{file} has two columns of one name among {', '.join(schema.names)}; rename one")
        if only := sorted(set(schema.names) ^ set(merged)):
            raise InputError(f"{first_file} and {file} do not both have {', '.join(only)}; embed them apart")
        for field in schema:
            known = merged[field.name]
            if pa.types.is_null(known):
                merged[field.name] = field.type
            elif not (pa.types.is_null(field.type) or field.type.equals(known)):
                raise InputError(
                    f"column {field.name!r} holds {known} in {first_file} and {field.type} in {file}; embed them apart"
                )
    return pa.schema(list(merged.items()))


def _plain(kind: pa.DataType) -> pa.DataType:
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
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def _is_key(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind)


def _is_image(kind: pa.DataType) -> bool:
    """Whether it is bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return pa.types.is_binary(kind)


ROLES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "key": (_is_key, "strings or integers"),
    "image": (_is_image, "bytes"),
    "url": (_is_text, "strings"),
    "caption": (_is_text, "strings"),
}
"""Which plain types the column for a role may have, and what to call them."""
