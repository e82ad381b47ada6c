"""From a place to the source of pairs that it holds."""

from collections.abc import Sequence
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import counted
from isoenergy.pairs.captions import Captions
from isoenergy.pairs.columns import USUAL_NAMES, usual_column
from isoenergy.pairs.formats.arrow import SUFFIXES as ARROW_SUFFIXES
from isoenergy.pairs.formats.arrow import ArrowPairs
from isoenergy.pairs.formats.coco import SUFFIX as COCO_SUFFIX
from isoenergy.pairs.formats.coco import CocoPairs
from isoenergy.pairs.formats.folder import FolderPairs, has_sidecars
from isoenergy.pairs.formats.json_rows import parsed
from isoenergy.pairs.formats.listed import Fetch
from isoenergy.pairs.formats.named import is_url
from isoenergy.pairs.formats.parquet import SUFFIXES as PARQUET_SUFFIXES
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.formats.paths import PathPairs
from isoenergy.pairs.formats.row_groups import SPOILT, bytes_of, text_of
from isoenergy.pairs.formats.schemas import ROLES, plain_schema
from isoenergy.pairs.formats.table import SUFFIXES as TABLE_SUFFIXES
from isoenergy.pairs.formats.table import TablePairs, is_of_its_folder, tables_among
from isoenergy.pairs.formats.urls import UrlPairs
from isoenergy.pairs.formats.webdataset import SUFFIXES as TAR_SUFFIXES
from isoenergy.pairs.formats.webdataset import WebDatasetPairs
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.pairs.places import ending, place_of
from isoenergy.pairs.reach import open_file
from isoenergy.pairs.source import Format, PairColumns, PairSource, SourceConfig
from isoenergy.pairs.unsupported import conversion_of

_PEEKED_ROWS = 64
_SUFFIXES = (PARQUET_SUFFIXES, TAR_SUFFIXES, TABLE_SUFFIXES, ARROW_SUFFIXES, (COCO_SUFFIX,), IMAGE_SUFFIXES)
_WITH_COLUMNS = ("parquet", "urls", "paths", "arrow", "table")
_WITH_IMAGES = ("coco", "parquet", "arrow", "paths", "table")


def open_source(config: SourceConfig, fetch: Fetch) -> PairSource:
    """Open the source; `fetch` downloads the images of one that holds URLs.

    Raises InputError if nothing is there, the format is not recognised, the source is not of the format, or a setting
    is given that has no meaning for it.
    """
    uri, columns, captions = config.uri, config.columns, Captions(config.captions, config.captions_seed)
    try:
        kind = config.format or recognised(uri, columns)
        if columns != PairColumns() and kind not in _WITH_COLUMNS:
            raise InputError(f"{uri} is read as {kind}, which has no columns to name; leave out --columns")
        if config.images and kind not in _WITH_IMAGES:
            raise InputError(f"{uri} is read as {kind}, which has its images in itself; leave out --images")
        match kind:
            case "parquet":
                return ParquetPairs(uri, columns, captions, fetch, config.images)
            case "urls":
                return UrlPairs(uri, columns, fetch, captions)
            case "paths":
                return PathPairs(uri, columns, fetch, config.images, captions)
            case "arrow":
                return ArrowPairs(uri, columns, captions, fetch, config.images)
            case "webdataset":
                return WebDatasetPairs(uri, captions)
            case "coco":
                return CocoPairs(uri, config.images)
            case "table":
                return TablePairs(uri, columns, fetch, config.images, captions)
            case _:
                return FolderPairs(uri)
    except InputError:
        raise
    except Exception as error:  # each filesystem has exceptions of its own
        raise InputError(f"{uri} cannot be opened ({type(error).__name__}: {error})") from error


def recognised(uri: str, columns: PairColumns) -> Format:
    """Return the format of what lies at `uri`; raises InputError, saying what is there, if it is none of them."""
    place = place_of(uri)
    is_file = bool(place.named) and not ending(place.named, IMAGE_SUFFIXES)
    files = place.named + place.found
    _require_one_format(uri, place.named)
    kind = _kind(place.filesystem, place.root, files, columns)
    if kind is None or (kind == "folder" and is_file):
        if advice := conversion_of(files):
            raise InputError(f"{uri} holds {counted(files)}: {advice}")
        raise InputError(
            f"{uri} holds {counted(files)}: no image-text pairs that are recognised; give Parquet, tars, a COCO "
            f".json with --images, a .csv, .tsv or .jsonl, or a folder of images with .txt captions, or say which with "
            f"--format ({', '.join(get_args(Format))})"
        )
    return kind


