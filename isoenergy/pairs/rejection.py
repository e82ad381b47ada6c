"""Why a pair was not embedded: a closed list of reasons."""

from enum import StrEnum


class Reason(StrEnum):
    """The reason codes of the `rejected` files; their text is part of the store's format."""

    MISSING_KEY = "missing_key"
    KEY_NOT_UTF8 = "key_not_utf8"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_CAPTION = "missing_caption"
    EMPTY_CAPTION = "empty_caption"
    CAPTION_NOT_UTF8 = "caption_not_utf8"
    MISSING_IMAGE = "missing_image"
    EMPTY_IMAGE = "empty_image"
    IMAGE_TOO_LARGE = "image_too_large"
    TRUNCATED_IMAGE = "truncated_image"
    UNREADABLE_IMAGE = "unreadable_image"
    NON_FINITE_EMBEDDING = "non_finite_embedding"


class Rejected(Exception):
    """A pair cannot be embedded, for `reason`; `detail` says more to a person."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
