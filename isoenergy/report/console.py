"""What an evaluation comes to, for those who see no page: three sentences, a table, and what holds of SAE-A."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from isoenergy.evaluation.results import UNEQUAL_Q
from isoenergy.report.intervals import Interval, middle, number, over_trainings, told
from isoenergy.report.page.headline import Headline, headline
from isoenergy.report.page.modalities_page import KIND
from isoenergy.report.page.task_sections import task_line
from isoenergy.report.page.verdict import agreeing, drawn, gap_closed, original_recall, recall_kept, verdict
from isoenergy.report.saes import Sae, is_null, labels, trainings

WIDTH = 100
_COLUMNS = ("R²", "bimodal energy", "agreement", "gap closed", "R@10 kept")
_OF_MODALITIES = ("R²", "shared energy")
_DETAILED = ("reconstructed", "bimodal", "less_unimodal", "unimodal")

Results = Mapping[str, Any]


def told_evaluation(evaluation: Mapping[str, Any], verbose: bool = False) -> list[str]:
    """Return the lines that say what an evaluation (`evaluation.json`) comes to; verbose: with every SAE's numbers."""
    if evaluation.get("kind") == KIND:
        rows = [(sae["name"], _of_modalities(sae["results"])) for sae in evaluation["saes"]]
        return [*aligned(("", *_OF_MODALITIES), rows)]
    saes, names = evaluation["saes"], labels(evaluation["saes"])
    chance, original = evaluation["pairs"]["chance_r10"], evaluation["original"]
    found = _headline(evaluation, names)
    lines = []
    if found:
        for sentence in found.sentences:
            lines += [*wrapped(sentence), ""]
    lines += [*aligned(("", *_COLUMNS), [("original", _of_original(original)), *_rows(saes, names)]), ""]
    if found:
        lines += [
            line
            for finding in verdict(found.sae, saes, chance, original_recall(evaluation))
            for line in wrapped(finding.claim, f"{finding.mark} ", "  ")
        ]
        lines += ["", *wrapped(_how_to_read(found.sae, evaluation["pairs"]))]
    return lines + (["", *_details(evaluation, names)] if verbose else [])


def told_in_brief(evaluation: Mapping[str, Any]) -> str:
    """Return the three sentences, a paragraph each; nothing of null models alone or of more modalities."""
    if evaluation.get("kind") == KIND:
        return ""
    found = _headline(evaluation, labels(evaluation["saes"]))
    return "\n\n".join(found.sentences) if found else ""


def aligned(heading: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """Yield a table's lines: names to the left, numbers to the right, each column as wide as its widest cell."""
    table = [tuple(heading), *((name, *cells) for name, cells in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *cells in table:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *numbers]).rstrip()


def _headline(evaluation: Mapping[str, Any], names: Mapping[str, str]) -> Headline | None:
    return headline(evaluation["saes"], names, evaluation["pairs"]["chance_r10"], original_recall(evaluation))


def _rows(saes: Sequence[Sae], names: Mapping[str, str]) -> list[tuple[str, Sequence[str]]]:
    return [(names[sae["name"]], _of_sae(trainings(sae))) for sae in saes]


def _of_original(original: Results) -> Sequence[str]:
    gap = original["geometry"]["original"]["difference_in_means"]
    r10 = original["retrieval"]["original"]["r10"]["value"]
    return "–", "–", "–", f"gap {number(gap, '.3f')}", f"R@10 {number(r10, '.3f')}"


def _of_sae(runs: Sequence[Results]) -> Sequence[str]:
    def shown(of: Callable[[Results], Interval], form: str) -> str:
        return number(over_trainings([of(results) for results in runs])["value"], form)

    agree = all("agreement" in results for results in runs)  # evaluations of before have none
    return (
        shown(lambda results: drawn(results, "r2"), ".3f"),
        shown(lambda results: drawn(results, "bimodal_energy_share"), ".1%"),
        shown(agreeing, ".1%") if agree else "–",
        shown(lambda results: gap_closed(results, "bimodal"), ".0%"),
        shown(lambda results: recall_kept(results, "bimodal"), ".0%"),
    )


def _of_modalities(results: Results) -> Sequence[str]:
    return number(results["r2"]["value"], ".3f"), number(results["shared_energy_share"]["value"], ".1%")


def _how_to_read(sae: Sae, pairs: Mapping[str, Any]) -> str:
    count = len(trainings(sae))
    several = f", as far as those of {count} trainings reach; {middle(count)} is told" * (count > 1)
    differing = "; ≠: trainings differ" * (count > 1)
    why = pairs.get("no_intervals")  # of before there is none
    brackets = f"No intervals: {why}" if why else f"In brackets: 95% intervals by a bootstrap over pairs{several}"
    return (
        f"(✓, ✗: holds, or not, with its whole interval; ?: cannot be told{differing}. "
        f"{brackets}; gap closed, R@10 kept: without unimodal atoms, of the reconstruction's)"
    )


def wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    """Return a paragraph's lines, which begin with `first` and `others`."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def _details(evaluation: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Yield the pairs, every SAE's gap and recalls, what is found of it, and the tasks."""
    store, original = evaluation["store"], evaluation["original"]
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in store["rejected"].items()) or "none"
    yield f"pairs      {store['pairs_in']:,} in, {store['embedded']:,} embedded, rejected: {rejected}"
    gap, r10 = original["geometry"]["original"], original["retrieval"]["original"]["r10"]
    yield f"original   gap {gap['difference_in_means']:.3f}, R@10 {r10['value']:.3f}"
    for sae in evaluation["saes"]:
        results, runs = sae["results"], trainings(sae)
        r2, share, p_acc = (
            told([drawn(each, name) for each in runs]) for name in ("r2", "bimodal_energy_share", "p_acc")
        )
        centred = median(each.get("r2_centred", math.nan) for each in runs)
        yield (
            f"{names[sae['name']]}: R² {r2} (centred {number(centred, '.3f')}), bimodal energy {share}, p_acc {p_acc}"
        )
        if len(runs) > 1:
            yield f"  what has no brackets is of the first of {len(runs)} trainings:"
        for name in (each for each in _DETAILED if each in results["geometry"]):  # of raw rows nothing subtracts
            gap, retrieval = results["geometry"][name], results["retrieval"][name]
            means = told([each["geometry"][name]["difference_in_means_interval"] for each in runs])
            yield (
                f"  {name:<16} gap {means} (OT {gap['optimal_transport']:.3f}), "
                f"R@1/5/10 image→text {_recalls(retrieval, 'image_to_text')}, "
                f"text→image {_recalls(retrieval, 'text_to_image')}"
            )
        yield (
            f"  the energies of both modalities differ in {results['unequal_atoms']} of {results['tested_atoms']} "
            f"tested atoms (false discovery rate {UNEQUAL_Q:g})"
        )
        if not is_null(sae):
            chance = evaluation["pairs"]["chance_r10"]
            findings = verdict(sae, evaluation["saes"], chance, original_recall(evaluation))
            yield from (f"  {finding.mark} {finding.text}" for finding in findings)
    yield from (task_line(task, evaluation["saes"], names) for task in evaluation["tasks"])


def _recalls(retrieval: Mapping[str, float], direction: str) -> str:
    return "/".join(f"{retrieval[f'{direction}_r{rank}']:.3f}" for rank in (1, 5, 10))
