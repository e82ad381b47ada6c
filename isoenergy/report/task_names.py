"""What the tasks' measures and kinds of embeddings are called."""

from isoenergy.evaluation.ways import WAYS

MEASURES = {
    "top1": ("top 1", ".3f"),
    "top5": ("top 5", ".3f"),
    "balanced": ("balanced", ".3f"),
    "accuracy": ("accuracy", ".3f"),
    "ndcg_text": ("NDCG@10, texts", ".3f"),
    "own_text": ("own modality, texts", ".2f"),
    "ndcg_image": ("NDCG@10, images", ".3f"),
    "own_image": ("own modality, images", ".2f"),
    **{f"image_to_text_r{rank}": (f"image → text R@{rank}", ".3f") for rank in (1, 5, 10)},
    **{f"text_to_image_r{rank}": (f"text → image R@{rank}", ".3f") for rank in (1, 5, 10)},
    **{f"r{rank}": (f"R@{rank}", ".3f") for rank in (1, 10, 50)},
    "distance": ("distance", ".3f"),
    "told_apart": ("J", ".2f"),
}
"""Title and format of each measure of `isoenergy.evaluation.tasks.task_measures`."""

EMBEDDINGS = {
    **{name: way.task for name, way in WAYS.items() if way.task},
    "source": "source alone",
    "text": "text alone",
    "sum": "sum",
    "centred_sum": "sum, centred",
    "reconstructed_sum": "source + text’s atoms",
    "bimodal_sum": "source + text’s bimodal atoms",
    "unimodal_sum": "source + text’s unimodal atoms",
}
"""Each kind of embeddings."""
