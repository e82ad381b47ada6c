"""What is written of each unit beside its Parquet, for tools that read none: `.npy` folders, CSR matrices."""

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from isoenergy.applying.written_choices import CODES
from isoenergy.errors import InputError
from isoenergy.storage.files import last_part, open_filesystem, write_atomically

NPY, CSR, LANCE = "npy", "csr", "lance"
LAYOUTS = (NPY, CSR, LANCE)
_FOLDERS = {"image": "img_emb"}
_KEY = "image_path"
"""What clip-retrieval calls a key."""
_PATH_SIGNS = {".", "`"}
"""With which Lance names a field inside another."""
_UNITS_FILE = "layouts.json"
_REMOVED_AT_ONCE = 32


def parse_layouts(text: str, writes: Sequence[str], columns: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names in a list with commas.

    columns: what else a row has. Raises InputError for an unknown name, one that would hold nothing, or one in which a
    column would be there twice.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in LAYOUTS]
    if unknown or len(set(names)) < len(names):
        raise InputError(f"layouts must be different names with commas between, of {', '.join(LAYOUTS)}; got {text!r}")
    if CSR in names and CODES not in writes:
        raise InputError(f"csr is a layout of codes; add codes to --write {','.join(writes)}")
    if NPY in names and set(writes) == {CODES}:
        raise InputError("npy is a layout of vectors; add bimodal, centred or another to --write codes")
    if NPY in names and _KEY in columns:
        raise InputError(f"npy has keys under the name {_KEY}; leave {_KEY} out of --columns, or npy out of --layouts")
    if LANCE in names and (unlike := [column for column in columns if not _PATH_SIGNS.isdisjoint(column)]):
        raise InputError(
            f"lance has no columns with . or ` in their names; leave {unlike[0]} out of --columns, or lance out of "
            f"--layouts"
        )
    return names


@dataclass(frozen=True)
class LayoutFiles:
    """Where they go. It may be sent to other processes.

    npy: `npy/WAY/img_emb/img_emb_N.npy`, `text_emb/…` and `metadata/metadata_N.parquet`, as clip-retrieval has them, N
    being the unit's number. csr: `csr/MODALITY_N.npz`, as `scipy.sparse.load_npz` reads them. `layouts.json` says which
    unit has which number: a source that grows may have new ones between others.
    """

    uri: str
    layouts: tuple[str, ...]
    modalities: tuple[str, ...]
    vectors: tuple[str, ...]
    atoms: int
    units: tuple[str, ...]
    """Names of the source's units: their places here are their numbers."""

    def lacking(self) -> set[int]:
        """Return the numbers of the units that lack a file, or have one under another number."""
        if self._numbered() != list(self.units):
            return set(range(len(self.units)))
        there = self._there()
        return {n for n in range(len(self.units)) if not there.issuperset(self._names(n).values())}

    def begin(self) -> None:
        """Keep which unit has which number; the files that were written by other numbers are removed before."""
        numbered = self._numbered()
        if numbered == list(self.units):
            return
        if numbered is not None:
            replace(self, units=tuple(numbered))._remove()
        self._put(_UNITS_FILE, json.dumps(self.units, indent=0).encode())

    def write(self, number: int, shard: pa.Table) -> None:
        """Write a unit's files anew, from its shard as it is stored."""
        names = self._names(number)
        if NPY in self.layouts:
            self._write_arrays(names, shard)
        if CSR in self.layouts:
            for modality in self.modalities:
                stream = io.BytesIO()
                sparse.save_npz(stream, self._matrix(shard, modality))
                self._put(names[CSR, modality], stream.getvalue())

    def _names(self, number: int) -> dict[tuple[str, str], str]:
        """The files of a unit, by CSR and modality, or by way and modality, with none for its metadata."""
        name = str(number).zfill(len(str(max(len(self.units) - 1, 0))))
        found = {}
        for way in self.vectors if NPY in self.layouts else ():
            for modality in self.modalities:
                folder = _FOLDERS.get(modality, f"{modality}_emb")
                found[way, modality] = f"npy/{way}/{folder}/{folder}_{name}.npy"
            found[way, ""] = f"npy/{way}/metadata/metadata_{name}.parquet"
        if CSR in self.layouts:
            found |= {(CSR, modality): f"csr/{modality}_{name}.npz" for modality in self.modalities}
        return found

    def _write_arrays(self, names: Mapping[tuple[str, str], str], shard: pa.Table) -> None:
        made = {f"{modality}_{way}" for modality in self.modalities for way in (*self.vectors, "atoms", "coefficients")}
        others = [column for column in shard.column_names if column not in made]
        metadata = shard.select(others).rename_columns([_KEY if column == "key" else column for column in others])
        table = io.BytesIO()
        pq.write_table(metadata, table, compression="zstd")
        for way in self.vectors:
            for modality in self.modalities:
                column = shard[f"{modality}_{way}"]
                rows = np.concatenate([np.empty(0, column.type.value_type.to_pandas_dtype()), *_flat(column)])
                stream = io.BytesIO()
                np.save(stream, rows.reshape(len(shard), column.type.list_size))
                self._put(names[way, modality], stream.getvalue())
            self._put(names[way, ""], table.getvalue())

    def _matrix(self, shard: pa.Table, modality: str) -> sparse.csr_array:
        if not len(shard):
            return sparse.csr_array((0, self.atoms), dtype=np.float32)
        atoms, coefficients = (shard[f"{modality}_{what}"].combine_chunks() for what in ("atoms", "coefficients"))
        numbers = coefficients.flatten().to_numpy().astype(np.float32)
        lengths = atoms.value_lengths().to_numpy()
        starts = np.concatenate([[0], lengths.cumsum()])
        return sparse.csr_array((numbers, atoms.flatten().to_numpy(), starts), shape=(len(shard), self.atoms))

    def _numbered(self) -> list[str] | None:
        """The units by the numbers of the files that are there; None if there are none."""
        filesystem, path = open_filesystem(f"{self.uri}/{_UNITS_FILE}")
        try:
            units: list[str] = json.loads(filesystem.cat_file(path))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return units

    def _there(self) -> set[str]:
        """Return what is in the folders of the units' files, which are those of the first unit's."""
        folders = {name.rpartition("/")[0] for name in self._names(0).values()}
        return {name for folder in folders for name in self._listing(folder)}

    def _listing(self, folder: str) -> list[str]:
        filesystem, path = open_filesystem(f"{self.uri}/{folder}")
        try:
            return [f"{folder}/{last_part(name)}" for name in filesystem.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _remove(self) -> None:
        """Remove the files of all units, and nothing else."""
        names = {name for number in range(len(self.units)) for name in self._names(number).values()}
        filesystem, root = open_filesystem(self.uri)
        with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
            list(pool.map(filesystem.rm_file, [f"{root}/{name}" for name in names & self._there()]))

    def _put(self, name: str, data: bytes) -> None:
        filesystem, path = open_filesystem(f"{self.uri}/{name}")
        filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        write_atomically(filesystem, path, data)


def _flat(column: pa.ChunkedArray) -> list[np.ndarray]:
    return [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
