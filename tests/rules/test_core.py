"""The science needs what `pip install isoenergy` brings and nothing else: no Ray, MLflow, transformers, matplotlib.

The program below runs as in an environment of just these: every other package that is installed here is not found.
"""

import subprocess
import sys
from collections import deque
from importlib.metadata import distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEVER = {"ray", "mlflow", "transformers", "matplotlib", "open-clip-torch", "s3fs", "tyro", "pillow", "pandas"}

PROGRAM = """
import sys
from importlib.machinery import PathFinder

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in forbidden else super().find_spec(name, path, target)

folder, forbidden = sys.argv[1], set(sys.argv[2].split(","))
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed

import numpy as np
import isoenergy
from isoenergy.interventions import intervene, kept_atoms
from isoenergy.metrics.gap import l2m
from isoenergy.pursuit import matching_pursuit
from isoenergy.store import EmbeddingStore, PairBatches
from isoenergy.synthetic import generate
from isoenergy.training import Trainer

rng = np.random.default_rng(0)
shared = rng.standard_normal((500, 4))
images, texts = (
    (shared @ rng.standard_normal((4, 16)) + offset + rng.standard_normal((500, 16)) / 4).astype(np.float32)
    for offset in (1, -1)
)
fit = isoenergy.fit(images[:400], texts[:400], k=4, expansion=2, epochs=3, progress=False)
fit.save(folder)
sae = isoenergy.SparseAutoencoder.load(f"{folder}/beta-0.0004")
found = isoenergy.evaluate(sae, images[400:], texts[400:])
assert 0 < found["r2"].value < 1, found
assert sae.digest == fit.sae.digest
"""


def test_it_trains_saves_loads_and_evaluates(tmp_path: object) -> None:
    core = closure("isoenergy")
    assert not core & NEVER
    names = packages_distributions().items()
    forbidden = [name for name, of in names if not {canonicalize_name(each) for each in of} & core]
    assert {"ray", "mlflow", "PIL", "tyro"} <= set(forbidden)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), ",".join(forbidden)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def closure(name: str) -> set[str]:
    """A distribution, and all that it needs without extras."""
    found, waiting = set(), deque([canonicalize_name(name)])
    while waiting:
        each = waiting.popleft()
        if each in found:
            continue
        found.add(each)
        for line in distribution(each).requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    return found
