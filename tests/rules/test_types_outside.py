"""Types as those see them who import the package: pyright in basic mode finds nothing in a program that is right."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = """
import numpy as np
import torch

import isoenergy
from isoenergy.codes.numpy_codes import NumpyCodes

rows = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
fit = isoenergy.fit(rows, rows, k=4, expansion=2, epochs=1, progress=False)
numpy_codes: NumpyCodes = fit.encode(rows, "image")
prepared: NumpyCodes = fit.sae.encode(rows)
codes: isoenergy.SparseCodes = fit.encode(torch.from_numpy(rows), "text")
rebuilt: torch.Tensor = fit.decode(codes)
array: np.ndarray = fit.decode(numpy_codes)
fewer: isoenergy.SparseCodes = fit.without(codes, [0, 1])
steered: torch.Tensor = fit.sae.steer(rebuilt, 3, 0.5)
sae: isoenergy.SparseAutoencoder = isoenergy.SparseAutoencoder.load("hf:ORG/NAME")
sae.save("folder", layout="saelens")
found = isoenergy.evaluate(sae, rows, rows)
low: float = found["r2"].low
energies: np.ndarray = isoenergy.describe_atoms(sae, rows, rows).columns["image_energy"]
"""
WRONG = """
import isoenergy

fit: int = isoenergy.fit("store", k=4)
isoenergy.SparseAutoencoder.load("folder").save("folder", layout="onnx")
isoenergy.SparseAutoencoder.load("folder").encode("rows", "image")
"""


def test_pyright_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "pyright[nodejs]"], check=True, timeout=600)
    outside = tmp_path / "outside"
    outside.mkdir()
    # pyright does not see an editable installation: the tree stands for what is installed
    config = {"typeCheckingMode": "basic", "extraPaths": [str(Path(__file__).parents[2])]}
    (outside / "pyrightconfig.json").write_text(json.dumps(config))

    def errors(program: str) -> list[str]:
        (outside / "program.py").write_text(program)
        command = [python, "-m", "pyright", "--pythonpath", sys.executable, "program.py"]
        done = subprocess.run(command, cwd=outside, capture_output=True, text=True, timeout=600)
        return [line for line in done.stdout.splitlines() if " - error: " in line]

    assert errors(PROGRAM) == []
    found = errors(WRONG)
    assert {line.split("program.py:")[1].split(":")[0] for line in found} == {"4", "5", "6"}, found
