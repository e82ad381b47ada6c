"""The one figure that says what an evaluation comes to: the gap, and what is found across it."""

from collections.abc import Mapping, Sequence
from typing import Any

from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.figures.gap_figure import gaps_of_variants
from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.naming import Naming
from isoenergy.report.saes import Sae, labels, real_saes


def gap_picture(summary: Mapping[str, Any]) -> bytes:
    """Return the figure of an evaluation of pairs (`evaluation.json`) as PNG."""
    saes = summary["saes"]
    figure = gaps_of_variants(summary["original"], real_saes(saes), labels(saes))
    return as_bytes(Naming(tuple(summary["store"]["modalities"])).in_figure(figure), "png")


def gap_drawing(original: Mapping[str, Any], saes: Sequence[Sae], names: Mapping[str, str]) -> Drawing:
    """Return the figure of the gap and of retrieval."""
    return Drawing.of(
        "gaps",
        "difference in means and R@10 of the embeddings and of what each SAE rebuilds, as they are and after each way "
        "to close the gap, with intervals",
        gaps_of_variants(original, saes, names),
        wide=True,
        narrow=gaps_of_variants(original, saes, names, narrow=True),
        caption="Lines lead from all atoms of an SAE to its bimodal ones. Bars: 95% intervals, some smaller than the "
        "marks. Centring subtracts the means of train pairs, so that a little is left of the difference in means of "
        "these; the gap by optimal transport, which sees the clouds’ shapes too, is in the table of all measures. What "
        "leaves most rows with nothing has no mark.",
    )
