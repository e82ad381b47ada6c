import json
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.cli import STAGES

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "ray", "mlflow", "matplotlib", "scipy.stats", "pyarrow.dataset", "numba", "transformers", "open_clip"]
COMPILER = "torch._dynamo"
WRITER = """
from workflows.extraction.extraction_writing import Writer
"""
COMMIT = """
import pyarrow as pa
from isoenergy.pairs.source import PairUnit
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema
writer = StoreWriter(sys.argv[1])
writer.commit(PairUnit("a.parquet", 0, 0), "", shard_schema(2, "float16", pa.schema([])).empty_table(),
              REJECTED.empty_table())
assert list(writer.committed())
"""
SURVEY = """
from isoenergy.store.index import survey_shards
from isoenergy.store.shards import Shards
assert not survey_shards(Shards(sys.argv[1], {"image": 2}), [], "train").shards
"""
SETTINGS = """
from isoenergy.training import TrainingConfig
from isoenergy.sparse_encoders import SparseEncoder
from isoenergy.alignments import Alignment
assert len(SparseEncoder.members()) == 5 and len(Alignment.members()) == 4, SparseEncoder.members()
assert TrainingConfig().saes(8)
"""
HELP = """
import contextlib, io, workflows.cli
sys.argv = ["isoenergy", {stage!r}, "--help"]
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    workflows.cli.main()
assert "usage: isoenergy " + {stage!r} in said.getvalue()
"""
DECODING = """
from PIL import Image
from isoenergy.encoders.loading import load_preprocessor
from workflows.extraction.extraction_decoding import Decode
assert load_preprocessor("bundled")(Image.new("RGB", (7, 9))).shape == (64, 64, 3)
"""
FIT = """
import numpy as np, isoenergy
rows = np.random.default_rng(0).normal(size=(64, 8)).astype("f4")
isoenergy.fit(rows, rows, k=2, expansion=2, beta=1e-3, epochs=1, batch_pairs=32, progress=False)
"""
ENCODING = """
from isoenergy.encoders import load_encoder
assert load_encoder("bundled").encode_texts(["a duck"]).isfinite().all()
"""
COMPILING = """
import torch
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") == torch._dynamo.is_dynamo_supported()
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
"""
ASKED_FOR_MORE = """
import inspect, torch
from isoenergy.encoders.uncompiled_imports import without_the_compiler
with without_the_compiler():
    import torch._dynamo
    inspect.getmodule(inspect.currentframe())
    assert type(sys.modules["torch._dynamo"]).__name__ == "_StandIn"
    import torch._dynamo.config
    assert torch._dynamo.config.recompile_limit > 0 and torch._dynamo.is_dynamo_supported() in (True, False)
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
"""
CASES = {
    "the package": "import isoenergy, isoenergy.store, isoenergy.encoders, isoenergy.sae, isoenergy.training",
    "a store's manifest": "from isoenergy.store import EmbeddingStore, Manifest, PairIndex",
    "a writer": WRITER,
    "a commit": COMMIT,
    "a survey before training": SURVEY,
    "settings of a training": SETTINGS,
    "a decoder of the bundled encoder": DECODING,
    "what a decoding task is": "from workflows.extraction.extraction_decoding import Decode",
    "settings of a search": "from tune.search_config import SearchConfig; from tune.space import SearchSpace",
    "the stages' list": "import workflows.cli",
    "a preset": "from isoenergy.bundled.preset import DEMO_TRAINING",
}


def imported(code: str, folder: Path) -> list[str]:
    """What of the heavy libraries a fresh process has imported once it has run some code."""
    report = f"\nprint(json.dumps([name for name in {[*HEAVY, COMPILER]} if name in sys.modules]))"
    command = [sys.executable, "-c", f"import json, sys\n{code}{report}", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_nothing_heavy_is_imported_where_it_is_not_used(case: str, tmp_path: Path) -> None:
    assert imported(CASES[case], tmp_path) == []


def test_a_report_needs_nothing_of_what_computed_it(tmp_path: Path) -> None:
    assert imported("import workflows.report, workflows.steps.on_ray", tmp_path) == ["ray", "matplotlib"]


def test_what_is_used_is_seen(tmp_path: Path) -> None:
    assert imported("from isoenergy import SparseAutoencoder", tmp_path) == ["torch"]


def test_training_does_without_the_compiler(tmp_path: Path) -> None:
    assert {"torch", COMPILER}.intersection(imported(FIT, tmp_path)) == {"torch"}


def test_the_bundled_encoder_does_without_the_compiler_until_something_is_compiled(tmp_path: Path) -> None:
    assert COMPILER not in imported(ENCODING, tmp_path)
    assert COMPILER in imported(f"{ENCODING}{COMPILING}", tmp_path)


def test_whatever_else_is_asked_of_the_compiler_loads_it(tmp_path: Path) -> None:
    assert COMPILER in imported(ASKED_FOR_MORE, tmp_path)


@pytest.mark.parametrize("stage", STAGES)
def test_help_imports_nothing_heavy(stage: str, tmp_path: Path) -> None:
    assert imported(HELP.format(stage=stage), tmp_path) == []


def test_settings_that_are_refused_import_nothing_heavy(tmp_path: Path) -> None:
    refused = """
import workflows.cli
sys.argv = ["isoenergy", "train", "demo", "--k", "0"]
try:
    workflows.cli.main()
except SystemExit as end:
    assert end.code == 2
"""
    assert imported(refused, tmp_path) == []
