"""What is measured, as pieces that a step graph runs: each reads folders, writes one folder, returns a JSON result.

Rows are always the test pairs (or another split) in the order of the store's units and rows.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy import bootstrap as bootstrap_measures
from isoenergy.bootstrap import REPLICATES, BootstrapSums, poisson_weights
from isoenergy.codes import SparseCodes, concatenate
from isoenergy.equal_energy import PairedEnergy, equal_energy_tests
from isoenergy.interventions import INTERVENTIONS, Intervention, intervene, kept_atoms
from isoenergy.metrics.geometry import difference_in_means, optimal_transport_gap, probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, mean_squared_error, r2_centred, r2_paper
from isoenergy.metrics.retrieval import recall_at
from isoenergy.pairs.splits import Split
from isoenergy.sae import MODALITIES, SparseAutoencoder
from isoenergy.statistics import ALWAYS_ON_FREQUENCY, ConceptStatistics
from isoenergy.store import EmbeddingStore

RANKS = (1, 5, 10)
UNEQUAL_Q = 0.05
"""Below this false discovery rate an atom counts as one whose energies differ."""
_ENCODE_ROWS = 4096
_CODES_FILE = "codes.safetensors"
_STATISTICS_FILE = "statistics.safetensors"
_SUMS_FILE = "reconstruction.safetensors"
_PAIRED_FILE = "paired-energy.safetensors"
_BOOTSTRAP_FILE = "bootstrap.safetensors"
PLACE = {"identity": False}
"""Marks a field that says where something lies, not what it is: a step's fingerprint leaves it out."""

Inputs = Mapping[str, Path]
Result = dict[str, Any]


@dataclass(frozen=True)
class StoreReference:
    """A split of an embedding store."""

    uri: str = field(metadata=PLACE)
    fingerprint: str
    split: Split


@dataclass(frozen=True)
class PartConfig:
    """Units of a store, to be encoded by one SAE."""

    store: StoreReference
    units: tuple[str, ...]
    sae_folder: str = field(metadata=PLACE)
    sae_digest: str
    seed: int
    """Decides the bootstrap's weights."""


@dataclass(frozen=True)
class SampleConfig:
    """A seeded sub-sample for the metrics whose cost grows faster than the data."""

    store: StoreReference
    sae_folder: str = field(metadata=PLACE)
    sae_digest: str
    sample: int
    seed: int


@dataclass(frozen=True)
class OriginalConfig:
    """The embeddings themselves, with no SAE."""

    store: StoreReference
    sample: int
    seed: int


def encode_part(config: PartConfig, inputs: Inputs, output: Path) -> Result:
    """Encode some units: their codes, and the sums over their pairs from which all that is measured follows."""
    del inputs
    store, sae = EmbeddingStore.open(config.store.uri), SparseAutoencoder.load(config.sae_folder)
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    sums = {modality: ReconstructionSums.zeros(sae.config.dim) for modality in MODALITIES}
    paired, bootstrap = PairedEnergy.zeros(sae.config.atoms), BootstrapSums.zeros(sae.config.atoms)
    found: dict[str, list[SparseCodes]] = {modality: [] for modality in MODALITIES}
    gram = sae.gram_of_frozen(rows=len(MODALITIES) * store.manifest.rows_per_unit)
    for unit in config.units:
        arrays = store.read_unit_arrays(unit, config.store.split)
        for start in range(0, len(arrays), _ENCODE_ROWS):
            codes: dict[str, SparseCodes] = {}
            prepared: dict[str, Tensor] = {}
            for modality, rows in zip(MODALITIES, (arrays.images, arrays.texts), strict=True):
                with torch.no_grad():
                    x = prepared[modality] = sae.prepare(_tensor(rows[start : start + _ENCODE_ROWS]), modality)
                    codes[modality] = sae.encode(x, gram)
                sums[modality].update(x, codes[modality].residual)
                found[modality].append(codes[modality])
            both = codes["image"], codes["text"]
            statistics.update(*both)
            paired.update(*both)
            weights = poisson_weights(len(both[0]), REPLICATES, config.seed, _part_number(unit, start))
            bootstrap.update(both, (prepared["image"], prepared["text"]), weights)
    joined = {modality: concatenate(parts, sae.config.k) for modality, parts in found.items()}
    save_file(
        {f"{m}.{part}": getattr(codes, part) for m, codes in joined.items() for part in ("indices", "values")},
        output / _CODES_FILE,
    )
    statistics.save(output / _STATISTICS_FILE)
    paired.save(output / _PAIRED_FILE)
    bootstrap.save(output / _BOOTSTRAP_FILE)
    for modality in MODALITIES:
        sums[modality].save(output / f"{modality}-{_SUMS_FILE}")
    return {"pairs": statistics.image.rows}


