"""The pairs that fire each atom most, and how strongly atoms fire: part by part, then of all."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save_file

from isoenergy.evaluation.concepts import load_codes
from isoenergy.evaluation.measured_rows import Inputs, Result
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.activation_histogram import ActivationHistogram
from isoenergy.statistics.top_entries import TopPairs

PAIRS_PER_ATOM = 9
_TOPS_FILE = "top-pairs.safetensors"
_HISTOGRAM_FILE = "histogram.safetensors"


@dataclass(frozen=True)
class TopPairsConfig:
    """How many pairs of each atom and modality are kept."""

    pairs_per_atom: int = PAIRS_PER_ATOM


@dataclass(frozen=True)
class RankConfig:
    """A part of the pairs."""

    first_pair: int
    atoms: int
    pairs_per_atom: int = PAIRS_PER_ATOM


def rank_part(config: RankConfig, inputs: Inputs, output: Path) -> Result:
    """Find the pairs of a part whose image or text fires each atom most, and count how strongly atoms fire in it."""
    both = load_codes(inputs["codes"])
    tops = [TopPairs.of(codes, config.first_pair, config.pairs_per_atom) for codes in both]
    histogram = ActivationHistogram.zeros(config.atoms)
    histogram.update(*both)
    return _save(tops, histogram, output)


def merge_ranks(config: TopPairsConfig, inputs: Inputs, output: Path) -> Result:
    """Merge those of the parts."""
    first, *others = inputs.values()
    tops, histogram = load_tops(first), load_histogram(first)
    for folder in others:
        tops = [a.merge(b, config.pairs_per_atom) for a, b in zip(tops, load_tops(folder), strict=True)]
        histogram = histogram.merge(load_histogram(folder))
    return _save(tops, histogram, output)


def load_tops(folder: Path) -> list[TopPairs]:
    """Return the strongest pairs by images, and those by texts."""
    arrays = load_file(folder / _TOPS_FILE)
    return [
        TopPairs(*(arrays[f"{modality}.{name}"] for name in ("atoms", "pairs", "values"))) for modality in MODALITIES
    ]


def load_histogram(folder: Path) -> ActivationHistogram:
    """Return how strongly atoms fire."""
    return ActivationHistogram.load(folder / _HISTOGRAM_FILE)


def _save(tops: list[TopPairs], histogram: ActivationHistogram, output: Path) -> Result:
    arrays = {
        f"{m}.{name}": array for m, part in zip(MODALITIES, tops, strict=True) for name, array in vars(part).items()
    }
    save_file(arrays, output / _TOPS_FILE)
    histogram.save(output / _HISTOGRAM_FILE)
    return {"kept": sum(len(part.pairs) for part in tops)}
