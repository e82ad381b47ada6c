"""Where vectors are that somebody has made: Parquet, clip-retrieval's folders, arrays in files, saved datasets."""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.columns import NO_KEY, USUAL_NAMES, usual_column
from isoenergy.pairs.formats.arrow import SUFFIXES as ARROW
from isoenergy.pairs.formats.arrow import is_kept_computation
from isoenergy.pairs.formats.parquet import SUFFIXES
from isoenergy.pairs.formats.row_groups import SPOILT
from isoenergy.pairs.formats.schemas import ROLES
from isoenergy.pairs.formats.table import SUFFIXES as TABLES
from isoenergy.pairs.places import Place, ending, is_folder, place_of, require_utf8
from isoenergy.pairs.source_files import expected_files, without_count
from isoenergy.pairs.source_names import is_pattern, listed_places
from isoenergy.settings.modalities import MODALITIES
from isoenergy.storage.files import open_filesystem, without_secrets
from isoenergy.store import lance_columns, tar_columns
from isoenergy.store.array_files import NPY, NPZ, SAFETENSORS, StoredArray, arrays_in
from isoenergy.store.column_files import (
    ArrayColumns,
    ArrowColumns,
    ColumnFile,
    FilePlace,
    JoinedColumns,
    ParquetColumns,
    RenamedColumns,
    TextColumns,
)
from isoenergy.store.modality_columns import CLIP_RETRIEVAL_KEY, LEAST_WIDTH, is_vector, usual_key
from isoenergy.store.paired_vectors import RENAMED, VectorFiles

_ARRAYS = (NPY, NPZ, SAFETENSORS)
_READ = (*_ARRAYS, *SUFFIXES, *ARROW)
_HEADERS_AT_ONCE = 32
_SHOWN = 5
_MOST_OFTEN = 100
"""Times as many numbers as files are no numbers of shards: dates, say."""
_USUAL = {
    "image": re.compile(r"(img|image|vision|visual|picture)s?([_-].*|emb.*)?"),
    "text": re.compile(r"(txt|text|caption|language)s?([_-].*|emb.*)?"),
}
_NUMBERED = re.compile(r"(.*?)[_.-]?(\d*)")


def holds_vectors(uri: str) -> bool:
    """Return whether files of vectors lie at `uri` that are not a store's, nor those of stores in a folder."""
    if len(listed_places(uri)) == 1:
        filesystem, root = open_filesystem(uri)
        if filesystem.isfile(f"{root}/manifest.json"):  # a store may have many files
            return False
        if not is_pattern(uri) and not filesystem.isfile(root) and not is_folder(filesystem, root):
            return False
    place = place_of(uri)
    files = place.named + place.found
    tars = ending(files, (tar_columns.SUFFIX,))
    kinds = (tar_columns.holds_arrays(FilePlace(place.filesystem, place.root, tar)) for tar in tars)
    there = bool(ending(files, (*_READ, lance_columns.SUFFIX))) or next((it for it in kinds if it is not None), False)
    return there and not any(file.rpartition("/")[2] == "manifest.json" for file in files)


