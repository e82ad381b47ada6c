"""The paper's main table for the SAEs of an evaluation: a row an SAE, null models too, and what the paper printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isoenergy.report.intervals import number
from isoenergy.report.saes import Sae, is_null, trainings
from isoenergy.report.tables.published import published
from isoenergy.report.tables.sae_tables import Cell, Measure, cell

Kind = Literal["trained", "null", "published"]


@dataclass(frozen=True)
class Column:
    """A measure, what it is called in files and among the published ones, and which way is better."""

    name: str
    measure: Measure
    better: Literal["↑", "↓", "→\N{NO-BREAK SPACE}0", ""] = ""


COLUMNS = (
    Column("mse", Measure("mse", "MSE", "squared error of a row, summed over dimensions"), "↓"),
    Column("r2", Measure("r2", "R²", "against the scalar mean of all entries"), "↑"),
    Column("l0", Measure("l0", "l0", "atoms in a code", ".2f")),
    Column("l1", Measure("l1", "l1", "sum of coefficients"), "↓"),
    Column("p_acc", Measure("geometry.p_acc", "p_acc", "atoms as probes of the modality, weighted by energy"), "↑"),
    Column("rho", Measure("bridges.rho", "ρ", "Σ-bridge: mass with a bimodal side over mass without", ".2f"), "↑"),
    Column("fda", Measure("bridges.fda", "FDA", "Γ-bridge: the same odds over those of the energy", ".2f"), "↑"),
    Column(
        "delta_r1",
        Measure(
            "retrieval.bimodal.change_in_batches_r1",
            "δ_r@1",
            "R@1 in batches of 256, bimodal atoms alone less all atoms",
            "+.3f",
        ),
        "→\N{NO-BREAK SPACE}0",
    ),
    Column("bimodal_energy", Measure("bimodal_energy_share", "bimodal energy", "0.05 ≤ μ ≤ 0.95", ".1%")),
    Column("image_only_energy", Measure("image_only_energy_share", "image-only energy", "μ > 0.95", ".1%")),
    Column("text_only_energy", Measure("text_only_energy_share", "text-only energy", "μ < 0.05", ".1%")),
    Column("always_on_energy", Measure("always_on_energy_share", "always-on energy", "atoms with f > 0.9", ".1%")),
    Column("dead_atoms", Measure("dead_atoms", "dead atoms", "never fire on these pairs", ",d")),
)


@dataclass(frozen=True)
class PaperRow:
    """An SAE of the evaluation, or one of the paper."""

    label: str
    kind: Kind
    cells: Sequence[Cell]


def paper_table(saes: Sequence[Sae], labels: Mapping[str, str], encoder: str) -> list[PaperRow]:
    """Return a row an SAE, and below them what the paper printed if `encoder` is one of its six."""
    rows = [
        PaperRow(
            labels[sae["name"]],
            "null" if is_null(sae) else "trained",
            [cell(trainings(sae), column.measure) for column in COLUMNS],
        )
        for sae in saes
    ]
    return rows + [
        PaperRow(f"the paper’s {name}", "published", [_printed(column, values) for column in COLUMNS])
        for name, values in published(encoder).items()
    ]


def _printed(column: Column, values: Mapping[str, float]) -> Cell:
    return Cell(number(values[column.name], column.measure.form) if column.name in values else "")
