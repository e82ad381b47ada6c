"""An evaluation as the paper's code does it: dense codes from overcomplete, and every measure encodes anew.

Bugs of that code that change numbers (paper notes 5.3) are left out; they cost no time. What each function returns is
compared with ours.
"""
# ruff: noqa: E402 - matplotlib is prepared before overcomplete is imported

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import matplotlib

matplotlib.use("Agg")
matplotlib.cm.get_cmap = matplotlib.colormaps.get_cmap  # overcomplete 0.3 asks for it; gone since matplotlib 3.9

import numpy as np
import ot
import torch
from overcomplete.sae import MpSAE
from torch import Tensor
from torch.nn.functional import normalize

BATCH_PAIRS = 512
RECALL_BATCH = 256
EPSILON = 0.05

Pair = tuple[Tensor, Tensor]


@dataclass
class Clock:
    """Seconds by what was done in them."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, start: float) -> float:
        """Count the time since `start` to `name`; return the time now."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - start
        return now


@dataclass
class Energies:
    """`(atoms,)` energies of both modalities."""

    image: Tensor
    text: Tensor

    @property
    def total(self) -> Tensor:
        """Of all inputs."""
        return (self.image + self.text) / 2

    @property
    def score(self) -> Tensor:
        """Modality score; -1 of dead atoms."""
        total = self.image + self.text
        return torch.where(total > 0, self.image / total.clamp(min=1e-30), -1.0)

    @property
    def bimodal(self) -> Tensor:
        """`(atoms,)` mask."""
        return (self.score >= EPSILON) & (self.score <= 1 - EPSILON)


