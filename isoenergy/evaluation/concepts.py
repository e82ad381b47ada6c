"""Codes, and the sums over them from which all that is measured by atom follows."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.evaluation.embeddings import HeldPairs, row_labels
from isoenergy.evaluation.fit import Fitted, load_agreement
from isoenergy.evaluation.measured_rows import READ_ROWS, Inputs, PartConfig, Result, Rows, SaeReference, tensor
from isoenergy.evaluation.results import CLASSES, UNEQUAL_Q
from isoenergy.metrics.agreement import agreeing_share, agreement, agrees_in_replicates, mean_correlation
from isoenergy.metrics.energy import (
    crossed_score_spread,
    energy_shares,
    frequency_matched_energies,
    modality_bias,
    score_spread,
)
from isoenergy.metrics.reconstruction import ReconstructionSums, mean_squared_error, r2_centred, r2_of_means, r2_paper
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.bootstrap import REPLICATES, Interval, Labels, image_weights
from isoenergy.statistics.concept_statistics import (
    AtomClasses,
    ConceptStatistics,
    classes_of_scores,
    energy_share,
    modality_score,
)
from isoenergy.statistics.equal_energy import PairedEnergy, equal_energy_tests
from isoenergy.statistics.pair_agreement import PairAgreement, pairs_of_one_image
from isoenergy.statistics.weighted_sums import BootstrapSums

_BIAS_EPSILON = 1e-3
_CODES_FILE = "codes.safetensors"
_IMAGES_FILE = "images.npy"
_STATISTICS_FILE = "statistics.safetensors"
_SUMS_FILE = "reconstruction.safetensors"
_PAIRED_FILE = "paired-energy.safetensors"
_AGREEMENT_FILE = "agreement.safetensors"
_BOOTSTRAP_FILE = "bootstrap.safetensors"

PairCodes = tuple[SparseCodes, SparseCodes]


@dataclass(frozen=True)
class CodesConfig:
    """A part of the store, to be encoded by one SAE."""

    part: PartConfig
    sae: SaeReference


@dataclass(frozen=True)
class StatisticsConfig:
    """What `merge_parts` needs beside the parts."""

    sae: SaeReference
    fitted_here: bool = True
    """Whether what is fitted is of the store that is measured."""


@dataclass(frozen=True)
class HeldConfig:
    """The drawn pairs, to be encoded by one SAE."""

    sae: SaeReference
    drawn: int


def encode_part(config: CodesConfig, inputs: Inputs, output: Path) -> Result:
    """Encode some units: their codes, and the sums over their pairs."""
    del inputs
    sae = SparseAutoencoder.load(config.sae.uri)
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    sums = {modality: ReconstructionSums.zeros(sae.config.dim) for modality in MODALITIES}
    paired, bootstrap = PairedEnergy.zeros(sae.config.atoms), BootstrapSums.zeros(sae.config.atoms)
    together = PairAgreement.zeros(sae.config.atoms)
    found: list[PairCodes] = []
    images: list[Labels] = []
    gram = None
    for _, *rows in config.part.read():
        gram = sae.gram_of_frozen(rows=2 * READ_ROWS) if gram is None else gram
        prepared, both = _encode(sae, rows[0], rows[1], gram)
        for modality, x, codes in zip(MODALITIES, prepared, both, strict=True):
            sums[modality].update(x, codes.residual)
        found.append(both)
        images.append(row_labels(rows[0]))
        statistics.update(*both)
        paired.update(*both)
        together.update(*both)
        bootstrap.update(both, prepared, image_weights(images[-1], REPLICATES, config.part.seed))
    _save_codes(found, sae.config.k, output)
    np.save(output / _IMAGES_FILE, np.concatenate(images))
    statistics.save(output / _STATISTICS_FILE)
    paired.save(output / _PAIRED_FILE)
    together.save(output / _AGREEMENT_FILE)
    bootstrap.save(output / _BOOTSTRAP_FILE)
    for modality in MODALITIES:
        sums[modality].save(output / f"{modality}-{_SUMS_FILE}")
    return {"pairs": statistics.image.rows}


def merge_parts(config: StatisticsConfig, inputs: Inputs, output: Path) -> Result:
    """Merge the parts' sums into the whole and measure all that follows from them; classes are those fitted."""
    fitted = Fitted.load(inputs["fit"])
    classes, known = fitted.classes, fitted.known
    folders = [inputs[name] for name in sorted(inputs) if name.startswith("part")]
    statistics = ConceptStatistics.load_merged([folder / _STATISTICS_FILE for folder in folders])
    sums = {m: ReconstructionSums.load(folders[0] / f"{m}-{_SUMS_FILE}") for m in MODALITIES}
    paired, bootstrap = load_paired(folders[0]), load_bootstrap(folders[0])
    together = load_together(folders[0])
    images = np.concatenate([load_images(folder) for folder in folders])
    for folder in folders[1:]:
        together = together.merge(load_together(folder))
        paired, bootstrap = paired.merge(load_paired(folder)), bootstrap.merge(load_bootstrap(folder))
        sums = {m: sums[m].merge(ReconstructionSums.load(folder / f"{m}-{_SUMS_FILE}")) for m in MODALITIES}
    bootstrap = bootstrap.if_enough(len(np.unique(images)))
    together.of_one_image = pairs_of_one_image(images)
    statistics.save(output / _STATISTICS_FILE)
    paired.save(output / _PAIRED_FILE)
    together.save(output / _AGREEMENT_FILE)
    bootstrap.save(output / _BOOTSTRAP_FILE)
    dictionary = SparseAutoencoder.load(config.sae.uri).dictionary.detach().numpy()
    tests, biased = equal_energy_tests(paired), known.classes(_BIAS_EPSILON)
    image, text = sums["image"], sums["text"]
    shares = energy_shares(statistics, classes=classes)
    return {
        "pairs": statistics.image.rows,
        "mse": float(mean_squared_error(image, text)),
        "r2": float(r2_paper(image, text)),
        "r2_centred": r2_centred(image, text),
        "r2_of_means": r2_of_means(image, text),
        "l0": (statistics.image.l0 + statistics.text.l0) / 2,
        "l1": (statistics.image.l1 + statistics.text.l1) / 2,
        "atoms": statistics.atoms,
        "always_on_energy_share": shares.always_on,
        "bimodal_not_always_on_energy_share": shares.bimodal_not_always_on,
        "dead_atoms": int((statistics.energy == 0).sum()),
        **{f"{name}_atoms": int(getattr(classes, name).sum()) for name in CLASSES},
        **{f"{name}_energy_share": statistics.energy_share(getattr(classes, name)) for name in CLASSES},
        "unfitted_energy_share": statistics.energy_share(classes.dead),
        "score_spread": float(score_spread(statistics.modality_score, statistics.energy)),
        "frequency_matched": _frequency_matched(statistics, known),
        "tested_atoms": int(np.isfinite(tests.p_value).sum()),
        "unequal_atoms": int((tests.q_value < UNEQUAL_Q).sum()),
        "agreement": _agreement(bootstrap, classes, inputs["fit"], together),
        "modality_bias": {
            "image": asdict(modality_bias(statistics, dictionary, biased.image_only)),
            "text": asdict(modality_bias(statistics, dictionary, biased.text_only)),
        },
        "intervals": {
            name: asdict(interval)
            for name, interval in concept_intervals(
                bootstrap, classes, len(image.first), known.modality_score if config.fitted_here else None
            ).items()
        },
    }