def _require_one_format(uri: str, named: Sequence[str]) -> None:
    """Raise InputError if files that were named are of several formats, of which one alone would be read."""
    by_format = [of_it for suffixes in _SUFFIXES if (of_it := ending(named, suffixes))]
    if len(by_format) > 1:
        examples = " and ".join(files[0] for files in by_format)
        raise InputError(f"{uri} names files of several formats, such as {examples}; embed them apart")


def _kind(filesystem: AbstractFileSystem, root: str, files: Sequence[str], columns: PairColumns) -> Format | None:
    """The order matters: img2dataset leaves metadata in Parquet beside its tars and images."""
    parquet, images, tables = ending(files, PARQUET_SUFFIXES), ending(files, IMAGE_SUFFIXES), tables_among(files)
    if ending(files, TAR_SUFFIXES):
        return "webdataset"
    in_parquet: Format | None = None
    if parquet:
        in_parquet = _in_parquet(filesystem, [f"{root}/{file}" for file in parquet], columns, bool(images))
    if in_parquet == "parquet":
        return "parquet"
    if images and has_sidecars(files) and not any(map(is_of_its_folder, tables)):
        return "folder"
    if images and tables:
        return "table"
    if in_parquet:
        return in_parquet
    if tables:
        return "table"
    if ending(files, ARROW_SUFFIXES):
        return "arrow"
    described = ending(files, (COCO_SUFFIX,))
    if len(described) == 1 and (not images or is_of_its_folder(described[0])):
        return _in_json(filesystem, f"{root}/{described[0]}")
    if described and not images and all(_in_json(filesystem, f"{root}/{file}") == "table" for file in described):
        return "table"
    return "folder" if images or has_sidecars(files) else None


def _in_parquet(
    filesystem: AbstractFileSystem, paths: Sequence[str], columns: PairColumns, with_images: bool
) -> Format:
    """Tell image bytes from URLs and paths by the first file that can be read."""
    for path in paths:
        try:
            with open_file(filesystem, path, cache_type="none") as stream:
                schema = plain_schema(pq.ParquetFile(stream).schema_arrow)
        except SPOILT:
            continue
        types = {field.name: field.type for field in schema}
        if columns.image:
            if not pa.types.is_string(types.get(columns.image, pa.null())):
                return "parquet"
            return "urls" if all(map(is_url, _first_names(filesystem, path, columns.image))) else "paths"
        usual = {role: usual_column([n for n, kind in types.items() if ROLES[role][0](kind)], role) for role in ROLES}
        if usual["image"]:
            return "parquet"
        if usual["path"] and (not usual["url"] or (with_images and usual["path"] not in USUAL_NAMES["url"])):
            return "urls" if usual["path"] in USUAL_NAMES["url"] else "paths"
        if usual["url"] and usual["path"] == usual["url"]:
            names = _first_names(filesystem, path, usual["url"])
            return "urls" if any(map(is_url, names)) or not names else "paths"
        return "urls" if usual["url"] else "parquet"
    return "parquet"  # opening it says what is wrong


def _first_names(filesystem: AbstractFileSystem, path: str, column: str) -> list[str]:
    """Return the first texts of a column that names images."""
    with open_file(filesystem, path, cache_type="none") as stream:
        for batch in pq.ParquetFile(stream).iter_batches(_PEEKED_ROWS, columns=[column]):
            texts = map(text_of, bytes_of(pa.chunked_array([batch[column]])))
            if names := [text for text in texts if text]:
                return names
    return []


def _in_json(filesystem: AbstractFileSystem, path: str) -> Format:
    """Tell COCO's captions file from a table, which says what is wrong with a file that is neither."""
    text = filesystem.cat_file(path).decode("utf-8-sig", "surrogateescape")
    try:
        content = parsed(text)
    except (ValueError, RecursionError):
        return "table" if text.strip() else "coco"
    return "coco" if isinstance(content, dict) and {"images", "annotations"} <= content.keys() else "table"
