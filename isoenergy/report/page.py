"""One self-contained HTML page from an evaluation."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from isoenergy import strict_json
from isoenergy.errors import InputError
from isoenergy.exemplars import ATOMS_FILE, EXEMPLARS_FILE, PROJECTION_FILE, SHOWN_ATOM_CLASSES
from isoenergy.files import open_filesystem, write_atomically
from isoenergy.report import figures, rival_figures, rivals, tables
from isoenergy.report.drawing import Drawing
from isoenergy.report.graph_figure import draw_graph
from isoenergy.report.intervals import bounds, number
from isoenergy.report.saes import Sae, is_null, labels, real_saes
from isoenergy.report.sharedness import SharednessCounts, sharedness
from isoenergy.report.task_tables import TaskReport
from isoenergy.report.thumbnails import thumbnails
from isoenergy.report.verdict import Finding, verdict

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
    atom_drawings: Sequence[Drawing]
    atoms_tested: SharednessCounts
    atoms: Sequence[Mapping[str, Any]]


def write_report(evaluation: str, output: str) -> list[str]:
    """Write `output` (one HTML file) and `figures/` beside it, from `evaluation.json`; return all files, page first.

    evaluation, output: paths or fsspec URLs.

    Raises InputError if there is no evaluation, or one of its steps is gone.
    """
    filesystem, file = open_filesystem(evaluation)
    root = file.rpartition("/")[0]

    def table(name: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(filesystem.cat_file(f"{root}/{name}")))

    try:
        summary = strict_json.loads(filesystem.cat_file(file).decode())
        names, real = labels(summary["saes"]), real_saes(summary["saes"])
        saes = [_sae_report(sae, summary, names[sae["name"]], table) for sae in real]
        graph = Drawing.of("graph", "", draw_graph(summary["graph"]))
        tasks = TaskReport.of(summary["tasks"], summary["saes"], names)
        page = (
            _environment()
            .get_template("page.html")
            .render(
                summary=summary,
                labels=names,
                saes=saes,
                nulls=[sae for sae in summary["saes"] if is_null(sae)],
                measures=tables.side_by_side(summary["saes"]),
                stability=tables.stability(summary["stability"]),
                rivals=rivals.rival_table(summary["original"], real, names),
                rival_measures=rivals.MEASURES,
                variants=rivals.VARIANTS,
                headings=_CLASS_HEADINGS,
                embeddings=("reconstructed", "bimodal", "unimodal"),
                graph=graph,
                tasks=tasks,
            )
        )
    except InputError:  # the storage does not answer
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{evaluation} is not a whole evaluation ({error}); run `isoenergy evaluate` first") from error
    drawings = {graph.name: graph, **{each.name: each for each in tasks.drawings}}
    for sae, shown in zip(real, saes, strict=True):
        drawings |= {f"{sae['name']}-{each.name}": each for each in (*shown.rival_drawings, *shown.atom_drawings)}
    beside = "".join(output.rpartition("/")[:2])
    files = {
        f"{beside}figures/{name}.{kind}": data
        for name, drawing in drawings.items()
        for kind, data in drawing.files.items()
    }
    try:
        for place, data in {**files, output: page.encode()}.items():
            write_atomically(*open_filesystem(place), data)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output that can") from error
    return [output, *files]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("isoenergy", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"format_count": "{:,}".format, "number": number, "bounds": bounds, "unbroken": _unbroken}
    return environment


def _unbroken(sentence: str) -> str:
    """Keep what stands in brackets on one line."""
    return re.sub(r"\[[^]]*\]|\([^)]*\)", lambda bracketed: bracketed[0].replace(" ", "\N{NO-BREAK SPACE}"), sentence)


def _sae_report(sae: Sae, summary: Mapping[str, Any], label: str, table: Callable[[str], pa.Table]) -> SaeReport:
    atoms = table(f"{sae['exemplars']}/{ATOMS_FILE}")
    points = table(f"{sae['projection']}/{PROJECTION_FILE}")
    original = summary["original"]
    return SaeReport(
        label=label,
        results=sae["results"],
        verdict=verdict(sae, summary["saes"]),
        rivals=rivals.rival_sentences(original, sae),
        rival_drawings=[
            Drawing.of(
                "rivals",
                "relative modality gap against R@1 of every way to close the gap",
                rival_figures.trade_off(original, sae, label),
                wide=True,
            ),
            Drawing.of(
                "sweeps",
                "difference in means against R@1 along the sweeps of step sizes and of gap dimensions",
                rival_figures.sweeps(original, sae, label),
                wide=True,
            ),
        ],
        atom_drawings=[
            Drawing.of(
                "projection",
                "both modalities along the gap and across it, before and after removing unimodal atoms",
                figures.projection(points, label),
                wide=True,
            ),
            Drawing.of(
                "energy",
                "image energy against text energy, an atom a point",
                figures.energy_scatter(atoms, f"{label}: energy of each atom"),
            ),
            Drawing.of(
                "modality-score",
                "share of the energy by modality score",
                figures.modality_score_histogram(atoms, f"{label}: energy by modality score"),
            ),
            Drawing.of(
                "sharedness", "how far each atom is shared, with its interval", sharedness(atoms, label), wide=True
            ),
        ],
        atoms_tested=SharednessCounts.of(atoms),
        atoms=_shown_atoms(atoms, table(f"{sae['exemplars']}/{EXEMPLARS_FILE}"), summary["store"]),
    )


def _shown_atoms(atoms: pa.Table, exemplars: pa.Table, store: Mapping[str, Any]) -> list[dict[str, Any]]:
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
