from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae import SaeConfig

CONFIG = SaeConfig(dim=6, atoms=15, k=4, beta=0.0)


def test_reconstruction_is_input_minus_residual() -> None:
    sae = SparseAutoencoder(CONFIG, torch.Generator().manual_seed(0))
    x = torch.randn(9, 6)
    codes = sae.encode(x)
    torch.testing.assert_close(sae.decode(codes), x - codes.residual)


def test_a_saved_sae_loads(tmp_path: Path) -> None:
    sae = SparseAutoencoder(CONFIG)
    sae.save(tmp_path)
    loaded = SparseAutoencoder.load(tmp_path)
    assert loaded.config == CONFIG
    assert torch.equal(loaded.dictionary, sae.dictionary)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)
    SparseAutoencoder(CONFIG).save(tmp_path)
    (tmp_path / "config.json").write_text('{"dim": 7, "atoms": 15, "k": 4, "beta": 0.0}')
    with pytest.raises(InputError, match="is not a checkpoint"):
        SparseAutoencoder.load(tmp_path)