def concept_intervals(
    sums: BootstrapSums, classes: AtomClasses, dim: int, score: npt.NDArray[np.float64] | None = None
) -> dict[str, Interval]:
    """Return the intervals of what is measured by atom and of the errors of rows that are `dim` wide.

    classes: those of other pairs, and the same in each replicate. Cut anew on every sample, atoms that are rare in it
    would look unimodal, more of them the smaller it is: no interval over pairs holds such a share. score: as
    `spread_interval` takes it.
    """
    errors = list(sums.errors_by_modality(dim))
    return {
        "r2": Interval.of_weighted(r2_paper(*errors), most=1.0),
        "mse": Interval.of_weighted(mean_squared_error(*errors), least=0.0),
        "l0": Interval.of_weighted(sums.l0, least=0.0),
        "l1": Interval.of_weighted(sums.l1, least=0.0),
        **{
            f"{name}_energy_share": Interval.of_share(energy_share(sums.energy, getattr(classes, name)[:, None]))
            for name in CLASSES
        },
        "score_spread": spread_interval(sums, score),
    }


def spread_interval(sums: BootstrapSums, score: npt.NDArray[np.float64] | None) -> Interval:
    """Return the spread of μ with its interval, which is that of the pairs crossed with others.

    score: `(atoms,)` μ of other pairs of the same kind; None: there are none, and the interval is the spread's own
    less its bias, of which replicates do not have all: of an atom that fires once they do not know what else it could
    have been.
    """
    spread = score_spread(sums.modality_score, sums.energy)
    if score is None:
        return Interval.of_weighted(spread, least=0.0, most=0.5)
    crossed = crossed_score_spread(sums.image_second, sums.text_second, score)
    return Interval.of(float(spread[0]), crossed[1:]).holding_its_value()


def agreeing_interval(sums: BootstrapSums, classes: AtomClasses, together: PairAgreement) -> Interval:
    """Return the share of the bimodal energy in atoms that agree in the measured pairs, with its interval.

    What is true is what the test finds in so many pairs. Which atoms agree is decided anew in each replicate: held, the
    interval would be a third as wide as the share varies. Atoms near the edge fall to either side of it twice as often
    in a replicate as in a sample, which moves the replicates but not what is told. Which atoms are tested is held: to
    decide that anew too makes it a seventh too wide. NaN where no bimodal atom fires often enough to be tested.
    """
    if np.isnan(agreement(together).agreement_p_value[classes.bimodal]).all():
        return Interval(math.nan, math.nan, math.nan)
    agrees = agrees_in_replicates(together, sums.correlation)
    return Interval.of_spread(agreeing_share(sums.energy, classes.bimodal, agrees))


