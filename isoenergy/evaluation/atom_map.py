"""The dictionary as a map: where its atoms lie in two dimensions, and which of them the pairs connect."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from isoenergy.evaluation.concepts import load_statistics
from isoenergy.evaluation.measured_rows import Inputs, Result, SaeReference
from isoenergy.evaluation.results import EDGES_FILE, PLACES_FILE
from isoenergy.metrics.atom_places import principal_places, umap_places
from isoenergy.metrics.bridges import sigma_bridge
from isoenergy.sae.autoencoder import SparseAutoencoder


@dataclass(frozen=True)
class AtomMapConfig:
    """Whose atoms, and how many bridges at the most."""

    sae: SaeReference
    seed: int
    edges: int = 100


def write_atom_map(config: AtomMapConfig, inputs: Inputs, output: Path) -> Result:
    """Write the places of the live atoms, by PCA and by UMAP, and the strongest bridges between two of them.

    `places.parquet`: a row an atom; UMAP's places are null where there are too few. `edges.parquet`: entries of the
    Σ-bridge, strongest first, but for those of an atom with itself.
    """
    statistics = load_statistics(inputs["statistics"])
    dictionary = SparseAutoencoder.load(config.sae.uri).dictionary.detach().numpy()
    live = np.flatnonzero(statistics.energy > 0)
    principal, explained = principal_places(dictionary[live])
    neighbours = umap_places(dictionary[live], config.seed)
    places = pa.table(
        {
            "atom": live,
            "energy": statistics.energy[live],
            "modality_score": statistics.modality_score[live],
            **_coordinates("pca", principal),
            **_coordinates("umap", neighbours),
        }
    )
    pq.write_table(places, output / PLACES_FILE)
    bridge = sigma_bridge(load_statistics(inputs["statistics"], cross=True), dictionary)
    edges = strongest_edges(bridge, config.edges)
    pq.write_table(edges, output / EDGES_FILE)
    return {"atoms": len(live), "edges": len(edges), "explained": explained}


def strongest_edges(bridge: sparse.csr_array, count: int) -> pa.Table:
    """Return the `count` entries off the diagonal of `(atoms, atoms)` that are largest in size, these first."""
    entries = bridge.tocoo()
    rows, columns = entries.coords
    apart = np.flatnonzero(rows != columns)
    chosen = apart[np.argsort(-np.abs(entries.data[apart]), kind="stable")][:count]
    return pa.table(
        {
            "image_atom": rows[chosen].astype(np.int64),
            "text_atom": columns[chosen].astype(np.int64),
            "weight": entries.data[chosen],
        }
    )


def _coordinates(name: str, places: npt.NDArray[np.float64]) -> dict[str, pa.Array]:
    return {f"{name}_{axis}": pa.array(column, from_pandas=True) for axis, column in zip("xy", places.T, strict=True)}