def _part_number(unit: str, start: int) -> int:
    """A number of its own for each batch of pairs, whatever else is evaluated."""
    return int.from_bytes(hashlib.sha256(f"{unit}/{start}".encode()).digest()[:6])


def merge_parts(config: None, inputs: Inputs, output: Path) -> Result:
    """Merge the parts' sums into the whole and measure all that follows from them."""
    del config
    folders = list(inputs.values())
    statistics = ConceptStatistics.load(folders[0] / _STATISTICS_FILE)
    sums = {m: ReconstructionSums.load(folders[0] / f"{m}-{_SUMS_FILE}") for m in MODALITIES}
    paired, bootstrap = load_paired(folders[0]), load_bootstrap(folders[0])
    for folder in folders[1:]:
        paired, bootstrap = paired.merge(load_paired(folder)), bootstrap.merge(load_bootstrap(folder))
        statistics = statistics.merge(ConceptStatistics.load(folder / _STATISTICS_FILE))
        sums = {m: sums[m].merge(ReconstructionSums.load(folder / f"{m}-{_SUMS_FILE}")) for m in MODALITIES}
    statistics.save(output / _STATISTICS_FILE)
    paired.save(output / _PAIRED_FILE)
    bootstrap.save(output / _BOOTSTRAP_FILE)
    classes, tests = statistics.classes(), equal_energy_tests(paired)
    image, text = sums["image"], sums["text"]
    dim = len(image.first)
    return {
        "pairs": statistics.image.rows,
        "mse": mean_squared_error(image, text),
        "r2": r2_paper(image, text),
        "r2_centred": r2_centred(image, text),
        "l0": (statistics.image.l0 + statistics.text.l0) / 2,
        "l1": (statistics.image.l1 + statistics.text.l1) / 2,
        "atoms": statistics.atoms,
        "always_on_energy_share": statistics.energy_share(statistics.frequency > ALWAYS_ON_FREQUENCY),
        **{f"{name}_atoms": int(mask.sum()) for name, mask in asdict(classes).items()},
        **{f"{name}_energy_share": statistics.energy_share(mask) for name, mask in asdict(classes).items()},
        "tested_atoms": int(np.isfinite(tests.p_value).sum()),
        "unequal_atoms": int((tests.q_value < UNEQUAL_Q).sum()),
        "intervals": {
            "mse": asdict(bootstrap.interval(bootstrap_measures.mean_squared_error)),
            "r2": asdict(bootstrap.interval(lambda s: bootstrap_measures.r2(s, dim))),
            "bimodal_energy_share": asdict(bootstrap.interval(bootstrap_measures.bimodal_energy_share)),
        },
    }


def measure_geometry(config: SampleConfig, inputs: Inputs, output: Path) -> Result:
    """Measure p_acc, and the modality gap after each intervention."""
    del output
    sae, statistics = SparseAutoencoder.load(config.sae_folder), load_statistics(inputs["statistics"])
    images, texts = (
        sae.prepare(_tensor(rows), modality)
        for modality, rows in zip(MODALITIES, _store_rows(config.store), strict=True)
    )
    sample = _sample(len(images), config.sample, config.seed)
    dictionary = sae.dictionary.detach().numpy()
    result: Result = {
        "sample": len(sample),
        "p_acc": probing_accuracy(images[sample].numpy(), texts[sample].numpy(), dictionary, statistics),
    }
    bootstrap = load_bootstrap(inputs["statistics"])
    for name, (image, text) in interventions(sae, statistics, inputs).items():
        keep = kept_atoms(name, statistics.classes()).numpy()
        gap = bootstrap.interval(partial(bootstrap_measures.difference_in_means, dictionary=dictionary, keep=keep))
        result[name] = {**_gap(image, text, sample), "difference_in_means_interval": asdict(gap)}
    return result


