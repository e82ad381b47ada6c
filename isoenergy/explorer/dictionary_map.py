"""Where the atoms lie in two dimensions: at once by their principal axes, and by UMAP as soon as that is found."""

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.metrics.atom_places import FEWEST_ATOMS, principal_places, umap_places

MOST_ATOMS = 10_000
"""UMAP is not tried on more: minutes, as the search for neighbours grows with their square."""

Places = npt.NDArray[np.float64]


class DictionaryMap:
    """Places of the live atoms of one dictionary."""

    def __init__(self, coded: CodedPairs, folder: Path, seed: int = 0) -> None:
        self._coded, self._seed = coded, seed
        energy = coded.atoms["energy"].to_numpy()
        self.atoms: npt.NDArray[np.int64] = np.flatnonzero(energy > 0)
        self._file = folder / f"map-{coded.digest[:16]}-{seed}.npy"
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def principal(self) -> Places:
        """Return `(live, 2)` places along the principal axes."""
        return principal_places(self._rows())[0]

    def umap(self) -> Places | None:
        """Return `(live, 2)` places by UMAP; None while they are looked for, which the first call begins."""
        if self._file.exists():
            kept: Places = np.load(self._file)
            if np.array_equal(kept[:, 0], self.atoms):
                return kept[:, 1:]
        with self._lock:
            if self._thread is None and self.has_umap:
                self._thread = threading.Thread(target=self._find, daemon=True, name="umap")
                self._thread.start()
        return None

    @property
    def has_umap(self) -> bool:
        """Whether UMAP is tried."""
        return FEWEST_ATOMS <= len(self.atoms) <= MOST_ATOMS

    def _rows(self) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = self._coded.dictionary.numpy()[self.atoms]
        return rows

    def _find(self) -> None:
        places = np.column_stack([self.atoms, umap_places(self._rows(), self._seed)])
        partial = self._file.with_name(f"{self._file.stem}.partial.npy")
        np.save(partial, places)
        partial.rename(self._file)
