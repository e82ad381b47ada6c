"""The arena's measures as its tables show them."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["high", "low", "half", "none"]


@dataclass(frozen=True)
class ArenaMeasure:
    """A line of the legend and a column of a table."""

    name: str
    label: str
    about: str
    better: Better
    """half: the nearer to ½ the better; none: no method wins by it."""

    def score(self, value: float) -> float:
        """Return a number that is the larger the better."""
        return {"high": value, "low": -value, "half": -abs(value - 0.5), "none": float("nan")}[self.better]


GROUPS: dict[str, tuple[ArenaMeasure, ...]] = {
    "Reconstruction": (
        ArenaMeasure("r2", "R²", "about the mean of all entries, as in the paper", "high"),
        ArenaMeasure("r2_centred", "R², centred", "about each modality's own mean", "high"),
        ArenaMeasure("l0", "atoms a row", "coefficients that are not 0", "none"),
        ArenaMeasure("dead_atoms", "dead atoms", "share that no train pair fires", "low"),
    ),
    "The paper's": (
        ArenaMeasure("p_acc", "p_acc", "atoms as probes of modality; needs one direction an atom", "high"),
        ArenaMeasure("bimodal_energy", "bimodal energy", "share in atoms with μ from 0.05 to 0.95", "none"),
        ArenaMeasure("gap_closed", "gap closed", "share, by leaving out unimodal atoms and offsets", "high"),
        ArenaMeasure("r@10_kept", "R@10 kept", "of the reconstruction's, by the same", "high"),
        ArenaMeasure("r@10_bimodal", "R@10, bimodal", "of what bimodal atoms rebuild", "high"),
        ArenaMeasure("kept_gap_centroid", "gap left, centres", "‖Δμ‖² of what bimodal atoms rebuild", "low"),
        ArenaMeasure("kept_gap_distribution", "gap left, shapes", "W₂² of the same, each less its mean", "low"),
    ),
    "Shared atoms": (
        ArenaMeasure("agreement", "agreement", "correlation of a pair's coefficients, by energy", "high"),
        ArenaMeasure("agreement_fitted", "agreement, train", "of the train pairs, which matching is fitted on", "none"),
        ArenaMeasure("agreeing", "agreeing", "share of bimodal energy in atoms that agree", "high"),
        ArenaMeasure("codes_r@1", "R@1 by codes", "partner nearest, cosine of codes, both ways", "high"),
        ArenaMeasure("codes_r@10", "R@10 by codes", "among the ten nearest", "high"),
        ArenaMeasure("joint_gallery", "own modality first", "share of the ten nearest of both; ½ is neutral", "half"),
        ArenaMeasure("dominance", "dominance", "|2·MDS − 1|, by energy; 0: both fire alike in pairs", "low"),
        ArenaMeasure("direction_cosine", "cosine of directions", "of bimodal atoms, image and text", "none"),
    ),
    "Meaning": (
        ArenaMeasure("mms", "MMS", "across modalities", "high"),
        ArenaMeasure("mms_image", "MMS, images", "among images", "high"),
        ArenaMeasure("mms_text", "MMS, texts", "among texts", "high"),
        ArenaMeasure("mms_uncentred", "MMS, judge as it is", "the same, by the judge with its cones", "none"),
        ArenaMeasure("mms_coded", "MMS, no judge", "across modalities, by the embeddings that are coded", "none"),
        ArenaMeasure("clusters_v_measure", "V-measure", "of clusters of both modalities' codes with labels", "high"),
        ArenaMeasure("clusters_ari", "ARI", "of the same", "high"),
        ArenaMeasure("clusters_pairs", "ARI of pairs", "images' clusters with their texts'", "high"),
        ArenaMeasure("clusters_modality", "clusters of modality", "V-measure with the modality", "low"),
    ),
    "Translation and steering": (
        ArenaMeasure("translation_r2", "translation R²", "the partner's row by its own atoms", "high"),
        ArenaMeasure("translation_r2_shifted", "…, means given", "the same, with both modalities' means", "high"),
        ArenaMeasure("translation_r2_0.1%", "…, 0.1 % of pairs", "by a linear map of codes fitted on so many", "high"),
        ArenaMeasure("translation_r2_1%", "…, 1 %", "likewise", "high"),
        ArenaMeasure("translation_r2_10%", "…, 10 %", "likewise", "high"),
        ArenaMeasure("translation_r2_100%", "…, all", "likewise", "high"),
        ArenaMeasure("steering_success", "steering", "more texts of a concept among the ten nearest", "high"),
        ArenaMeasure("steering_collateral", "collateral", "own texts lost from the ten nearest", "low"),
    ),
    "Transfer": (
        ArenaMeasure("transfer_gap_closed", "gap closed there", "of another store, by what was fitted here", "high"),
        ArenaMeasure("transfer_r@10_bimodal", "R@10, bimodal, there", "of its pairs, likewise", "high"),
        ArenaMeasure("transfer_codes_r@10", "R@10 by codes, there", "of its pairs", "high"),
    ),
    "Known atoms": (
        ArenaMeasure("found", "concepts found", "share, in both modalities, from a cosine of 0.9", "high"),
        ArenaMeasure("joined", "… as one atom", "share", "high"),
    ),
}

MEASURES: tuple[ArenaMeasure, ...] = tuple(measure for group in GROUPS.values() for measure in group)
