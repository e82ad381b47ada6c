"""The page of an evaluation of pairs: which section is made by what."""

from collections.abc import Mapping, Sequence
from typing import Any

from isoenergy.evaluation.results import ATOMS_FILE, CURVES_FILE
from isoenergy.evaluation.ways import FROM_EMBEDDINGS
from isoenergy.report.figures.beta_figure import has_betas, measures_by_beta
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.naming import Naming
from isoenergy.report.page.explorer import Explorer
from isoenergy.report.page.gap_drawing import gap_drawing
from isoenergy.report.page.headline import Headline, headline
from isoenergy.report.page.rendering import Page, environment
from isoenergy.report.page.sae_drawings import ReadTable
from isoenergy.report.page.sae_section import SaeSection
from isoenergy.report.page.shown_pictures import GivenPictures
from isoenergy.report.page.task_sections import TaskReport
from isoenergy.report.page.verdict import original_recall
from isoenergy.report.saes import Sae, is_null, labels, real_saes, trainings
from isoenergy.report.tables import paper_table, rivals, sae_tables
from isoenergy.report.tables.evaluation_steps import step_rows
from isoenergy.report.tables.published import published
from isoenergy.report.tables.table_files import report_tables

_HELD = {"graph", "original", "pairs", "saes", "stability", "store", "tasks"}


def pairs_page(summary: Mapping[str, Any], table: ReadTable, given: GivenPictures | None = None) -> Page:
    """Return the page with its figures and tables.

    summary: what `evaluation.json` holds. table: reads a Parquet file of the evaluation. given: where pictures are
    that the evaluation does not have.
    Raises KeyError if it holds less, InputError if pictures are given and no pair has one.
    """
    if lacking := _HELD - set(summary):  # before any figure is drawn
        raise KeyError(*sorted(lacking))
    saes, store, original = summary["saes"], summary["store"], summary["original"]
    names, naming = labels(saes), Naming(tuple(store["modalities"]))
    measured_on = "all pairs" if summary["split"] == "all" else f"the {summary['split']} split"
    found = _headline(summary, names)
    real = sorted(real_saes(saes), key=lambda sae: found is None or sae["name"] != found.sae["name"])
    atoms = {sae["name"]: table(f"{sae['exemplars']}/{ATOMS_FILE}") for sae in saes}
    shown = {
        sae["name"]: SaeSection.of(sae, summary, names[sae["name"]], atoms[sae["name"]], table, naming, given)
        for sae in real
    }
    gaps = gap_drawing(original, real, names).named(naming)
    by_beta = [each.named(naming) for each in _by_beta(saes)]
    tasks = TaskReport.of(summary["tasks"], saes, names)
    sections = {  # by the template that shows it
        "verdict": _verdict(found, shown),
        "paper_table": {
            "rows": paper_table.paper_table(saes, names, store["encoder"]),
            "columns": paper_table.COLUMNS,
            "has_published": bool(published(store["encoder"])),
            "drawings": by_beta,
        },
        "gap": {"drawing": gaps, "embeddings": ("reconstructed", "bimodal", "unimodal")},
        "tasks": tasks,
        "rivals": {
            "groups": rivals.rival_table(original, real, names),
            "measures": rivals.MEASURES,
            "variants": rivals.VARIANTS,
            "from_embeddings": FROM_EMBEDDINGS,
        },
        "measures": {
            "groups": sae_tables.side_by_side(saes),
            "stability": sae_tables.stability(summary["stability"]),
        },
        "saes": list(shown.values()),
        "measured_on": measured_on,
        "explorer": Explorer.of(real, names, measured_on, table),
        "steps": step_rows(summary["graph"]),
    }
    if given is not None:
        given.counted()  # raises if no pair has a picture: before figures are drawn
    page = environment(naming).get_template("pairs.html")
    html = page.render(summary=summary, labels=names, nulls=[sae for sae in saes if is_null(sae)], **sections)
    drawings = {drawing.name: drawing for drawing in (gaps, *by_beta, *tasks.drawings)}
    drawings |= {f"{name}-{each.name}": each for name, section in shown.items() for each in section.drawings}
    curves = {sae["name"]: table(f"{sae['bridge_curves']}/{CURVES_FILE}") for sae in saes}
    return Page(html, drawings, report_tables(summary, atoms, curves))


def _headline(summary: Mapping[str, Any], names: Mapping[str, str]) -> Headline | None:
    return headline(summary["saes"], names, summary["pairs"]["chance_r10"], original_recall(summary))


def _verdict(found: Headline | None, shown: Mapping[str, SaeSection]) -> dict[str, Any]:
    """Return the headline and the SAE that it is about; nothing of null models alone."""
    if found is None:
        return {"headline": None, "shown": None, "trainings": 1}
    return {"headline": found, "shown": shown[found.sae["name"]], "trainings": len(trainings(found.sae))}


def _by_beta(saes: Sequence[Sae]) -> list[Drawing]:
    """Return what alignment buys and costs, if SAEs differ in its weight."""
    if not has_betas(saes):
        return []
    drawing = Drawing.of(
        "by-beta",
        "R², bimodal share of the energy, δ_r@1 and p_acc against β, for SAEs on true pairs and null models",
        measures_by_beta(saes),
        wide=True,
        narrow=measures_by_beta(saes, narrow=True),
        caption="What alignment buys and costs as its weight grows. Hollow: the same objective on shuffled pairs; "
        "only what lies apart from it needs pairs that belong together. Bars: 95% intervals, of one training each.",
    )
    return [drawing]
