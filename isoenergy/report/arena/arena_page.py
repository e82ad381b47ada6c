"""The arena's page, its Markdown tables and its Parquet file."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.counts import counted
from isoenergy.report.arena.arena_measures import GROUPS
from isoenergy.report.arena.standings import FEWEST_TRAININGS
from isoenergy.report.page.rendering import environment

Summary = Mapping[str, Any]


def arena_page(summary: Summary) -> str:
    """Return one page that needs no network; summary: what `arena.json` holds."""
    labels = {method["name"]: method["label"] for method in summary["methods"]}
    page = environment().get_template("arena.html")
    return page.render(
        summary=summary,
        about=_about(summary),
        legend=_legend(summary),
        groups=_groups(summary),
        cell=_cell,
        labels=labels,
    )


def arena_markdown(summary: Summary) -> str:
    """Return the same tables as text: ★ the winner, ≈ within noise of it."""
    lines = ["# The arena", "", _about(summary), "", _legend(summary), "", *_failures(summary)]
    for title, measures in _groups(summary).items():
        lines += [f"## {title}", "", f"| | {' | '.join(each['label'] for each in measures)} |"]
        lines.append(f"|---|{'---|' * len(measures)}")
        for method in summary["methods"]:
            cells = [_cell(method, measure) for measure in measures]
            if any(cells):
                lines.append(f"| {_named(method)} | {' | '.join(_text(*cell) if cell else '–' for cell in cells)} |")
        lines += ["", *(f"- **{each['label']}**: {each['about']}{_aim(each)}." for each in measures), ""]
    return "\n".join(lines)


def arena_parquet(summary: Summary) -> bytes:
    """Return a table, a row a method and measure: mean, interval over trainings, whether it wins or is within noise."""
    rows = []
    for measure in summary["measures"]:
        for method in summary["methods"]:
            found = method["measures"].get(measure["name"])
            if found is not None:
                rows.append(
                    {
                        "method": method["name"],
                        "strength": method["strength"],
                        "contends": method["contends"],
                        "measure": measure["name"],
                        "better": measure["better"],
                        **{name: found[name] for name in ("mean", "low", "high", "values")},
                        "winner": method["name"] == measure["winner"],
                        "within_noise": method["name"] in measure["within_noise"],
                    }
                )
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def _about(summary: Summary) -> str:
    """What was trained on which pairs, by which rule, and who judges."""
    pairs, budget = summary["pairs"], summary["budget"]
    of_one_image = pairs.get("of_one_image", 0)
    captions = (
        f" {of_one_image:,} of the test pairs have an image that another has too; only a pair's own other half is "
        f"right here, so that R@k counts an image's other captions as wrong, for every method."
    ) * bool(of_one_image)
    return (
        f"{pairs['train']:,} train, {pairs['validation']:,} validation and {pairs['test']:,} test pairs of "
        f"{summary['source']}; {budget['atoms']:,} atoms, k = {budget['k']}, {budget['epochs']} epochs of the train "
        f"pairs for each training; trainings of each method: {summary['seeds']}. {summary['rule']} "
        f"{summary['reference']}{captions}"
    )


def _failures(summary: Summary) -> list[str]:
    """Return which trainings failed, and how, as Markdown: a method of which all did has no row in the tables."""
    lines = []
    for method in summary["methods"]:
        for each in method["strengths"]:
            if each["failed"]:
                what = f" of strength {each['strength']:g}" * (len(method["strengths"]) > 1)
                row = "" if method["trainings"] else "; the method has no row below"
                lines.append(f"- **{method['label']}**: a training{what} failed: {each['failed']}{row}.")
    return [f"**{counted(len(lines), 'training')} failed**, first seeds:", "", *lines, ""] if lines else []


def _legend(summary: Summary) -> str:
    others = (
        "All are measured on the same test pairs, so that this does not say how other pairs would come out. † does not "
        "contend: a baseline, or far from k atoms a row."
    )
    if summary["seeds"] < FEWEST_TRAININGS:
        return (
            f"Means over trainings, of which there are fewer than {FEWEST_TRAININGS}: there are no intervals, and no "
            f"winner is named. {others}"
        )
    return (
        "Means over trainings; ± half of Student's 95 % interval. ★ the best mean of a measure; ≈ within noise of it: "
        f"Welch's test does not tell the method's trainings from the best one's at 95 %. {others}"
    )


def _groups(summary: Summary) -> dict[str, list[Mapping[str, Any]]]:
    known = {measure["name"]: measure for measure in summary["measures"]}
    found = {title: [known[each.name] for each in measures if each.name in known] for title, measures in GROUPS.items()}
    return {title: measures for title, measures in found.items() if measures}


def _cell(method: Summary, measure: Summary) -> tuple[Mapping[str, Any], str] | None:
    """A method's interval and its mark: winner, noise or nothing."""
    found = method["measures"].get(measure["name"])
    if found is None:
        return None
    noise = method["name"] in measure["within_noise"]
    return found, "winner" if method["name"] == measure["winner"] else "noise" if noise else ""


def _text(found: Mapping[str, Any], mark: str) -> str:
    mean, low, high = found["mean"], found["low"], found["high"]
    half = "" if low is None or high == low else f" ± {(high - low) / 2:.3f}"
    text = f"{mean:.3f}{half}".replace("-", "\N{MINUS SIGN}")
    return {"winner": f"**{text}** ★", "noise": f"{text} ≈", "": text}[mark]


def _named(method: Summary) -> str:
    strength = f" ({method['strength']:g})" if method["strength"] else ""
    return f"{method['label']}{strength}{'' if method['contends'] else ' †'}"


def _aim(measure: Summary) -> str:
    return {"high": "; more is better", "low": "; less is better", "half": "", "none": "; no contest"}[
        measure["better"]
    ]
