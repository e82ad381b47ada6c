import pytest

from isoenergy.evaluation.fit import FitConfig
from isoenergy.evaluation.measured_rows import PartConfig, StoreReference, UnitRows
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from workflows.evaluate import EvaluateConfig
from workflows.evaluation.evaluation_graph import EvaluationGraph
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.steps.step import Step

GIB = 2**30


def needs(atoms: int, pairs: int) -> dict[str, int]:
    """Bytes of each kind of step of an evaluation of two SAEs."""
    config = EvaluateConfig("store", ("sae",))
    store = StoreReference("s3://bucket/store", "fingerprint", config.split, (("image", 8), ("text", 8)))
    units = (UnitRows("unit", "unit.parquet", "file", 10),)
    parts = tuple(PartConfig(store, units, first, config.seed) for first in range(0, pairs, config.part_pairs))
    measured = MeasuredPairs(parts, pairs, config.draw, 10, FitConfig(store, units, config.fit_pairs))
    saes = {
        f"saes/beta-{beta:g}": SparseAutoencoder(SaeConfig(dim=8, atoms=atoms, k=20, beta=beta)) for beta in (0, 4e-4)
    }
    due, found = EvaluationGraph(measured, saes).targets, dict[str, int]()
    while due:
        step: Step = due.pop()
        found[step.name] = step.memory
        due += step.inputs.values()
    return found


@pytest.mark.parametrize(("atoms", "pairs", "gib"), [(65_536, 1_000_000, 44), (4096, 1_000_000, 3), (1024, 5000, 2)])
def test_every_step_of_many_atoms_fits_a_node(atoms: int, pairs: int, gib: float) -> None:
    needed = needs(atoms, pairs)
    assert {name: bytes_ / GIB for name, bytes_ in needed.items() if bytes_ > gib * GIB} == {}
    assert any(bytes_ > GIB for bytes_ in needed.values())