def measure_retrieval(config: SampleConfig, inputs: Inputs, output: Path) -> Result:
    """Measure full-gallery retrieval after each intervention."""
    del output
    sae, statistics = SparseAutoencoder.load(config.sae_folder), load_statistics(inputs["statistics"])
    return {name: _retrieval(*rows) for name, rows in interventions(sae, statistics, inputs).items()}


def measure_original(config: OriginalConfig, inputs: Inputs, output: Path) -> Result:
    """Measure the gap and the retrieval of the embeddings themselves, of unit norm."""
    del inputs, output
    images, texts = (unit_rows(rows) for rows in _store_rows(config.store))
    sample = _sample(len(images), config.sample, config.seed)
    return {"sample": len(sample), "gap": _gap(images, texts, sample), "retrieval": _retrieval(images, texts)}


def load_statistics(folder: Path) -> ConceptStatistics:
    """Return the statistics that `merge_parts` wrote."""
    return ConceptStatistics.load(folder / _STATISTICS_FILE)


def load_paired(folder: Path) -> PairedEnergy:
    """Return the paired energies of a part, or the whole."""
    return PairedEnergy.load(folder / _PAIRED_FILE)


def load_bootstrap(folder: Path) -> BootstrapSums:
    """Return the bootstrap's sums of a part, or the whole."""
    return BootstrapSums.load(folder / _BOOTSTRAP_FILE)


def load_codes(inputs: Inputs) -> tuple[SparseCodes, SparseCodes]:
    """Return the image and text codes of all `encode_part` folders among `inputs`, in order; residuals are empty."""
    parts = [load_file(folder / _CODES_FILE) for name, folder in inputs.items() if name.startswith("part")]
    image, text = (concatenate([_loaded_codes(part, modality) for part in parts], 1) for modality in MODALITIES)
    return image, text


def _loaded_codes(part: Mapping[str, Tensor], modality: str) -> SparseCodes:
    indices = part[f"{modality}.indices"]
    return SparseCodes(indices, part[f"{modality}.values"], torch.empty(len(indices), 0))


def interventions(
    sae: SparseAutoencoder, statistics: ConceptStatistics, inputs: Inputs
) -> dict[Intervention, tuple[Tensor, Tensor]]:
    """Return image and text rows, `(pairs, dim)`, rebuilt under each intervention."""
    codes, classes = load_codes(inputs), statistics.classes()
    rebuilt: dict[Intervention, tuple[Tensor, Tensor]] = {}
    for name in INTERVENTIONS:
        keep = kept_atoms(name, classes)
        rebuilt[name] = (intervene(sae, codes[0], keep), intervene(sae, codes[1], keep))
    return rebuilt


def unit_rows(rows: np.ndarray) -> Tensor:
    """Return `(n, dim)` stored embeddings as float32 rows of unit norm."""
    return normalize(_tensor(rows), dim=1)


def _tensor(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32))


def _store_rows(reference: StoreReference) -> tuple[np.ndarray, np.ndarray]:
    arrays = EmbeddingStore.open(reference.uri).to_arrays(reference.split)
    return arrays.images, arrays.texts


def _sample(rows: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:size])


def _gap(images: Tensor, texts: Tensor, sample: np.ndarray) -> dict[str, float]:
    return {
        "difference_in_means": difference_in_means(images.double().mean(0).numpy(), texts.double().mean(0).numpy()),
        "optimal_transport": optimal_transport_gap(images[sample].numpy(), texts[sample].numpy()),
    }


def _retrieval(images: Tensor, texts: Tensor) -> dict[str, float]:
    there, back = recall_at(images, texts, RANKS), recall_at(texts, images, RANKS)
    return {f"image_to_text_r{rank}": there[rank] for rank in RANKS} | {
        f"text_to_image_r{rank}": back[rank] for rank in RANKS
    }
