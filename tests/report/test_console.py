import math

from isoenergy.report.console import WIDTH, aligned, told_evaluation
from tests.report.evaluations import interval, original, sae, seeds

DIRECTIONS = ("image_to_text", "text_to_image")
KEPT = {"reconstructed": 0.5, "bimodal": 0.48, "unimodal": 0.01, "centred": 0.6}
CLOSED = {"reconstructed": 0.6, "bimodal": 0.02, "centred": 0.01}


def evaluation(*saes: dict) -> dict:
    first = original({"original": 0.55}, {"original": 0.61})
    first["geometry"]["original"]["difference_in_means"] = 0.61
    return {"saes": list(saes), "pairs": {"chance_r10": 0.01}, "original": first, "tasks": []}


def told(*saes: dict) -> list[str]:
    return told_evaluation(evaluation(*saes))


def all_kinds() -> list[dict]:
    plain, aligned, null = sae(KEPT, CLOSED, beta=0.0), sae(KEPT, CLOSED), sae(KEPT, CLOSED, null=True)
    aligned["results"]["agreement"] = {
        "measured_pairs": interval(0.95),
        "bimodal_energy_share": interval(0.99),
        "shuffled_pairs": 0.0,
        "correlation": interval(0.4),
    }
    return [{**plain, "name": "plain"}, {**aligned, "name": "aligned"}, {**null, "name": "null"}]


def test_three_sentences_a_table_and_what_holds_of_sae_a() -> None:
    lines = told(*all_kinds())
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("Bimodal atoms of SAE-A (β = 0.001) hold 80.0% [79.0%, 81.0%] of the energy")
    heading = next(number for number, line in enumerate(lines) if "bimodal energy  agreement  gap closed" in line)
    rows = [line.split() for line in lines[heading + 1 : heading + 5]]
    assert rows[0] == ["original", "–", "–", "–", "gap", "0.610", "R@10", "0.550"]
    assert rows[1][-5:] == ["0.800", "80.0%", "–", "97%", "96%"]
    assert rows[2][:1] == ["SAE-A"]
    assert rows[2][-5:] == ["0.800", "80.0%", "95.0%", "97%", "96%"]
    assert rows[3][:3] == ["null", "of", "SAE-A"]
    marks = [line for line in lines[heading + 5 :] if line.startswith(("✓", "✗", "?"))]
    assert (
        marks[0] == "✓ removing the unimodal atoms closes the reconstruction's gap by 97% [94%, 99%] (asked: above 90%)"
    )
    assert len(marks) == 7
    assert marks[1] == "✓ bimodal atoms alone keep 96% [94%, 98%] of the reconstruction's R@10 (asked: above 90%)"
    reading = " ".join(lines[lines.index("") :])
    assert "In brackets: 95% intervals" in reading
    assert "agrees in the measured pairs" in reading
    assert "?: cannot be told. In" in reading


def test_of_several_trainings_it_says_what_brackets_are() -> None:
    reading = " ".join(told(seeds(sae(KEPT, CLOSED), sae(KEPT, CLOSED))))
    assert "those of 2 trainings reach" in reading
    assert "reach; the mean is told" in reading
    assert "≠: trainings differ" in reading


def test_why_there_are_no_intervals_is_said_once_and_nothing_is_decided_by_them() -> None:
    one = evaluation(*all_kinds())
    one["pairs"]["no_intervals"] = "an interval wants 20 images; there are 3"
    lines = told_evaluation(_without_intervals(one))
    text = " ".join(lines)
    assert text.count("an interval wants 20 images; there are 3") == 1
    assert "hold 80.0% of the energy" in text
    assert not {"[", "nan", "95%", "random order"} & {
        part for part in ("[", "nan", "95%", "random order") if part in text
    }
    marks = [line[0] for line in lines if line.startswith(("✓", "✗", "?", "≠"))]
    assert set(marks) == {"?", "✓"}
    assert marks.count("✓") == 1  # atoms that are always on, which is asked for without an interval


def _without_intervals(found: dict) -> dict:
    if {"value", "low", "high"} == found.keys():
        return {"value": found["value"], "low": math.nan, "high": math.nan}
    inner = {key: _without_intervals(value) for key, value in found.items() if isinstance(value, dict)}
    listed = {
        key: [_without_intervals(each) if isinstance(each, dict) else each for each in value]
        for key, value in found.items()
        if isinstance(value, list)
    }
    return found | inner | listed


def test_null_models_alone_have_a_table_and_no_sentence() -> None:
    lines = told(sae(null=True))
    assert [line.split("  ")[0] for line in lines[1:3]] == ["original", "null of SAE-A (β = 0.001)"]
    assert len([line for line in lines if line]) == 3


def test_of_raw_rows_all_is_told_that_there_is() -> None:
    """Nothing is subtracted from rows that are not of unit norm."""
    one = sae(KEPT, CLOSED)
    results = one["results"]
    results |= {"unequal_atoms": 1, "tested_atoms": 2}
    for name in ("reconstructed", "bimodal", "unimodal"):
        results["geometry"][name]["optimal_transport"] = 0.1
        results["retrieval"][name] |= {f"{way}_r{rank}": 0.2 for way in DIRECTIONS for rank in (1, 5, 10)}
    for part in ("geometry", "retrieval"):
        del results[part]["less_unimodal"], results[part]["less_unequal"]
    store = {"pairs_in": 2, "embedded": 2, "rejected": {}}
    lines = told_evaluation({**evaluation(one), "store": store}, verbose=True)
    assert [line.split()[0] for line in lines if "R@1/5/10" in line] == ["reconstructed", "bimodal", "unimodal"]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert [*aligned(("", "one", "2"), [("a", ("1", "22")), ("long", ("1,000", "3"))])] == [
        "        one   2",
        "a         1  22",
        "long  1,000   3",
    ]
