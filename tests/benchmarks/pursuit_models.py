"""The three Matching Pursuit SAEs that benchmarks compare: ours, overcomplete's and SAELens's, by one interface.

A peer's package is imported when its model is made: benchmarks that can do without it do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from isoenergy import SparseAutoencoder
from isoenergy.objective import masked_cosine_alignment, reconstruction_loss
from isoenergy.pursuit import matching_pursuit
from isoenergy.sae.sae_config import SaeConfig

BETA = 4e-4
LEARNING_RATE = 5e-4


@dataclass(frozen=True)
class Shape:
    batch: int
    dim: int
    atoms: int
    k: int

    def __str__(self) -> str:
        return f"({self.batch:,}, {self.dim:,}, {self.atoms:,}, {self.k})"


SHAPES = (
    Shape(256, 512, 4096, 20),
    Shape(1024, 512, 4096, 20),
    Shape(8192, 512, 4096, 20),
    Shape(4096, 512, 4096, 8),
    Shape(4096, 768, 8192, 32),
    Shape(16384, 1152, 16384, 32),
)


def planted(shape: Shape, seed: int = 0, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Unit atoms, and unit rows that are sums of a few of them plus noise: `(batch, dim)` and `(atoms, dim)`."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = normalize(torch.randn(shape.atoms, shape.dim, generator=generator), dim=1)
    support = torch.randint(shape.atoms, (shape.batch, shape.k), generator=generator)
    weights = torch.rand(shape.batch, shape.k, generator=generator)
    rows = torch.nn.functional.embedding_bag(support, dictionary, per_sample_weights=weights, mode="sum")
    rows += 0.3 * rows.norm(dim=1, keepdim=True) * normalize(torch.randn(rows.shape, generator=generator), dim=1)
    return normalize(rows, dim=1).to(device), dictionary.to(device)


def dense_masked_cosine(codes: Tensor) -> Tensor:
    """The alignment as the paper's code has it, on dense codes: each modality's top atom is zeroed in both."""
    image, text = codes.chunk(2)
    tops = torch.stack([image.argmax(dim=1), text.argmax(dim=1)], dim=1)
    mask = torch.ones_like(image).scatter(1, tops, 0.0)
    return -cosine_similarity(image * mask, text * mask, dim=1).mean()


class Ours:
    name = "isoenergy"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        self.sae = SparseAutoencoder(SaeConfig(dictionary.shape[1], len(dictionary), k, BETA)).to(dictionary.device)
        with torch.no_grad():
            self.sae.dictionary.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)
        self.gram = self.sae.gram_of_frozen(rows=10**6)

    @torch.no_grad()
    def encode(self, x: Tensor) -> None:
        matching_pursuit(x, self.sae.dictionary, self.sae.config.k, gram=self.gram)

    def loss(self, x: Tensor) -> Tensor:
        codes = self.sae(x)
        image, text = codes.split(len(x) // 2)
        return reconstruction_loss(codes) + BETA * masked_cosine_alignment(image, text)

    def after_step(self) -> None:
        self.sae.project_atoms()


class Overcomplete:
    name = "overcomplete"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        import matplotlib

        matplotlib.use("Agg")
        matplotlib.cm.get_cmap = (
            matplotlib.colormaps.get_cmap
        )  # overcomplete 0.3 asks for it; gone since matplotlib 3.9
        from overcomplete.sae import MpSAE

        self.sae = MpSAE(dictionary.shape[1], len(dictionary), k=k, device=str(dictionary.device))
        with torch.no_grad():
            self.sae.dictionary._weights.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)

    @staticmethod
    def bytes_a_row(shape: Shape) -> int:
        return 9 * shape.atoms * shape.k

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(x)[1]

    def loss(self, x: Tensor) -> Tensor:
        _, codes, reconstruction = self.sae(x)
        return (x - reconstruction).square().mean() + BETA * dense_masked_cosine(codes)

    def after_step(self) -> None:
        pass


class SaeLens:
    name = "SAELens"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        from sae_lens.saes.matching_pursuit_sae import MatchingPursuitTrainingSAE, MatchingPursuitTrainingSAEConfig

        config = MatchingPursuitTrainingSAEConfig(
            d_in=dictionary.shape[1],
            d_sae=len(dictionary),
            decoder_init_norm=1.0,
            residual_threshold=0.0,
            max_iterations=k,
            stop_on_duplicate_support=False,
            device=str(dictionary.device),
        )
        self.sae = MatchingPursuitTrainingSAE(config)
        with torch.no_grad():
            self.sae.W_dec.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)

    @staticmethod
    def bytes_a_row(shape: Shape) -> int:
        return 8 * shape.dim * shape.k + 40 * shape.atoms

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(x)

    def loss(self, x: Tensor) -> Tensor:
        codes, _ = self.sae.encode_with_hidden_pre(x)
        return (x - self.sae.decode(codes)).square().mean() + BETA * dense_masked_cosine(codes)

    def after_step(self) -> None:
        pass


Model = Ours | Overcomplete | SaeLens


def step(model: Model, x: Tensor) -> None:
    loss = model.loss(x)
    model.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    model.optimizer.step()
    model.after_step()
