from workflows.training.training_workers import progress_text


def test_the_progress_line_is_in_words_that_a_person_reads() -> None:
    name = "null-beta-0.001-seed-1"
    measures = {"l0": 16.0, "dead_atoms": 1200.0, "alignment": -0.038, "r2_image": 0.7, "r2_text": 0.6415}
    metrics = {f"{name}/{key}": value for key, value in measures.items()}
    metrics |= {"rows_per_second": 1234.5, "waiting_for_data": 0.02}
    assert progress_text(metrics, ["beta-0", name]) == (
        "the null of SAE-A β 0.001, seed 1: R² of image 0.700, text 0.641; 16.0 atoms a row, 1,200 dead, "
        "alignment −0.038; 1,234 rows/s, 2% of the time waiting for data"
    )
