"""One self-contained HTML page from an evaluation, and its figures and tables as files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.evaluation.exemplars import ATOMS_FILE, EXEMPLARS_FILE, SHOWN_ATOM_CLASSES
from isoenergy.evaluation.measured_bridges import CURVES_FILE
from isoenergy.report.figures.beta_figure import by_beta, has_betas
from isoenergy.report.figures.gap_figure import gaps
from isoenergy.report.figures.sharedness import SharednessCounts
from isoenergy.report.naming import Naming
from isoenergy.report.page.drawing import Drawing, environment
from isoenergy.report.page.explorer import Explorer
from isoenergy.report.page.headline import headline
from isoenergy.report.page.modalities_page import KIND, modalities_page
from isoenergy.report.page.sae_figures import ReadTable, atom_drawings, projection_drawing, rival_drawings
from isoenergy.report.page.shown_pictures import thumbnails
from isoenergy.report.page.verdict import Finding, verdict
from isoenergy.report.saes import Sae, is_null, labels, real_saes
from isoenergy.report.tables import paper_table, rivals, sae_tables
from isoenergy.report.tables.evaluation_steps import step_rows
from isoenergy.report.tables.modality_tables import modality_tables
from isoenergy.report.tables.published import published
from isoenergy.report.tables.table_files import as_files, report_tables
from isoenergy.report.tables.task_tables import TaskReport
from isoenergy.storage import strict_json
from isoenergy.storage.files import open_filesystem, write_atomically

_CLASS_HEADINGS = {
    "bimodal": "Bimodal atoms: what images and captions share",
    "image_only": "Image-only atoms",
    "text_only": "Text-only atoms",
}


@dataclass(frozen=True)
class SaeReport:
    """What the page shows of one SAE."""

    label: str
    results: Mapping[str, Any]
    verdict: Sequence[Finding]
    rivals: Sequence[str]
    rival_drawings: Sequence[Drawing]
    projection: Drawing
    atom_drawings: Sequence[Drawing]
    atoms_tested: SharednessCounts
    atoms: Sequence[Mapping[str, Any]]


def write_report(evaluation: str, output: str) -> list[str]:
    """Write `output` (one HTML file), `figures/` and `tables/` beside it; return all files, page first.

    evaluation, output: paths or fsspec URLs, of `evaluation.json` and of the page.

    Raises InputError if there is no evaluation, or one of its steps is gone.
    """
    filesystem, file = open_filesystem(evaluation)
    root = file.rpartition("/")[0]

    def table(name: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(filesystem.cat_file(f"{root}/{name}")))

    try:
        summary = strict_json.loads(filesystem.cat_file(file).decode())
        files = (_modalities_files if summary.get("kind") == KIND else _files)(summary, table)
    except InputError:  # the storage does not answer
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{evaluation} is not a whole evaluation ({error}); run `isoenergy evaluate` first") from error
    beside = "".join(output.rpartition("/")[:2])
    places = {f"{beside}{name}" if name else output: data for name, data in files.items()}
    try:
        for place, data in reversed(places.items()):  # the page last: it is there when all is
            write_atomically(*open_filesystem(place), data)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output that can") from error
    return list(places)


def _files(summary: Mapping[str, Any], table: ReadTable) -> dict[str, bytes]:
    """Return the page, under no name, and all files beside it by their places."""
    names, real = labels(summary["saes"]), real_saes(summary["saes"])
    naming = Naming(tuple(summary["store"]["modalities"]))
    atoms = {sae["name"]: table(f"{sae['exemplars']}/{ATOMS_FILE}") for sae in summary["saes"]}
    shown = {
        sae["name"]: _sae_report(sae, summary, names[sae["name"]], atoms[sae["name"]], table, naming) for sae in real
    }
    found = headline(summary["saes"], names, summary["pairs"]["chance_r10"])
    narrow = projection_drawing(found.sae, found.label, table, narrow=True).named(naming) if found else None
    drawings = {
        "gaps": Drawing.of(
            "gaps",
            "difference in means and optimal transport of the embeddings and of what each SAE rebuilds, as they are "
            "and after each way to close the gap, with intervals",
            gaps(summary["original"], real, names),
            wide=True,
            caption="The gap by both measures; lines lead from all atoms of an SAE to its bimodal ones. Bars: 95% "
            "intervals, most of them smaller than the marks. Means vanish under centring by construction; transport "
            "also sees the clouds’ shapes.",
        ),
    }
    if has_betas(summary["saes"]):
        drawings["by-beta"] = Drawing.of(
            "by-beta",
            "R², bimodal share of the energy, δ_r@1 and p_acc against β, for SAEs on true pairs and null models",
            by_beta(summary["saes"]),
            wide=True,
            caption="What alignment buys and costs as its weight grows. Hollow: the same objective on shuffled pairs; "
            "only what lies apart from it needs pairs that belong together. Bars: 95% intervals, of one training each.",
        )
    drawings = {name: drawing.named(naming) for name, drawing in drawings.items()}
    tasks = TaskReport.of(summary["tasks"], summary["saes"], names)
    drawings |= {drawing.name: drawing for drawing in tasks.drawings}
    page = (
        environment(naming)
        .get_template("page.html")
        .render(
            summary=summary,
            labels=names,
            headline=found,
            saes=list(shown.values()),
            shown=shown[found.sae["name"]] if found else None,
            narrow=narrow,
            nulls=[sae for sae in summary["saes"] if is_null(sae)],
            paper=paper_table.paper_table(summary["saes"], names, summary["store"]["encoder"]),
            paper_columns=paper_table.COLUMNS,
            has_published=bool(published(summary["store"]["encoder"])),
            measures=sae_tables.side_by_side(summary["saes"]),
            stability=sae_tables.stability(summary["stability"]),
            rivals=rivals.rival_table(summary["original"], real, names),
            rival_measures=rivals.MEASURES,
            variants=rivals.VARIANTS,
            headings=_CLASS_HEADINGS,
            embeddings=("reconstructed", "bimodal", "unimodal"),
            gaps=drawings["gaps"],
            by_beta=drawings.get("by-beta"),
            steps=step_rows(summary["graph"]),
            tasks=tasks,
            explorer=Explorer.of(real, names, table),
        )
    )
    for name, sae in shown.items():
        all_of_it = (*sae.rival_drawings, sae.projection, *sae.atom_drawings)
        drawings |= {f"{name}-{drawing.name}": drawing for drawing in all_of_it}
    curves = {sae["name"]: table(f"{sae['bridge_curves']}/{CURVES_FILE}") for sae in summary["saes"]}
    return {
        "": page.encode(),
        **_figure_files(drawings),
        **_table_files(report_tables(summary, atoms, curves)),
    }


def _modalities_files(summary: Mapping[str, Any], table: ReadTable) -> dict[str, bytes]:
    page, drawings = modalities_page(summary, table)
    atoms = {sae["name"]: table(f"{sae['atoms']}/{ATOMS_FILE}") for sae in summary["saes"]}
    return {"": page.encode(), **_figure_files(drawings), **_table_files(modality_tables(summary, atoms))}


def _figure_files(drawings: Mapping[str, Drawing]) -> dict[str, bytes]:
    return {
        f"figures/{name}.{kind}": data for name, drawing in drawings.items() for kind, data in drawing.files.items()
    }


def _table_files(tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    return {f"tables/{name}": data for name, data in as_files(tables).items()}


def _sae_report(
    sae: Sae, summary: Mapping[str, Any], label: str, atoms: pa.Table, table: ReadTable, naming: Naming
) -> SaeReport:
    original = summary["original"]
    return SaeReport(
        label=label,
        results=sae["results"],
        verdict=verdict(sae, summary["saes"], summary["pairs"]["chance_r10"]),
        rivals=rivals.rival_sentences(original, sae),
        rival_drawings=[drawing.named(naming) for drawing in rival_drawings(original, sae, label)],
        projection=projection_drawing(sae, label, table).named(naming),
        atom_drawings=[drawing.named(naming) for drawing in atom_drawings(sae, label, atoms, table)],
        atoms_tested=SharednessCounts.of(atoms),
        atoms=_shown_atoms(atoms, table(f"{sae['exemplars']}/{EXEMPLARS_FILE}"), summary["store"]),
    )


def _shown_atoms(atoms: pa.Table, exemplars: pa.Table, store: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the strongest atoms of each class, each with its top images and captions."""
    shown = {row["atom"]: row | {"images": [], "captions": []} for row in atoms.to_pylist()}
    rows = exemplars.to_pylist()
    pictures: dict[tuple[str, int], str] = {}
    if store["source_config"] is not None:
        wanted = {(row["file"], row["row"]) for row in rows if row["modality"] == "image"}
        pictures = thumbnails(store["source_config"], wanted)
    for row in rows:
        atom = shown[row["atom"]]
        if row["modality"] == "image":
            atom["images"].append(row | {"picture": pictures.get((row["file"], row["row"]))})
        else:
            atom["captions"].append(row)
    chosen = [atom for atom in shown.values() if atom["images"] or atom["captions"]]
    return sorted(chosen, key=lambda atom: (SHOWN_ATOM_CLASSES.index(atom["class"]), -atom["energy"]))