def open_vectors(uri: str, modalities: Sequence[str] = (), key: str = "", captions: str = "") -> VectorFiles:
    """Open files of vectors.

    `.npy` files are a modality each, or one of its shards: `img_emb/img_emb_0.npy` belongs to `text_emb/text_emb_0.npy`
    and to the metadata in `metadata/metadata_0.parquet`; so are Parquet files of one column of vectors and without a
    key. Other Parquet, Arrow, `.npz` and safetensors have a modality a
    column, or array; where each file of Parquet has one column of vectors, and files are of several modalities, rows
    belong together by their keys. A tar has a modality for each `.NAME.npy` of a key.
    modalities, key: see `VectorFiles`. captions: a table of them, by key if both have one, else row by row.
    Raises InputError for what cannot be read, and for shards of which one lacks.
    """
    place = place_of(uri)
    if datasets := lance_columns.datasets_among(place.root, place.found):
        return VectorFiles(uri, _captioned(_of_lance(uri, place, datasets), captions, key), modalities, key)
    files = sorted({*place.named, *(ending(place.found, _READ) or ending(place.found, (tar_columns.SUFFIX,)))})
    require_utf8(uri, files)
    files = expected_files(uri, place, files)
    files = [file for file in files if not is_kept_computation(file)] or files
    arrays, tables = ending(files, (NPY,)), ending(files, SUFFIXES)
    in_one, arrow = ending(files, (NPZ, SAFETENSORS)), ending(files, ARROW)
    if sum(map(bool, (arrays, in_one, arrow))) > 1 or (tables and (in_one or arrow)):
        raise InputError(
            f"{without_secrets(uri)} holds files of several formats, such as "
            f"{' and '.join(kind[0] for kind in (arrays, in_one, arrow, tables) if kind)}; give those of one"
        )
    if arrays:
        parts = _shards(uri, place, arrays, tables)
    else:
        all_of_them = _opened(place, in_one or arrow or tables or files, modalities)
        opened = [file for file in all_of_them if file.schema.names] or all_of_them  # an empty tar has no columns
        parts = (
            (_shards_of_parquet(uri, place, opened, key) if tables else {})
            or _joined_by_key(uri, opened, key)
            or {part.at.file: [part] for part in opened}
        )
    return VectorFiles(uri, _captioned(parts, captions, key), modalities, key, _without_a_shard(list(parts)))


def _without_a_shard(files: Sequence[str]) -> list[str]:
    """Return what the plan says of numbers that no file has, between those of the first and of the last."""
    numbers = sorted({int(number) for file in files if (number := _taken_apart(file, of_folders=False)[1])})
    if len(numbers) < len(files) or len(files) < 2 or numbers[-1] - numbers[0] > _MOST_OFTEN * len(numbers):
        return []
    lacking = sorted({*range(numbers[0], numbers[-1] + 1)}.difference(numbers))
    shown = ", ".join(map(str, lacking[:_SHOWN])) + ", …" * (len(lacking) > _SHOWN)
    return [f"no file of number {shown} among {numbers[0]} to {numbers[-1]}"] if lacking else []


def _of_lance(uri: str, place: Place, datasets: Sequence[str]) -> dict[str, Sequence[ColumnFile]]:
    if len(datasets) > 1:
        raise InputError(
            f"{without_secrets(uri)} holds {len(datasets)} Lance datasets; give one: {', '.join(datasets)}"
        )
    root, _, name = datasets[0].rpartition("/")
    at = FilePlace(place.filesystem, root, name)
    try:
        return {name: [lance_columns.LanceColumns.of(at)]}
    except SPOILT as error:
        raise InputError(f"{at.shown} is no Lance dataset that can be read ({error})") from error


def _opened(place: Place, files: Sequence[str], modalities: Sequence[str] = ()) -> list[ColumnFile]:
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        return list(pool.map(lambda file: _open(FilePlace(place.filesystem, place.root, file), modalities), files))


def _open(at: FilePlace, modalities: Sequence[str] = ()) -> ColumnFile:
    """Read the header of a file; `modalities`: those that are asked for. Raises InputError for one of no use."""
    file = at.file
    try:
        if file.lower().endswith(ARROW):
            return ArrowColumns.of(at)
        if file.lower().endswith(_ARRAYS):
            return _of_arrays(at, arrays_in(at.filesystem, at.path), modalities)
        if file.lower().endswith(TABLES):
            return TextColumns.of(at)
        if file.lower().endswith(tar_columns.SUFFIX):
            tar = tar_columns.TarColumns.of(at)
            return RenamedColumns(
                tar, {field.name: _modality(field.name) for field in tar.schema if is_vector(field.type)}
            )
        return ParquetColumns.of(at)
    except SPOILT as error:
        kinds = {ARROW: "Arrow file", _ARRAYS: "file of arrays"}
        kind = next((kind for suffixes, kind in kinds.items() if file.lower().endswith(suffixes)), "Parquet file")
        raise InputError(f"{at.shown} is no {kind} that can be read ({error})") from error