class DenseEvaluation:
    """The measures of the paper on unit rows, `(pairs, dim)` float32 images and texts, under one dictionary."""

    def __init__(self, dictionary: Tensor, k: int, images: Tensor, texts: Tensor, clock: Clock) -> None:
        atoms, dim = dictionary.shape
        self.sae = MpSAE(dim, atoms, k=k)
        self.sae.requires_grad_(False).dictionary._weights.copy_(dictionary)
        self.sae.eval()  # from now on its dictionary is a copy
        self.dictionary, self.images, self.texts, self.clock = dictionary, images, texts, clock

    def everything(self, sample: int) -> dict[str, float]:
        """The paper's tables: six passes over the pairs, each of which encodes them."""
        found = self.reconstruction()
        energies = self.energies()
        cross = self.cross_moments()
        found["p_acc"] = self.probing_accuracy(energies, sample)
        found["rho"] = self.rho(cross, energies)
        found["fda"] = self.fda(energies)
        clouds: dict[str, Pair] = {"original": (self.images, self.texts)}
        every = torch.ones_like(energies.bimodal)
        for name, kept in (("reconstructed", every), ("bimodal", energies.bimodal), ("unimodal", ~energies.bimodal)):
            clouds[name] = self.intervened(kept)
        clouds |= self.baselines(clouds["reconstructed"])
        for name, (images, texts) in clouds.items():
            found[f"{name}_r1"] = self.recall(images, texts)
            found[f"{name}_dim"] = float((images.mean(0) - texts.mean(0)).norm())
            found[f"{name}_transport"] = self.transport(images[:sample], texts[:sample])
        return found

    def statistics(self) -> tuple[Energies, Tensor]:
        """All that the statistics are made of in one pass; return energies and cross-moments."""
        atoms = len(self.dictionary)
        cross = torch.zeros(atoms, atoms)
        moments = torch.zeros(6, atoms)
        errors = 0.0
        for rows, codes, residual in self._encoded():
            start = time.perf_counter()
            image, text = codes.chunk(2)
            for place, part in enumerate((image, text)):
                moments[3 * place] += part.sum(0)
                moments[3 * place + 1] += part.square().sum(0)
                moments[3 * place + 2] += (part != 0).sum(0)
            errors += float(residual.square().sum()) + float(rows.square().sum())
            cross += image.T @ text
            self.clock.add("statistics_from_codes", start)
        return Energies(moments[1] / len(self.images), moments[4] / len(self.images)), cross / len(self.images)

    def reconstruction(self) -> dict[str, float]:
        """MSE, R², l0 and l1 (paper 1.6)."""
        squared, r2, l0, l1, batches = 0.0, 0.0, 0.0, 0.0, 0
        for rows, codes, _ in self._encoded():
            start = time.perf_counter()
            rebuilt = codes @ self.sae.get_dictionary()
            for x, y in zip(rows.chunk(2), rebuilt.chunk(2), strict=True):
                r2 += float(1 - (x - y).square().mean() / ((x - x.mean()).square().mean() + 1e-6)) / 2
            squared += float((rows - rebuilt).square().sum(1).mean())
            l0 += float((codes != 0).sum(1).float().mean())
            l1 += float(codes.abs().sum(1).mean())
            batches += 1
            self.clock.add("reconstruction", start)
        return {"mse": squared / batches, "r2": r2 / batches, "l0": l0 / batches, "l1": l1 / batches}

    def energies(self) -> Energies:
        """Second moments by modality, and frequencies (paper 1.5)."""
        sums = torch.zeros(2, len(self.dictionary))
        fires = torch.zeros(len(self.dictionary))
        for _, codes, _ in self._encoded():
            start = time.perf_counter()
            for modality, part in enumerate(codes.chunk(2)):
                sums[modality] += part.square().sum(0)
            fires += (codes != 0).sum(0)
            self.clock.add("energies", start)
        return Energies(*(sums / len(self.images)))

    def cross_moments(self) -> Tensor:
        """C (paper 1.8)."""
        cross = torch.zeros(len(self.dictionary), len(self.dictionary))
        for _, codes, _ in self._encoded():
            start = time.perf_counter()
            image, text = codes.chunk(2)
            cross += image.T @ text
            self.clock.add("cross_moments", start)
        return cross / len(self.images)

    def rho(self, cross: Tensor, energies: Energies) -> float:
        """ρ of the Σ-bridge (paper 1.8)."""
        start = time.perf_counter()
        cut = torch.where(cross.abs() < _percentile(cross, 0.999), 0.0, cross)
        through, unimodal = _masses(cut * self._gram(), energies)
        self.clock.add("sigma_bridge", start)
        return through / unimodal

    def fda(self, energies: Energies) -> float:
        """FDA of the Γ-bridge (paper 1.8)."""
        start = time.perf_counter()
        cost = (1 - self.dictionary @ self.dictionary.T).double().numpy()
        masses = [(part / part.sum()).double() for part in (energies.image, energies.text)]
        plan = ot.emd(*((part / part.sum()).numpy() for part in masses), cost, numItermax=100_000_000)
        through, unimodal = _masses(torch.from_numpy(plan).float() * self._gram(), energies)
        share = float(energies.total[energies.bimodal].sum() / energies.total.sum())
        self.clock.add("gamma_bridge", start)
        return through / unimodal * (1 - share) / share

    def probing_accuracy(self, energies: Energies, sample: int) -> float:
        """p_acc (paper 1.7)."""
        start = time.perf_counter()
        weights = energies.total / energies.total.sum()
        bias = weights @ self.dictionary
        image, text = (
            ((rows[:sample] - bias) @ self.dictionary.T > 0).float().mean(0) for rows in (self.images, self.texts)
        )
        accuracy = (image + 1 - text) / 2
        score = torch.where(energies.score > 1 - EPSILON, accuracy, 1 - accuracy)
        score = torch.where(energies.bimodal, 1.5 - torch.maximum(accuracy, 1 - accuracy), score)
        self.clock.add("p_acc", start)
        return float(weights @ score)

    def intervened(self, kept: Tensor) -> Pair:
        """Encode, zero the other atoms' coefficients, decode (paper 4.1)."""
        parts = []
        for _, codes, _ in self._encoded():
            start = time.perf_counter()
            parts.append(((codes * kept) @ self.sae.get_dictionary()).chunk(2))
            self.clock.add("interventions", start)
        images, texts = (torch.cat(part) for part in zip(*parts, strict=True))
        return images, texts

    def baselines(self, rebuilt: Pair) -> dict[str, Pair]:
        """Centre, shift and random (paper 4.1)."""
        start = time.perf_counter()
        images, texts = rebuilt
        means = images.mean(0), texts.mean(0)
        gap = means[0] - means[1]
        unit = normalize(torch.randn(gap.shape, generator=torch.Generator().manual_seed(0)), dim=0)
        found = {
            "centred": (images - means[0], texts - means[1]),
            "midpoint_shift": (images - gap / 2, texts + gap / 2),
            "random_shift": (images - means[0] + unit, texts - means[1] + unit),
        }
        self.clock.add("baselines", start)
        return found

    def recall(self, images: Tensor, texts: Tensor) -> float:
        """R@1 in batches of 256, both directions (paper 1.9)."""
        start = time.perf_counter()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        hits, batches = 0.0, 0
        for rows in order.split(RECALL_BATCH):
            if len(rows) == RECALL_BATCH:
                similarity = normalize(images[rows], dim=1) @ normalize(texts[rows], dim=1).T
                own = torch.arange(RECALL_BATCH)
                hits += sum(float((part.argmax(1) == own).float().mean()) for part in (similarity, similarity.T)) / 2
                batches += 1
        self.clock.add("recall", start)
        return hits / batches

    def transport(self, images: Tensor, texts: Tensor) -> float:
        """Exact transport between two clouds (paper 1.11)."""
        start = time.perf_counter()
        cost = (1 - normalize(images, dim=1) @ normalize(texts, dim=1).T).double().clamp(min=0).numpy()
        uniform = np.full(len(images), 1 / len(images))
        value = float(ot.emd2(uniform, uniform, cost, numItermax=100_000_000))
        self.clock.add("transport", start)
        return value

    def _encoded(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, dense codes and residuals, images before texts, a batch at a time."""
        for pairs in torch.arange(len(self.images)).split(BATCH_PAIRS):
            start = time.perf_counter()
            part = slice(int(pairs[0]), int(pairs[-1]) + 1)
            rows = torch.cat([self.images[part], self.texts[part]])
            residual, codes = self.sae.encode(rows)
            self.clock.add("encoding", start)
            yield rows, codes, residual

    def _gram(self) -> Tensor:
        gram = self.dictionary @ self.dictionary.T
        return torch.where(gram.abs() < _percentile(gram, 0.9), 0.0, gram)


def _percentile(matrix: Tensor, share: float) -> float:
    return float(matrix.flatten().kthvalue(max(1, int(share * matrix.numel()))).values)


def _masses(bridge: Tensor, energies: Energies) -> tuple[float, float]:
    """|B| over blocks with a bimodal side, and without; dead atoms are of neither."""
    bridge, bimodal, live = bridge.abs(), energies.bimodal, energies.total > 0
    unimodal = live & ~bimodal
    without = float(bridge[unimodal][:, unimodal].sum())
    return float(bridge[live][:, live].sum()) - without, without