def encode_held(config: HeldConfig, inputs: Inputs, output: Path) -> Result:
    """Encode the pairs that are drawn, and the partners of queries."""
    held, sae = HeldPairs.load(inputs["pairs"], config.drawn), SparseAutoencoder.load(config.sae.uri)
    gram = sae.gram_of_frozen(rows=2 * len(held.images))
    found = [
        _encode(sae, held.images[start : start + READ_ROWS], held.texts[start : start + READ_ROWS], gram)[1]
        for start in range(0, len(held.images), READ_ROWS)
    ]
    _save_codes(found, sae.config.k, output)
    return {"pairs": len(held.images)}


def _frequency_matched(statistics: ConceptStatistics, fitted: ConceptStatistics) -> dict[str, float]:
    """Return what the classes, those fitted, would hold if every atom fired as often in images as in texts."""
    image, text = frequency_matched_energies(statistics)
    energy, score = image + text, modality_score(image, text)
    classes = classes_of_scores(modality_score(*frequency_matched_energies(fitted)))
    return {
        "bimodal_energy_share": float(energy_share(energy, classes.bimodal)),
        "score_spread": float(score_spread(score, energy)),
    }


def _agreement(sums: BootstrapSums, classes: AtomClasses, fit: Path, together: PairAgreement) -> Result:
    """Return how much of the bimodal energy is in atoms that mean the same on both sides.

    Which atoms agree is decided on the fitted pairs, as their classes are, on these with shuffled texts, and on the
    measured pairs, `together`: `measured_pairs` is the share in atoms that agree there. Fewer pairs find fewer atoms.
    """
    agrees, by_chance = (agreement(fitted).agrees for fitted in load_agreement(fit))
    fitted = Interval.of_share(agreeing_share(sums.energy, classes.bimodal, agrees))
    return {
        "agreeing_atoms": int((classes.bimodal & agrees).sum()),
        "bimodal_energy_share": asdict(fitted),
        "measured_pairs": asdict(agreeing_interval(sums, classes, together)),
        "shuffled_pairs": float(agreeing_share(sums.energy[:, 0], classes.bimodal, by_chance)),
        "correlation": asdict(
            Interval.of_weighted(mean_correlation(sums.energy, sums.correlation, classes.bimodal), least=-1.0, most=1.0)
        ),
    }


def load_statistics(folder: Path, cross: bool = False) -> ConceptStatistics:
    """Return the statistics of a part, or the whole; cross: with the cross-moments."""
    return ConceptStatistics.load(folder / _STATISTICS_FILE, cross)


def load_paired(folder: Path) -> PairedEnergy:
    """Return the paired energies of a part, or the whole."""
    return PairedEnergy.load(folder / _PAIRED_FILE)


def load_together(folder: Path) -> PairAgreement:
    """Return how atoms go together in pairs, of a part or the whole."""
    return PairAgreement.load(folder / _AGREEMENT_FILE)


def load_bootstrap(folder: Path) -> BootstrapSums:
    """Return the bootstrap's sums of a part, or the whole."""
    return BootstrapSums.load(folder / _BOOTSTRAP_FILE)


def load_codes(folder: Path) -> PairCodes:
    """Return the image and text codes of a part, or of the drawn pairs; residuals are empty."""
    part = load_file(folder / _CODES_FILE)
    image, text = (_loaded(part, modality) for modality in MODALITIES)
    return image, text


def load_images(folder: Path) -> Labels:
    """Return `(pairs,)` labels of a part's images, equal where the image is."""
    found: Labels = np.load(folder / _IMAGES_FILE)
    return found


def _loaded(part: Mapping[str, torch.Tensor], modality: str) -> SparseCodes:
    indices = part[f"{modality}.indices"]
    return SparseCodes(indices, part[f"{modality}.values"], torch.empty(len(indices), 0))


def _save_codes(found: list[PairCodes], k: int, output: Path) -> None:
    joined = {m: concatenate([both[place] for both in found], k) for place, m in enumerate(MODALITIES)}
    save_file(
        {f"{m}.{part}": getattr(codes, part) for m, codes in joined.items() for part in ("indices", "values")},
        output / _CODES_FILE,
    )


@torch.no_grad()
def _encode(
    sae: SparseAutoencoder, images: Rows, texts: Rows, gram: torch.Tensor | None
) -> tuple[tuple[torch.Tensor, torch.Tensor], PairCodes]:
    image, text = (sae.prepare(tensor(rows), m) for rows, m in zip((images, texts), sae.config.modalities, strict=True))
    return (image, text), (sae.encode(image, gram=gram), sae.encode(text, gram=gram))
