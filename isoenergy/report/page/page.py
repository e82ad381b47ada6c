"""The report of an evaluation: one self-contained HTML page, and its figures and tables as files beside it."""

import logging
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.report.evaluation_file import evaluation_uri, read_evaluation
from isoenergy.report.page.modalities_page import KIND, modalities_page
from isoenergy.report.page.pairs_page import pairs_page
from isoenergy.report.page.rendering import Page
from isoenergy.report.page.shown_pictures import GivenPictures, with_given_pictures
from isoenergy.storage.files import open_filesystem, write_atomically

_LOG = logging.getLogger(__name__)


def write_report(evaluation: str, output: str, images: str = "") -> list[str]:
    """Write `output` (one HTML file), `figures/` and `tables/` beside it; return all files, page first.

    evaluation, output: paths or fsspec URLs, of `evaluation.json`, or its folder, and of the page. images: where
    pictures are if the store was not embedded from pairs: see `isoenergy.report.page.shown_pictures.GivenPictures`;
    how many of them there are is logged.

    Raises InputError if there is no evaluation, one of its steps is gone, or `images` has none of the pictures.
    """
    evaluation = evaluation_uri(evaluation)
    summary = read_evaluation(evaluation)
    try:
        page = _page_of(summary, evaluation, images)
        beside = "".join(output.rpartition("/")[:2])
        files = {output: page.html.encode()} | {f"{beside}{path}": data for path, data in page.files.items()}
    except InputError:  # the storage does not answer
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{evaluation} is not a whole evaluation ({error}); run `isoenergy evaluate` first") from error
    try:
        for path, data in reversed(files.items()):  # the page last: it is there when all is
            write_atomically(*open_filesystem(path), data)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output that can") from error
    return list(files)


def _page_of(summary: dict[str, Any], evaluation: str, images: str) -> Page:
    filesystem, file = open_filesystem(evaluation)
    root = file.rpartition("/")[0]

    def table(name: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(filesystem.cat_file(f"{root}/{name}")))

    given = GivenPictures(images, summary["store"]) if images else None
    if summary.get("kind") == KIND:
        page = modalities_page(summary, table)
    else:
        page = pairs_page(summary, with_given_pictures(table, given) if given else table, given)
    if given:
        _LOG.info(given.counted())
    return page
