"""Images by what names each of them in a table: a URL, the image itself in base64, or a path."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, tee

from isoenergy.pairs.formats.listed import Fetch
from isoenergy.pairs.inline import decoded, is_inline
from isoenergy.pairs.rejection import Reason, Rejected

_URL_STARTS = ("http://", "https://")


def is_url(name: str) -> bool:
    """Return whether a name is an address on the web."""
    return name.strip()[:8].lower().startswith(_URL_STARTS)


def is_path(name: str) -> bool:
    """Return whether a name is neither a URL nor an image in base64."""
    return not is_url(name) and not is_inline(name)


def each_as_it_is(urls: Fetch, others: Fetch) -> Fetch:
    """Return what gets each image for what its name is: base64 from the name itself, else by `urls` or `others`."""

    def get(batches: Iterable[Sequence[str | None]]) -> Iterator[list[bytes | Rejected]]:
        every, of_urls, of_others = tee(batches, 3)
        found = zip(every, _where(is_url, of_urls, urls), _where(is_path, of_others, others), strict=True)
        for names, *images in found:
            yield [_image(*each) for each in zip(names, *images, strict=True)]

    return get


def _where(
    wanted: Callable[[str], bool], batches: Iterable[Sequence[str | None]], fetch: Fetch
) -> Iterator[Sequence[bytes | Rejected | None]]:
    """Yield the images of the wanted names; nothing is begun before there is one."""
    chosen = ([name if name and wanted(name) else None for name in names] for names in batches)
    for names in chosen:
        if any(names):
            yield from fetch(chain([names], chosen))
            return
        yield [None] * len(names)


def _image(name: str | None, of_url: bytes | Rejected | None, of_other: bytes | Rejected | None) -> bytes | Rejected:
    if not name:
        return Rejected(Reason.MISSING_IMAGE, "no image is named")
    image = of_url if is_url(name) else decoded(name) if is_inline(name) else of_other
    assert image is not None
    return image
