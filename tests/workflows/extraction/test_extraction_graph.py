"""What the driver of an extraction counts."""

from workflows.extraction import extraction_encoding, extraction_graph


def test_a_batch_that_is_done_again_counts_once() -> None:
    nothing = dict.fromkeys(extraction_encoding.OUTCOME.names)
    progress = extraction_graph.ExtractionProgress()
    for unit, number, rejected in (("a", 0, 1), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1), ("a", None, 0), ("b", 0, 0)):
        pairs = 0 if number is None else 20
        outcome = {"unit": unit, "number": number, "pairs": pairs, "rejected": rejected, "encode_seconds": 1.0}
        progress.count(nothing | outcome)
    assert (progress.pairs, progress.rejected, progress.seconds["encode"]) == (60, 1, 6.0)
