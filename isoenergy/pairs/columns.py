"""Which column plays which role."""

from collections.abc import Sequence

from isoenergy.errors import InputError

NO_KEY = "none"
"""Given as the key's column: there is none."""
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "key": ("key", "__key__", "id", "uid", "sample_id"),
    "image": ("image", "jpg", "jpeg", "png", "webp", "img", "bytes", "image_bytes"),
    "url": ("url", "image_url", "img_url", "uri"),
    "path": (
        "path",
        "file_name",
        "filepath",
        "filename",
        "image_path",
        "file",
        "image",
        "url",
        "image_url",
        "image_base64",
        "base64",
    ),
    "caption": (
        "caption",
        "text",
        "txt",
        "top_caption",
        "title",
        "alt",
        "captions",
        "sentences",
        "conversations",
        "messages",
        "raw",
    ),
}

USUAL_NAMES["captions"] = USUAL_NAMES["caption"]


def usual_column(names: Sequence[str], role: str) -> str | None:
    """Return the first of the usual names for `role` that is there, in any case."""
    by_lower_case = {name.lower(): name for name in reversed(names)}
    return next((by_lower_case[usual] for usual in USUAL_NAMES[role] if usual in by_lower_case), None)


def given_column(names: Sequence[str], role: str, given: str, where: str, option: str) -> str:
    """Return the column that the user gave; raises InputError, listing what is there, if it is not."""
    if given not in names:
        raise InputError(
            f"{where} has no column {given!r} for the {role}; it has {', '.join(names)}; "
            f"name the right one with --columns.{option}"
        )
    return given


def no_column(names: Sequence[str], role: str, where: str, option: str, of: str = "") -> InputError:
    """Return the error of a source that has none of the usual names; `of` says what such a column holds."""
    return InputError(
        f"{where} has no column{of} for the {role}: none of {', '.join(USUAL_NAMES[role])} among {', '.join(names)}; "
        f"name it with --columns.{option}"
    )
