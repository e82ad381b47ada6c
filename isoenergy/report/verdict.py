"""The evaluation in sentences, good news or bad."""

from typing import Any

from isoenergy.statistics import ALWAYS_ON_FREQUENCY

KEPT_RETRIEVAL = 0.9
UNIMODAL_RETRIEVAL = 0.1
MOST_OF_THE_GAP = 0.5
ALWAYS_ON_SHARE = 0.05


def sae_label(sae: dict[str, Any]) -> str:
    """Return what the paper calls it: SAE for β = 0, else SAE-A."""
    beta = sae["config"]["beta"]
    return f"SAE-A (β = {beta:g})" if beta else "SAE (β = 0)"


def recall_at_10(retrieval: dict[str, float]) -> float:
    """Return R@10, averaged over both directions."""
    return (retrieval["image_to_text_r10"] + retrieval["text_to_image_r10"]) / 2


def verdict(sae: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the four things that the hypothesis predicts of an SAE, each as `holds` and a `text` with its numbers."""
    results = sae["results"]
    gap, retrieval = results["geometry"], results["retrieval"]
    before, after = (gap[name]["difference_in_means"] for name in ("reconstructed", "bimodal"))
    recall = {name: recall_at_10(retrieval[name]) for name in ("reconstructed", "bimodal", "unimodal")}
    always_on = results["always_on_energy_share"]
    kept = _share(recall["bimodal"], recall["reconstructed"])
    closed = 1 - _share(after, before)
    return [
        {
            "holds": closed > MOST_OF_THE_GAP,
            "text": f"Removing the unimodal atoms {'closes' if closed > 0 else 'widens'} the gap by {abs(closed):.0%}: "
            f"the difference in means goes from {before:.3f} to {after:.3f}.",
        },
        {
            "holds": kept >= KEPT_RETRIEVAL,
            "text": f"Bimodal atoms alone keep {kept:.0%} of the reconstruction's retrieval: "
            f"R@10 {recall['bimodal']:.3f} of {recall['reconstructed']:.3f}.",
        },
        {
            "holds": _share(recall["unimodal"], recall["reconstructed"]) < UNIMODAL_RETRIEVAL,
            "text": f"Unimodal atoms alone retrieve {_share(recall['unimodal'], recall['reconstructed']):.0%} of it: "
            f"R@10 {recall['unimodal']:.3f}.",
        },
        {
            "holds": always_on < ALWAYS_ON_SHARE,
            "text": f"Atoms that are always on (f > {ALWAYS_ON_FREQUENCY}) hold {always_on:.1%} of the energy.",
        },
    ]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