def _of_arrays(at: FilePlace, arrays: Sequence[StoredArray], modalities: Sequence[str]) -> ArrayColumns:
    """Return the arrays of a file that have a vector, a number or a text a row, of which there are as many.

    Those of other lengths are left out, but for what may be modalities: where they are named, these, else all vectors
    that are wide enough.
    """
    vectors = [array for array in arrays if array.is_vectors]
    named = [array for array in vectors if {array.name, _modality(array.name)} & {*modalities}]
    asked = named or [array for array in vectors if array.shape[1] >= LEAST_WIDTH] or vectors
    counts = {array.shape[0] for array in asked}
    if len(counts) > 1:
        each = ", ".join(f"{array.shape[0]:,} rows in {array.name}" for array in asked)
        raise InputError(
            f"{at.shown}: {each}, which belong together; give arrays of as many rows, or --modalities that have as many"
        )
    if not vectors:
        shapes = ", ".join(f"{array.name or 'it'} is {array.dtype} of shape {array.shape}" for array in arrays)
        raise InputError(f"{at.shown} holds no vectors: {shapes or 'nothing'}; expected floats, (rows, width)")
    (rows,) = counts
    taken = [array for array in arrays if (array.is_vectors or array.is_column) and array.shape[0] == rows]
    why = f"and there are {rows:,} rows"
    left = {array.name: f"{array.dtype} of shape {array.shape}, {why}" for array in arrays if array not in taken}
    called = {array.name: _modality(array.name) if array.is_vectors else array.name for array in taken}
    if len({*called.values()}) < len(taken):
        called = {array.name: array.name for array in taken}
    columns = {called[array.name]: array for array in taken}
    return ArrayColumns(at, rows, tuple(sorted(columns.items(), key=lambda item: _order(item[0]))), left)


def _shards_of_parquet(
    uri: str, place: Place, files: Sequence[ColumnFile], key: str
) -> dict[str, Sequence[ColumnFile]]:
    """Return files of clip-retrieval's folders whose vectors are in Parquet; none, if these are no such.

    They are where each file of vectors has one column of them, and there is metadata, or no file has a key to be joined
    by and files or folders are called after images and texts.
    """
    of_vectors = [file.at.file for file in files if not _is_metadata(file)]
    metadata = [file.at.file for file in files if _is_metadata(file)]
    if not of_vectors or any(len(_vector_names(file)) != 1 for file in files if file.at.file in of_vectors):
        return {}
    called = {_modality(_taken_apart(file, of_folders)[0]) for file in of_vectors for of_folders in (False, True)}
    if not metadata and (not called.issuperset(MODALITIES) or any(_key_among(file.schema, key) for file in files)):
        return {}
    opened = {file.at.file: file for file in files}
    return _shards(uri, place, of_vectors, metadata, opened)


def _is_metadata(file: ColumnFile) -> bool:
    """Whether a file of Parquet has columns beside vectors: by its folder's or its own name, or as it has none."""
    names = {_taken_apart(file.at.file, of_folders)[0] for of_folders in (False, True)}
    return "metadata" in names or not _vector_names(file)


def _vector_names(file: ColumnFile) -> list[str]:
    return [field.name for field in file.schema if is_vector(field.type)]


def _shards(
    uri: str,
    place: Place,
    arrays: Sequence[str],
    tables: Sequence[str],
    known: Mapping[str, ColumnFile] | None = None,
) -> dict[str, Sequence[ColumnFile]]:
    """Return the shards of all modalities with their metadata, by that of the first modality.

    arrays: files with one column of vectors. tables: of metadata. known: those of both that are opened already.
    """
    by_modality = _numbered(uri, arrays)
    numbers = {number for shards in by_modality.values() for number in shards}
    metadata = _metadata(uri, tables)
    groups = {name: by_modality[name] for name in sorted(by_modality, key=_order)} | (
        {"": metadata} if metadata else {}
    )
    lacking = [
        f"{next(others[number] for others in by_modality.values() if number in others)} has no fellow in "
        f"{name or 'the metadata'}, of which there is {next(iter(shards.values()))}"
        for name, shards in groups.items()
        for number in sorted(numbers - set(shards))
    ]
    lacking += [f"{metadata[number]} has no vectors" for number in sorted(set(metadata) - numbers)]
    if lacking:
        more = f"; and so {len(lacking) - 1} more" * (len(lacking) > 1)
        raise InputError(f"{without_secrets(uri)}: {lacking[0]}{more}; add what lacks, or take out what it belongs to")
    names = [shards[number] for number in _sorted(numbers) for shards in groups.values()]
    opened = known or dict(zip(names, _opened(place, names), strict=True))
    parts: dict[str, Sequence[ColumnFile]] = {}
    for number in _sorted(numbers):
        together: list[ColumnFile] = []
        for name, shards in groups.items():
            part = opened[shards[number]]
            taken = {column: f"{RENAMED}{column}" for column in part.schema.names if column in by_modality}
            together.append(RenamedColumns(part, {**taken, _vector_names(part)[0]: name} if name else taken))
        parts[together[0].at.file] = together
    return parts


