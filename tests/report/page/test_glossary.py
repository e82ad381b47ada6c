"""What the glossary says of a measure is what is computed."""

import numpy as np

from isoenergy.metrics.geometry import probe_scores
from isoenergy.metrics.protocol import PAPER_BATCH
from isoenergy.report.page.glossary import GLOSSARY
from isoenergy.report.tables.paper_table import COLUMNS
from isoenergy.statistics.concept_statistics import classes_of_scores


def test_p_acc_is_that_of_probes_and_bimodal_atoms_that_cannot_tell_score_1() -> None:
    scores = probe_scores(np.array([0.5, 1.0, 1.0, 0.0]), classes_of_scores(np.array([0.5, 0.5, 1.0, 0.0])))
    assert scores.tolist() == [1, 0.5, 1, 1]
    assert "linear probe" in GLOSSARY["p_acc"]
    assert "a bimodal one 1 if the probe cannot tell and 0.5 if it tells all" in GLOSSARY["p_acc"]


def test_the_page_s_change_of_recall_is_that_in_batches() -> None:
    (shown,) = (column.measure for column in COLUMNS if column.name == "delta_r1")
    assert "in_batches" in shown.path
    assert str(PAPER_BATCH) in GLOSSARY["δ_r"]
    assert "full gallery" not in GLOSSARY["δ_r"]
