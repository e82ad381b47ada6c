"""Why a pair was not embedded: a closed list of reasons."""

from enum import StrEnum

_LONGEST_DETAIL = 500


class Reason(StrEnum):
    """The reason codes of the `rejected` files; their text is part of the store's format."""

    MISSING_KEY = "missing_key"
    KEY_NOT_UTF8 = "key_not_utf8"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_CAPTION = "missing_caption"
    EMPTY_CAPTION = "empty_caption"
    CAPTION_NOT_UTF8 = "caption_not_utf8"
    CAPTION_TOO_LONG = "caption_too_long"
    MISSING_IMAGE = "missing_image"
    EMPTY_IMAGE = "empty_image"
    IMAGE_TOO_LARGE = "image_too_large"
    TRUNCATED_IMAGE = "truncated_image"
    UNREADABLE_IMAGE = "unreadable_image"
    WIDE_RANGE = "wide_range"
    BAD_URL = "bad_url"
    FORBIDDEN_ADDRESS = "forbidden_address"
    UNKNOWN_HOST = "unknown_host"
    CONNECTION_FAILED = "connection_failed"
    DOWNLOAD_TIMEOUT = "download_timeout"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    HTTP_CLIENT_ERROR = "http_client_error"
    HTTP_TOO_MANY_REQUESTS = "http_too_many_requests"
    HTTP_SERVER_ERROR = "http_server_error"
    CONTENT_ENCODED = "content_encoded"
    OPTED_OUT = "opted_out"
    UNSAFE_PATH = "unsafe_path"
    UNREADABLE_FILE = "unreadable_file"
    NOT_ADJACENT = "not_adjacent"
    UNREADABLE_ROW = "unreadable_row"
    NON_FINITE_EMBEDDING = "non_finite_embedding"
    UNUSABLE_ROW = "unusable_row"
    UNEXPECTED_ERROR = "unexpected_error"


RETRIABLE = frozenset(
    {
        Reason.UNKNOWN_HOST,
        Reason.CONNECTION_FAILED,
        Reason.DOWNLOAD_TIMEOUT,
        Reason.HTTP_TOO_MANY_REQUESTS,
        Reason.HTTP_SERVER_ERROR,
        Reason.UNREADABLE_FILE,
    }
)
"""Reasons that may have gone by another time."""


class Rejected(Exception):
    """A pair cannot be embedded, for `reason`; `detail` says more to a person, on one line that can be printed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        detail = printed(detail)
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


def printed(text: str) -> str:
    """Return a text of untrusted origin so that it can be shown and stored anywhere.

    What is not printable, such as half of a surrogate pair or a control character, is escaped as in Python; what is
    longer than 500 characters is cut.
    """
    plain = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text[:_LONGEST_DETAIL])
    return plain + "…" * (len(text) > _LONGEST_DETAIL)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