def _joined_by_key(uri: str, files: Sequence[ColumnFile], key: str) -> dict[str, Sequence[ColumnFile]]:
    """Return files that have one modality each, by that of the first; none, if there are no such."""
    vectors = {file.at.file: _vector_names(file) for file in files}
    kinds = {tuple(names) for names in vectors.values()}
    if any(len(names) != 1 for names in kinds) or len(files) < 2:
        return {}
    if len(kinds) > 1:
        by_modality: dict[str, dict[str, ColumnFile]] = {}
        for file in files:
            number = _taken_apart(file.at.file, of_folders=False)[1]
            by_modality.setdefault(vectors[file.at.file][0], {})[number] = file
        called = {name: name for name in by_modality}
    else:
        try:
            shards = _numbered(uri, list(vectors))
        except InputError:
            return {}
        by_file = {file.at.file: file for file in files}
        by_modality = {name: {n: by_file[file] for n, file in some.items()} for name, some in shards.items()}
        called = dict.fromkeys(by_modality, next(iter(kinds))[0])
    if len(by_modality) < 2:
        return {}
    names = sorted(by_modality, key=_order)
    numbers = {number for some in by_modality.values() for number in some}
    for name in names:
        if lacking := numbers - set(by_modality[name]) or sum(map(len, by_modality.values())) < len(files):
            raise InputError(
                f"{without_secrets(uri)}: {next(iter(by_modality[name].values())).at.file} is of {name}, which has not "
                f"as many files as others ({lacking}); a file of each modality belongs together, by the number behind"
            )
    parts: dict[str, Sequence[ColumnFile]] = {}
    for number in _sorted(numbers):
        first = by_modality[names[0]][number]
        first_key = _key_of(first, key)
        taken = set(first.schema.names) - {called[names[0]]} | set(names)
        together: list[ColumnFile] = [RenamedColumns(first, {called[names[0]]: names[0]})]
        for name in names[1:]:
            file = by_modality[name][number]
            joined = JoinedColumns(file, _key_of(file, key), first, first_key)
            others = [column for column in joined.schema.names if column in taken and column != called[name]]
            renamed = {column: f"{column}_of_{name}" for column in others}
            together.append(RenamedColumns(joined, {**renamed, called[name]: name}))
            taken |= set(together[-1].schema.names)
        parts[first.at.file] = together
    return parts


def _key_among(fields: Iterable[pa.Field], asked: str) -> str | None:
    """Return the column of keys: the one that is asked for, if it is there, or one of a usual name."""
    names = [field.name for field in fields if ROLES["key"][0](field.type)]
    return asked if asked in names else usual_key(names)


def _key_of(file: ColumnFile, asked: str) -> str:
    found = _key_among(file.schema, asked)
    if not found:
        usual = ", ".join([*USUAL_NAMES["key"], CLIP_RETRIEVAL_KEY])
        raise InputError(
            f"{file.at.shown} holds one modality and no key to join it to the others by: one of {usual} or --key NAME; "
            f"it has {', '.join(file.schema.names)}"
        )
    return found


