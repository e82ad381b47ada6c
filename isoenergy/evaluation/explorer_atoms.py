"""What the report's explorer shows of every live atom: its partners, and its strongest pairs with their pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.evaluation.concepts import load_statistics
from isoenergy.evaluation.exemplars import atoms_table
from isoenergy.evaluation.measured_rows import NOT_IDENTITY, Inputs, PartConfig, Result, SaeReference, read_places
from isoenergy.evaluation.results import CAPTIONS_FILE, EXPLORER_FILE
from isoenergy.evaluation.top_pairs import load_histogram, load_tops
from isoenergy.metrics.bridges import BridgeThresholds, sigma_bridge
from isoenergy.metrics.partners import strongest_partners
from isoenergy.pairs.source import SourceConfig
from isoenergy.pairs.thumbnails import picture_strips, read_thumbnails
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.image_choices import ImageReading
from isoenergy.settings.modalities import MODALITIES

_PARTNERS_FILE = "partners.parquet"
_PICTURES_FILE = "pictures.parquet"
_UNCUT = BridgeThresholds(gram=0.0, cross=0.0)
_LETTERS = 240
"""Of a caption; what is longer is cut."""


@dataclass(frozen=True)
class PartnersConfig:
    """How many partners of each atom are kept."""

    sae: SaeReference
    partners: int = 5


@dataclass(frozen=True)
class PicturesConfig:
    """A part of the pairs, and where their images are."""

    part: PartConfig
    source: SourceConfig | None = field(metadata=NOT_IDENTITY)
    """None: there are no images."""
    reading: ImageReading = field(metadata=NOT_IDENTITY)
    """How images are read, as they were for their embeddings."""


@dataclass(frozen=True)
class ExplorerConfig:
    """How many bytes the strips of all atoms may take: thumbnails are as large as that allows."""

    strip_bytes: int


def find_partners(config: PartnersConfig, inputs: Inputs, output: Path) -> Result:
    """Find each atom's strongest partners across C ∘ A, whole: the paper's cuts leave most atoms none."""
    dictionary = SparseAutoencoder.load(config.sae.uri).dictionary.detach().numpy()
    bridge = sigma_bridge(load_statistics(inputs["statistics"], cross=True), dictionary, _UNCUT)
    found = strongest_partners(bridge, config.partners)
    pq.write_table(pa.table(dict(vars(found))), output / _PARTNERS_FILE)
    return {"partners": len(found.atoms)}


def picture_part(config: PicturesConfig, inputs: Inputs, output: Path) -> Result:
    """Read the captions of the strongest pairs that lie in a part, and make thumbnails of their images.

    An image that cannot be read or decoded now has none; force the step to try again.
    """
    wanted = np.unique(np.concatenate([part.pairs for part in load_tops(inputs["tops"])]))
    pairs = read_places([config.part], wanted)
    places = list(zip(pairs["file"].to_pylist(), pairs["row"].to_pylist(), strict=True))
    rows: dict[str, list[int]] = {}
    for file, row in places:
        rows.setdefault(file, []).append(row)
    found = {} if config.source is None else read_thumbnails(config.source, rows, config.reading)
    captions = [
        caption if len(caption) <= _LETTERS else f"{caption[:_LETTERS]}…" for caption in pairs["caption"].to_pylist()
    ]
    table = pa.table(
        {
            **{name: pairs[name] for name in ("pair", "file", "row", "key")},
            "caption": pa.array(captions, pa.string()),
            "picture": pa.array([found.get(place) for place in places], pa.binary()),
        }
    )
    pq.write_table(table, output / _PICTURES_FILE)
    return {"pairs": len(table), "pictures": len(found)}


def gather_explorer(config: ExplorerConfig, inputs: Inputs, output: Path) -> Result:
    """Write what is shown of each live atom, a row an atom, and the captions of the pairs that are named.

    `explorer.parquet` has the columns of `atoms_table`; for each modality the strongest pairs, their coefficients,
    their cells in the strip (-1: no picture) and the histogram of activations; the partners; and the strip, thumbnails
    side by side as one AVIF.
    """
    statistics = load_statistics(inputs["statistics"])
    atoms = atoms_table(inputs["statistics"], inputs["fit"])
    live = np.flatnonzero(statistics.energy > 0)
    tops, histogram = load_tops(inputs["tops"]), load_histogram(inputs["tops"])
    shown = pa.concat_tables(
        [pq.read_table(folder / _PICTURES_FILE) for name, folder in inputs.items() if name.startswith("part")]
    ).combine_chunks()
    there = zip(shown["pair"].to_pylist(), shown["picture"].to_pylist(), strict=True)
    pictures = {pair: picture for pair, picture in there if picture is not None}
    pairs = [_lists(part.atoms, live, part.pairs) for part in tops]
    cells, strips = picture_strips([each.to_pylist() for each in pairs], pictures, config.strip_bytes)
    columns: dict[str, pa.Array] = {name: atoms[name].take(live) for name in atoms.column_names}
    for modality, part, own, in_strip in zip(MODALITIES, tops, pairs, cells, strict=True):
        columns[f"{modality}_pairs"] = own
        columns[f"{modality}_values"] = _lists(part.atoms, live, part.values)
        columns[f"{modality}_cells"] = pa.array(in_strip, pa.list_(pa.int64()))
        columns[f"{modality}_histogram"] = pa.array(list(getattr(histogram, modality)[live]))
    partners = pq.read_table(inputs["bridge"] / _PARTNERS_FILE)
    for name in ("partners", "weights", "atom_is_image"):
        columns[name] = _lists(partners["atoms"].to_numpy(), live, partners[name].combine_chunks())
    columns["strip"] = pa.array(strips, pa.binary())
    pq.write_table(pa.table(columns), output / EXPLORER_FILE)
    pq.write_table(shown.drop_columns(["picture"]), output / CAPTIONS_FILE)
    return {"atoms": len(live), "pictures": len(shown) - shown["picture"].null_count}


def _lists(sorted_atoms: npt.NDArray[np.integer], live: npt.NDArray[np.int64], values: pa.Array) -> pa.ListArray:
    """Return the values of each live atom; those of all come in the order of their atoms."""
    ends = np.searchsorted(sorted_atoms, live, "right")
    return pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), pa.array(values))
