"""Nothing that may have been downloaded is unpickled or run: weights, stores, checkpoints, MLflow's artifacts."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("isoenergy", "workflows", "tune")
MODULES = {"pickle", "_pickle", "cloudpickle", "ray.cloudpickle", "dill", "joblib", "marshal", "shelve"}
FUNCTIONS = {
    "torch.load",
    "torch.hub.load",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "eval",
    "exec",
}
TENSORS_ALONE = "isoenergy/sae/layouts/tensor_files.py"
"""Reads other libraries' `.pt` files, by torch's unpickler that makes nothing but tensors."""
SAFE_OPTIONS = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True}


def unsafe(source: str) -> list[str]:
    """What in a module can run code that comes with data: modules, functions and options, whatever they are called."""
    tree = ast.parse(source)
    meanings: dict[str, str] = {}
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
            meanings |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            meanings |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def meaning(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return meanings.get(node.id, node.id)
        return f"{meaning(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    named = {meaning(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}
    loaders = {name for name in named if name.startswith("mlflow.") and name.endswith(".load_model")}
    given = [(node.arg, node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            given += zip(keys, node.values, strict=True)
    options = {
        f"{name}={ast.unparse(value)}"
        for name, value in given
        if name in SAFE_OPTIONS and not (isinstance(value, ast.Constant) and value.value is SAFE_OPTIONS[name])
    }
    return sorted(imported & MODULES | named & (FUNCTIONS | MODULES) | loaders | options)


FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_no_module_unpickles() -> None:
    assert {file.parent for file in FILES} >= {ROOT / "isoenergy" / "store", ROOT / "workflows"}
    found = {str(file.relative_to(ROOT)): found for file in FILES if (found := unsafe(file.read_text()))}
    assert found == {TENSORS_ALONE: ["torch.load"]}
    calls = [node for node in ast.walk(ast.parse((ROOT / TENSORS_ALONE).read_text())) if isinstance(node, ast.Call)]
    loads = [node for node in calls if ast.unparse(node.func) == "torch.load"]
    assert [[option.arg for option in load.keywords] for load in loads] == [["map_location", "weights_only"]]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("def f(): from ray import cloudpickle as c", ["ray.cloudpickle"]),
        ("import ray\nray.cloudpickle.loads(data)", ["ray.cloudpickle"]),
        ("from joblib import load", ["joblib"]),
        ("import torch\nload = torch.load", ["torch.load"]),
        ("import torch as t\nt.load(file, weights_only=True)", ["torch.load"]),
        ("from torch import load as read\nread(file)", ["torch.load"]),
        ("import numpy as np\nnp.load(file, allow_pickle=True)", ["allow_pickle=True"]),
        ("import numpy as np\nnp.load(file, allow_pickle=pickled)", ["allow_pickle=pickled"]),
        ("from yaml import unsafe_load\nunsafe_load(text)", ["yaml.unsafe_load"]),
        ("import mlflow\nmlflow.pyfunc.load_model(uri)", ["mlflow.pyfunc.load_model"]),
        ("from mlflow import pytorch\npytorch.load_model(uri)", ["mlflow.pytorch.load_model"]),
        ("AutoModel.from_pretrained(name, trust_remote_code=1)", ["trust_remote_code=1"]),
        ("options = {'trust_remote_code': True, 'local_files_only': True}", ["trust_remote_code=True"]),
        ("eval(text)", ["eval"]),
        ("model.eval()\nnp.load(file, allow_pickle=False)\nyaml.safe_load(text)\njson.load(file)", []),
    ],
)  # fmt: skip
def test_whatever_it_is_called_it_is_found(source: str, found: list[str]) -> None:
    assert unsafe(source) == found