def _captioned(parts: Mapping[str, Sequence[ColumnFile]], uri: str, key: str) -> Mapping[str, Sequence[ColumnFile]]:
    """Return files with captions beside each, if there are any: by key, if both have one, or row by row."""
    if not uri:
        return parts
    place = place_of(uri)
    if len(place.named) != 1:
        raise InputError(f"{without_secrets(uri)}: captions are in one file; give a CSV, TSV, JSONL or Parquet")
    table = _open(FilePlace(place.filesystem, place.root, place.named[0]))
    if not table.schema.names:
        raise InputError(f"{without_secrets(uri)} is empty; give a table with a column of captions")
    texts = {field.name for field in table.schema if ROLES["caption"][0](field.type)}
    caption = usual_column(sorted(texts), "caption")
    if caption is None:
        raise InputError(
            f"{without_secrets(uri)} has no column of captions, as {', '.join(USUAL_NAMES['caption'][:6])}, among "
            f"{', '.join(table.schema.names)}"
        )
    table_key = _key_among(table.schema, key)
    with_captions: dict[str, Sequence[ColumnFile]] = {}
    for file, together in parts.items():
        holder = {field.name: part for part in together for field in part.schema}
        own = _key_among((field for part in together for field in part.schema), key)
        beside = table
        if own and table_key and key != NO_KEY:
            beside = JoinedColumns(table, table_key, holder[own], own, caption)
        elif len(parts) > 1:
            raise InputError(f"{without_secrets(uri)}: captions of {len(parts)} files go by key, and there is none")
        taken = {name for part in together for name in part.schema.names}
        renamed = {name: f"{name}_of_captions" for name in beside.schema.names if name in taken}
        caption_there = renamed.get(caption, caption)
        kept = RenamedColumns(beside, {**renamed, caption: "caption" if "caption" not in taken else caption_there})
        with_captions[file] = [*together, kept]
    return with_captions


def _numbered(uri: str, files: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the shards of each modality by their number, as the names of files say, or else of folders."""
    for called, of_folders in ((_modality, False), (_modality, True), (_plain, False), (_plain, True)):
        found: dict[str, dict[str, str]] = {}
        for file in files:
            name, number = _taken_apart(file, of_folders)
            found.setdefault(called(name), {}).setdefault(number, file)
        if sum(map(len, found.values())) == len(files):
            return found
    _require_different_numbers(uri, files)
    raise InputError(
        f"{without_secrets(uri)}: {', '.join(files[:4])}: it cannot be told which modality they are of; name files, or "
        f"their folders, after modalities, and shards by a number behind: img_emb/img_emb_0.npy and "
        f"text_emb/text_emb_0.npy"
    )


def _metadata(uri: str, tables: Sequence[str]) -> dict[str, str]:
    _require_different_numbers(uri, tables, of_one_kind=True)
    return {_taken_apart(file, of_folders=False)[1]: file for file in tables}


def _require_different_numbers(uri: str, files: Sequence[str], of_one_kind: bool = False) -> None:
    """Raise InputError if two files of one name have one number, as `_7` and `_007`.

    of_one_kind: whatever their names are.
    """
    found: dict[tuple[str, str, str], str] = {}
    for file in files:
        what, number = _taken_apart(file, of_folders=False)
        shard = ("", "", number) if of_one_kind else (file.rpartition("/")[0], what, number)
        if shard in found:
            raise InputError(
                f"{without_secrets(uri)}: {found[shard]} and {file} are of one number, {number or 'none'}; leave one "
                f"out, or give it another"
            )
        found[shard] = file


def _taken_apart(file: str, of_folders: bool) -> tuple[str, str]:
    """Return what a file's name says that it holds, and the number behind it, without zeros before it."""
    folder, _, name = file.rpartition("/")
    found = _NUMBERED.fullmatch(without_count(name.rpartition(".")[0]))
    assert found is not None
    what, number = found.groups()
    return (folder.rpartition("/")[2] if of_folders or not what else what), number.lstrip("0") or number[:1]


def _sorted(numbers: set[str]) -> list[str]:
    return sorted(numbers, key=lambda number: (len(number), number))


def _modality(name: str) -> str:
    """Return image or text for what is usually called such, and a name that a modality may have for another."""
    return next((modality for modality, usual in _USUAL.items() if usual.fullmatch(name.lower())), _plain(name))


def _plain(name: str) -> str:
    """Return a name without what a modality's may not have."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _order(name: str) -> tuple[int, str]:
    return MODALITIES.index(name) if name in MODALITIES else len(MODALITIES), name
