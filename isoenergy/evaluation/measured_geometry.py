"""Where the modalities lie under each variant, and the atoms as probes of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from isoenergy.evaluation.concepts import load_bootstrap, load_codes
from isoenergy.evaluation.embedding_variants import (
    EmbeddingVariant,
    VariantSet,
    original_variants,
    rebuilding,
    sae_variants,
)
from isoenergy.evaluation.embeddings import HeldPairs, load_means, row_labels
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import DrawnConfig, Inputs, Result, tensor, unit_rows
from isoenergy.evaluation.ways import HEADLINE, ORIGINAL, beginning
from isoenergy.interventions.gap_closing import Affine
from isoenergy.metrics.gap import paired_clouds
from isoenergy.metrics.geometry import difference_in_means, probing_accuracy
from isoenergy.metrics.transport import transport_gap
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.bootstrap import REPLICATES, Interval, sample_weights, unbiased
from isoenergy.statistics.weighted_sums import BootstrapSums

_P_ACC_FILE = "p-acc.npy"

Means = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def measure_geometry(config: DrawnConfig, inputs: Inputs, output: Path) -> Result:
    """Measure the gap under each variant, the share of it that is closed (see `gap_closed`) and, of an SAE, p_acc.

    Classes of atoms, and where they are probed, are those fitted. The difference in means is of all pairs; relative
    gap, distances and cones of those drawn for batches; optimal transport of the sample. For the headline alone, the
    difference in means and p_acc. Writes p_acc under every bootstrap weight, so that SAEs can be compared.
    """
    held, fitted = HeldPairs.load(inputs["pairs"], config.drawn), Fitted.load(inputs["fit"])
    size = {"sample": min(config.draw.sample, config.drawn), "in_batches": min(config.draw.in_batches, config.drawn)}
    seed, as_they_are = config.draw.seed, load_means(inputs["pairs"]).means
    images = row_labels(held.images[: max(size.values())])
    in_clouds = sample_weights(images[: size["in_batches"]], REPLICATES, seed)
    if config.sae is None:
        variants = original_variants(fitted, seed)
        unit = unit_rows(held.images), unit_rows(held.texts)
        return size | _by_variant(variants, lambda _: unit, {ORIGINAL: as_they_are}, size, in_clouds, config)
    sae = SparseAutoencoder.load(config.sae.uri)
    variants = sae_variants(fitted, sae, seed, HEADLINE if config.headline else None)
    bootstrap = load_bootstrap(inputs["statistics"])
    dictionary = sae.dictionary.detach().numpy()
    rows = rebuilding(sae, load_codes(inputs["held"]), variants, (held.images, held.texts))
    weights = sample_weights(images[: size["sample"]], REPLICATES, seed)
    p_acc = _probing_accuracy(held, sae, fitted, bootstrap, weights)
    np.save(output / _P_ACC_FILE, p_acc)
    probing = Interval.of_share(p_acc)
    means: dict[str, Means] = {ORIGINAL: as_they_are}
    for base, by_atom in variants.atoms.items():
        rebuilt = bootstrap.rebuilt_means(dictionary, np.stack([by_atom.image.numpy(), by_atom.text.numpy()]))
        means[base] = _means_less(sae, as_they_are, rebuilt) if by_atom.subtracted else rebuilt
    return (
        size
        | {"p_acc": probing.value, "p_acc_interval": asdict(probing)}
        | _by_variant(variants, rows, means, size, in_clouds, config)
    )


def _means_less(sae: SparseAutoencoder, unit: Means, away: Means) -> Means:
    """Return the means of prepared rows less a part of what is rebuilt of them; both under the same draws of pairs."""
    found = []
    for modality, mean, part in zip(sae.config.modalities, unit, away, strict=True):
        centre = getattr(sae, f"{modality}_mean").numpy()[:, None] if sae.config.input == "centred" else 0.0
        found.append(mean - centre - part)
    return found[0], found[1]


def _by_variant(
    variants: VariantSet,
    rows: Callable[[str], tuple[torch.Tensor, torch.Tensor]],
    means: Mapping[str, Means],
    size: dict[str, int],
    weights: npt.NDArray[np.float64],
    config: DrawnConfig,
) -> Result:
    """Return the gap of each variant, and the sweeps' differences in means, by step, with intervals.

    rows: of the bases of variants. means: of all pairs, of these bases and of what variants begin with. weights: of
    the pairs drawn for batches.
    """
    found: Result = {}
    sweeps: dict[str, dict[str, dict[str, float]]] = {}
    for variant in variants.by_base:
        gaps = difference_in_means(*_mapped(variant, means[variant.base]))
        gap_interval = asdict(Interval.of_norm(gaps))
        if variant.sweep:
            name, strength = variant.sweep
            sweeps.setdefault(name, {})[f"{strength:g}"] = gap_interval
            continue
        before = difference_in_means(*means[beginning(variant.name, config.sae is not None)])
        found[variant.name] = {
            "difference_in_means": float(gaps[0]),
            "difference_in_means_interval": gap_interval,
            "gap_closed_interval": asdict(gap_closed(before, gaps)),
        }
    if not config.headline:
        drawn = max(size.values())
        for variant, images, texts in variants.each(lambda base: _first(rows(base), drawn), sweeps=False):
            found[variant.name] |= _clouds(images.numpy(), texts.numpy(), size, weights)
    return found | {"sweeps": sweeps}


def _clouds(
    image: npt.NDArray[np.float32],
    text: npt.NDArray[np.float32],
    size: dict[str, int],
    weights: npt.NDArray[np.float64],
) -> Result:
    transport, error = transport_gap(image[: size["sample"]], text[: size["sample"]])
    error = math.nan if np.isnan(weights).any() else error
    clouds = paired_clouds(image[: size["in_batches"]], text[: size["in_batches"]], weights)
    return {
        "optimal_transport": transport,
        "optimal_transport_interval": asdict(Interval.normal(transport, error, least=0.0)),
        "relative_modality_gap": float(clouds.relative[0]),
        "relative_modality_gap_interval": asdict(Interval.of_share(clouds.relative)),
        "l2i": clouds.l2i,
        "cones": asdict(clouds.cones),
    }


def load_p_acc(folder: Path) -> npt.NDArray[np.float64]:
    """Return the `(1 + replicates,)` p_acc that `measure_geometry` wrote."""
    found: npt.NDArray[np.float64] = np.load(folder / _P_ACC_FILE)
    return found


def gap_closed(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Interval:
    """Return which share of a difference in means is closed: 1 - after / before, below 0 if it is widened.

    What it is a share of is what the way begins with: see `isoenergy.evaluation.ways.beginning`. Rows are as they come,
    and at unit norm it is another: in the demo removing unimodal atoms then closes more than centring, .92 and .91 in
    place of .94 and .97 (`docs/evaluating.md`).
    before, after: `(1 + replicates,)` each, of the same draws of pairs: the ratio is that of each draw. NaN of no gap.
    """
    value = 1 - after[0] / before[0] if before[0] > 0 else math.nan
    squares = [np.maximum(unbiased(float(norm[0] ** 2), np.square(norm[1:])), 0) for norm in (before, after)]
    ratios = np.divide(squares[1], squares[0], out=np.full(len(squares[0]), np.nan), where=squares[0] > 0)
    return Interval.of(float(value), 1 - np.sqrt(ratios)).holding_its_value()


def _first(rows: tuple[torch.Tensor, torch.Tensor], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return rows[0][:count], rows[1][:count]


def _mapped(variant: EmbeddingVariant, means: Means) -> Means:
    image, text = map(_mean_under, (variant.closing.image, variant.closing.text), means)
    return image, text


def _mean_under(affine: Affine, means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`(out, 1 + replicates)`: the mean of mapped rows is the mean, mapped."""
    return affine(torch.from_numpy(means.T)).numpy().T


def _probing_accuracy(
    held: HeldPairs,
    sae: SparseAutoencoder,
    fitted: Fitted,
    bootstrap: BootstrapSums,
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """weights: of the first of the held pairs, which are the sample, as those that their energies were summed under."""
    images, texts = (
        sae.prepare(tensor(rows[: len(weights)]), m).numpy()
        for rows, m in zip((held.images, held.texts), sae.config.modalities, strict=True)
    )
    return probing_accuracy(images, texts, sae.dictionary.detach().numpy(), fitted.known, weights, bootstrap.energy)
