"""SAEs of other libraries, by those libraries; run by the Python of an environment of their own.

`make FOLDER`: random ones of each kind, saved as the library saves, with rows, codes and what they rebuild beside them.
`load FOLDER`: what SAELens makes of rows with each SAE that lies there in its layout.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

DIM, ATOMS, K, ROWS = 24, 96, 6, 400
GENERATOR = torch.Generator().manual_seed(0)


def draw(module: torch.nn.Module) -> None:
    """Give every weight numbers of its own."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim:
                size = 0.7 if "threshold" in name else 0.5 if "bias" in name or name.startswith("b_") else 1.0
                tensor.copy_(size * torch.randn(tensor.shape, generator=GENERATOR))


@torch.no_grad()
def keep(folder: Path, name: str, rows: torch.Tensor, codes: torch.Tensor, rebuilt: torch.Tensor, **what: str) -> None:
    found = {"rows": rows, "codes": codes, "rebuilt": rebuilt}
    np.savez(folder / f"{name}.npz", **{key: value.detach().numpy() for key, value in found.items()})
    (folder / f"{name}.json").write_text(json.dumps(what))


def make_saelens(folder: Path, rows: torch.Tensor) -> None:
    from sae_lens import SAE
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.matching_pursuit_sae import MatchingPursuitSAE, MatchingPursuitSAEConfig
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

    sizes = {"d_in": DIM, "d_sae": ATOMS}
    kinds = {
        "topk": TopKSAE(TopKSAEConfig(**sizes, k=K)),
        "topk-no-subtraction": TopKSAE(TopKSAEConfig(**sizes, k=K, apply_b_dec_to_input=False)),
        "topk-rescaled": TopKSAE(TopKSAEConfig(**sizes, k=K, rescale_acts_by_decoder_norm=True)),
        "topk-norm": TopKSAE(TopKSAEConfig(**sizes, k=K, normalize_activations="constant_norm_rescale")),
        "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(**sizes)),
        "standard": StandardSAE(StandardSAEConfig(**sizes)),
        "pursuit": MatchingPursuitSAE(MatchingPursuitSAEConfig(**sizes)),
        "pursuit-k": MatchingPursuitSAE(
            MatchingPursuitSAEConfig(**sizes, max_iterations=K, residual_threshold=0.0, stop_on_duplicate_support=False)
        ),
        "pursuit-norm": MatchingPursuitSAE(
            MatchingPursuitSAEConfig(**sizes, normalize_activations="constant_norm_rescale", residual_threshold=1.0)
        ),
    }
    for name, sae in kinds.items():
        draw(sae)
        if name.startswith("pursuit"):
            sae.W_dec.data /= sae.W_dec.data.norm(dim=1, keepdim=True)
        sae.save_model(folder / f"saelens-{name}")
        codes = sae.encode(rows)
        keep(folder, f"saelens-{name}", rows, codes, sae(rows), place=f"saelens:{folder}/saelens-{name}")
    batch = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes, k=K))
    draw(batch)
    batch.topk_threshold.fill_(8.0)
    batch.save_inference_model(folder / "saelens-batchtopk")
    sae = SAE.load_from_disk(folder / "saelens-batchtopk")
    keep(folder, "saelens-batchtopk", rows, sae.encode(rows), sae(rows), place=f"saelens:{folder}/saelens-batchtopk")


def make_overcomplete(folder: Path, rows: torch.Tensor) -> None:
    from overcomplete.sae import BatchTopKSAE, MpSAE, TopKSAE

    free = {"dictionary_params": {"normalization": "identity", "use_multiplier": True}}
    kinds = {
        "mp": MpSAE(DIM, ATOMS, k=K),
        "mp-free": MpSAE(DIM, ATOMS, k=K, **free),
        "top-k": TopKSAE(DIM, ATOMS, top_k=K, **free),
        "batch-top-k": BatchTopKSAE(DIM, ATOMS, top_k=K * len(rows)),
    }
    for name, sae in kinds.items():
        draw(sae)
        if name == "mp-free":
            sae.dictionary._weights.data /= 1.2 * sae.dictionary._weights.data.norm(dim=1).max()
        sae.train()
        sae(rows)
        sae.eval()
        torch.save(sae.state_dict(), folder / f"overcomplete-{name}.pt")
        _, codes, rebuilt = sae(rows)
        kind = name.removesuffix("-free")
        place = f"overcomplete:{folder}/overcomplete-{name}.pt?kind={kind}&k={K}"
        keep(folder, f"overcomplete-{name}", rows, codes, rebuilt, place=place)


def make_dictionary_learning(folder: Path, rows: torch.Tensor) -> None:
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kinds = [
        AutoEncoder(DIM, ATOMS),
        AutoEncoderNew(DIM, ATOMS),
        AutoEncoderTopK(DIM, ATOMS, K),
        BatchTopKSAE(DIM, ATOMS, K),
        MatryoshkaBatchTopKSAE(DIM, ATOMS, K, [ATOMS // 2, ATOMS // 2]),
        JumpReluAutoEncoder(DIM, ATOMS),
    ]
    for sae in kinds:
        draw(sae)
        name = type(sae).__name__
        if "BatchTopK" in name:
            sae.threshold.fill_(7.0)
        own = folder / f"dictionary-learning-{name}"
        own.mkdir()
        torch.save(sae.state_dict(), own / "ae.pt")
        (own / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "k": K}}))
        if name == "AutoEncoder":  # as `from_pretrained` does
            sae.normalize_decoder()
        codes = sae.encode(rows)
        keep(folder, own.name, rows, codes, sae.decode(codes), place=f"dictionary-learning:{own}")


def make_sparsify(folder: Path, rows: torch.Tensor) -> None:
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    sae = SparseCoder(DIM, SparseCoderConfig(num_latents=ATOMS, k=K))
    draw(sae)
    own = folder / "sparsify-topk"
    sae.save_to_disk(own)
    found = sae.encode(rows)
    codes = torch.zeros(len(rows), ATOMS).scatter(1, found.top_indices, found.top_acts)
    keep(folder, own.name, rows, codes, codes @ sae.W_dec + sae.b_dec, place=f"sparsify:{own}")


def load_saelens(folder: Path) -> None:
    from sae_lens import SAE

    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        sae = SAE.load_from_disk(own)
        rows = torch.from_numpy(np.load(own / "rows.npy"))
        keep(folder, own.name, rows, sae.encode(rows), sae(rows))


if __name__ == "__main__":
    command, place = sys.argv[1], Path(sys.argv[2])
    with torch.no_grad():
        if command == "load":
            load_saelens(place)
        else:
            given = 2 * torch.randn(ROWS, DIM, generator=GENERATOR)
            for make in (make_saelens, make_overcomplete, make_dictionary_learning, make_sparsify):
                make(place, given)
