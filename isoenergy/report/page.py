"""One self-contained HTML page from an evaluation."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from isoenergy.errors import InputError
from isoenergy.exemplars import ATOMS_FILE, EXEMPLARS_FILE, PROJECTION_FILE, SHOWN_ATOM_CLASSES
from isoenergy.report import figures
from isoenergy.report.thumbnails import thumbnails
from isoenergy.report.verdict import sae_label, verdict

_KINDS = ("svg", "png")
_CLASS_HEADINGS = {
    "bimodal": "Bimodal atoms: what images and captions share",
    "image_only": "Image-only atoms",
    "text_only": "Text-only atoms",
}
_MEASURES = (
    ("mse", "MSE", "sum over dimensions, mean over rows", ".4f"),
    ("r2", "R²", "against the scalar mean: the paper's", ".4f"),
    ("r2_centred", "R², centred", "against each modality's own means", ".4f"),
    ("l0", "l0", "atoms in a code", ".2f"),
    ("l1", "l1", "sum of coefficients", ".3f"),
    ("dead_atoms", "dead atoms", "never fire on these pairs", "d"),
    ("bimodal_energy_share", "bimodal energy", "share of the energy, 0.05 ≤ μ ≤ 0.95", ".1%"),
    ("image_only_energy_share", "image-only energy", "μ > 0.95", ".1%"),
    ("text_only_energy_share", "text-only energy", "μ < 0.05", ".1%"),
    ("always_on_energy_share", "always-on energy", "atoms with f > 0.9", ".1%"),
)


@dataclass(frozen=True)
class SaeReport:
    """What the page shows of one SAE; figures are SVG and PNG bytes by name."""

    label: str
    results: dict[str, Any]
    verdict: list[dict[str, Any]]
    figures: dict[str, dict[str, bytes]]
    atoms: list[dict[str, Any]]


def write_report(evaluation: Path, output: Path) -> list[Path]:
    """Write `output` (one HTML file) and `figures/` beside it, from `evaluation.json`; return all files, page first.

    Raises InputError if there is no evaluation, or one of its steps is gone.
    """
    try:
        summary = json.loads(evaluation.read_text())
        saes = [_sae_report(sae, summary, evaluation.parent) for sae in summary["saes"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{evaluation} is not a whole evaluation ({error}); run `isoenergy evaluate` first") from error
    environment = Environment(
        loader=PackageLoader("isoenergy", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"format_count": "{:,}".format, "number": format}
    page = environment.get_template("page.html").render(
        summary=summary,
        saes=saes,
        measures=_MEASURES,
        headings=_CLASS_HEADINGS,
        embeddings=("reconstructed", "bimodal", "unimodal"),
        data_url=_data_url,
    )
    folder = output.parent / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        output.write_text(page)
        files = [output]
        for sae, record in zip(saes, summary["saes"], strict=True):
            for name, drawings in sae.figures.items():
                for kind, data in drawings.items():
                    files.append(folder / f"{record['name']}-{name}.{kind}")
                    files[-1].write_bytes(data)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output that can") from error
    return files


def _sae_report(sae: dict[str, Any], summary: dict[str, Any], root: Path) -> SaeReport:
    label = sae_label(sae)
    atoms = pq.read_table(root / sae["exemplars"] / ATOMS_FILE)
    drawn = {
        "energy": figures.energy_scatter(atoms, f"{label}: energy of each atom"),
        "modality-score": figures.modality_score_histogram(atoms, f"{label}: energy by modality score"),
        "projection": figures.projection(pq.read_table(root / sae["projection"] / PROJECTION_FILE), label),
    }
    return SaeReport(
        label=label,
        results=sae["results"],
        verdict=verdict(sae),
        figures={name: {kind: figures.as_bytes(figure, kind) for kind in _KINDS} for name, figure in drawn.items()},
        atoms=_shown_atoms(atoms, pq.read_table(root / sae["exemplars"] / EXEMPLARS_FILE), summary["store"]),
    )


def _shown_atoms(atoms: pa.Table, exemplars: pa.Table, store: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the strongest atoms of each class, each with its top images and captions."""
    shown = {row["atom"]: row | {"images": [], "captions": []} for row in atoms.to_pylist()}
    rows = exemplars.to_pylist()
    pictures = thumbnails(store["source"], {(row["file"], row["row"]) for row in rows if row["modality"] == "image"})
    for row in rows:
        atom = shown[row["atom"]]
        if row["modality"] == "image":
            atom["images"].append(row | {"picture": pictures.get((row["file"], row["row"]))})
        else:
            atom["captions"].append(row)
    chosen = [atom for atom in shown.values() if atom["images"] or atom["captions"]]
    return sorted(chosen, key=lambda atom: (SHOWN_ATOM_CLASSES.index(atom["class"]), -atom["energy"]))


def _data_url(drawing: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(drawing).decode()
