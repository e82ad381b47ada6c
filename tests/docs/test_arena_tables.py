"""The tables of the arena's smaller runs say what the files beside them hold."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.docs.arena_tables import FOLDER, extract, filled, table

_PAGES = ("layers.md", "natural.md")


@pytest.mark.parametrize("name", _PAGES)
def test_tables_are_of_the_values_beside_them(name: str):
    page = (FOLDER / name).read_text()
    assert "<!-- table " in page
    assert filled(page) == page


def test_a_mark_without_its_file_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        filled("<!-- table none.json agreement -->\n\n", tmp_path)


def test_a_table_below_a_mark_is_written_anew_and_the_text_around_it_is_kept(tmp_path: Path):
    run = {"name": "one", "methods": [{"name": "sae", "strength": 0.0, "agreement": [0.2, -0.1]}]}
    (tmp_path / "x.json").write_text(json.dumps({"runs": [run]}))
    page = "before\n\n<!-- table x.json agreement -->\n\n| old |\n|---|\n\nafter\n"
    fresh = "| agreement | one |\n|---|---|\n| SAE, matching pursuit | 0.050 [−0.100, 0.200] |\n"
    assert filled(page, tmp_path) == page.replace("| old |\n|---|\n", fresh)


def test_a_cell_is_empty_where_a_run_lacks_the_method_and_a_row_goes_where_all_do():
    runs = [
        {"name": "a", "methods": [{"name": "sparc", "strength": 0.1, "agreement": [0.5]}, {"name": "sae"}]},
        {"name": "b", "methods": [{"name": "cosae", "strength": 0.3, "agreement": [0.25, 0.25]}]},
    ]
    assert table(runs, "agreement").splitlines()[2:] == [
        "| SPARC | 0.500 | – |",
        "| CoSAE, as far as defined | – | 0.250 |",
    ]
    assert table(runs, "strength", ["sparc", "sae"]).splitlines()[2:] == ["| SPARC | 0.1 | – |"]


def test_three_trainings_have_an_interval():
    runs = [{"name": "a", "methods": [{"name": "sae", "strength": 0.0, "agreement": [0.1, 0.2, 0.3]}]}]
    assert table(runs, "agreement").splitlines()[2:] == ["| SAE, matching pursuit | 0.200 ± 0.248 |"]


def test_rows_themselves_have_a_table():
    runs = [
        {"name": name, "embeddings": {"gap": gap, "r@10": 0.5}, "methods": []} for name, gap in (("a", 1), ("b", 2))
    ]
    assert table(runs, "embeddings", ["gap"]) == "| the rows | a | b |\n|---|---|---|\n| gap | 1.000 | 2.000 |\n"


def test_what_strengths_were_chosen_by_is_a_row_each():
    chosen = [{"strength": s, "r2_centred": 1 - s, "codes_r@10": s / 2} for s in (0.1, 0.3)]
    method = {"name": "sparc", "strength": 0.1, "validation": chosen}
    assert table([{"name": "a", "methods": [method]}], "validation").splitlines()[2:] == [
        "| SPARC, 0.1 | 0.050 (0.900) |",
        "| SPARC, 0.3 | 0.150 (0.700) |",
    ]


def test_values_of_an_arena_are_kept_one_a_training(tmp_path: Path):
    found = {"mean": 0.5, "low": None, "high": None, "values": [0.123456, 0.9]}
    strengths = [
        {"strength": 0.0, "failed": "", "validation": {"r2": 0.9, "r2_centred": 0.8000004, "codes_r@10": 0.25}},
        {"strength": 1.0, "failed": "diverged", "validation": {}},
    ]
    method = {"name": "sae", "strength": 0.0, "strengths": strengths, "measures": {"agreement": found, "r2": found}}
    arena = {"pairs": {"train": 5}, "embeddings": {"gap": 1.0000049, "r@10": None}, "methods": [method]}
    (tmp_path / "arena.json").write_text(json.dumps(arena))
    kept = {"strength": 0.0, "r2_centred": 0.8, "codes_r@10": 0.25}
    assert extract(tmp_path, "here") == {
        "name": "here",
        "pairs": {"train": 5},
        "embeddings": {"gap": 1.0, "r@10": None},
        "methods": [{"name": "sae", "strength": 0.0, "validation": [kept], "agreement": [0.12346, 0.9]}],
    }


def _runs(file: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / file).read_text())["runs"]


def _values(run: dict[str, Any], measure: str, name: str) -> list[float]:
    return next(method[measure] for method in run["methods"] if method["name"] == name)


def _told(run: dict[str, Any], measure: str, more: str, less: str) -> bool:
    """Whether one method has more of a measure than another, by Welch's test."""
    found = stats.ttest_ind(_values(run, measure, more), _values(run, measure, less), equal_var=False)
    return bool(found.statistic > 0 and found.pvalue < 0.05)


def _apart(run: dict[str, Any], measure: str, one: str, other: str) -> str:
    """Return which of two methods has more of a measure, ">" or "<", and "=" where Welch's test does not tell."""
    return ">" if _told(run, measure, one, other) else "<" if _told(run, measure, other, one) else "="


def test_what_the_page_of_the_layers_says_is_told_is_told():
    layers, longer = _runs("layers.json"), _runs("layers-longer.json")
    own = "matched-top-k-centred"
    alone = [("matched-centred", "sae"), (own, "sae-top-k"), (own, "sae-top-k-offsets"), ("sparc", "sae-top-k-offsets")]
    for measure in ("codes_r@10", "agreement"):
        assert all(_told(run, measure, *pair) for run in layers for pair in alone)
        assert not any(_told(run, measure, *pair) for run in longer for pair in ((own, "sparc"), ("sparc", own)))
    assert [_told(run, "codes_r@10", own, "sparc") for run in layers] == [True, True, False, False, True]
    assert all(_told(run, "codes_r@10", own, "cosae") for run in layers)
    assert [_told(run, "codes_r@10", own, "cosae") for run in longer] == [False, True]
    assert _told(longer[0], "agreement", "cosae", own)


def test_what_is_said_of_the_full_budget_is_told():
    runs = _runs("natural-full.json")
    matched, one = ("matched-top-k", "matched-top-k-centred"), ("sae-top-k", "sae-top-k-offsets")
    centred = [("matched-centred", "sae"), *((matched[1], other) for other in one)]
    as_they_are = [("matched", "sae"), *((matched[0], other) for other in one)]
    for run in runs:
        assert all(_told(run, "agreement", *pair) for pair in (*centred, *as_they_are))
        assert all(_told(run, "agreement", own, other) for own in ("sparc", "cosae") for other in matched)
        assert all(_told(run, "codes_r@10", *pair) for pair in centred)
        assert all(_told(run, "codes_r@10", "sparc", other) for other in matched)
        assert not any(_told(run, "codes_r@10", *pair) for pair in (("cosae", matched[1]), (matched[1], "cosae")))
    assert [all(_told(run, "codes_r@10", *pair) for pair in as_they_are) for run in runs] == [True, False]


_MATCHED = {
    ("matched", "matched-centred"): ("sae",),
    ("matched-top-k", "matched-top-k-centred"): ("sae-top-k", "sae-top-k-offsets"),
}
"""SAEs a modality, of rows as they are and centred, by the dictionaries of their choice of atoms."""


def test_what_is_said_of_natural_gaps_is_told_on_every_encoder_that_it_is_said_of():
    short = _runs("natural.json")[:6]
    for matched, one in _MATCHED.items():
        assert all(_told(run, "agreement", own, other) for run in short for own in matched for other in one)
    partners = {
        ("matched-centred", "sae"): ">>>>>>",
        ("matched-top-k-centred", "sae-top-k-offsets"): "===>>>",
        ("matched-top-k", "sae-top-k-offsets"): "<===<=",
    }
    for pair, told in partners.items():
        assert "".join(_apart(run, "codes_r@10", *pair) for run in short) == told
    assert [_told(run, "agreement", "sae-a", "sae") for run in short] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("measure", ["bimodal_energy", "agreement"])
def test_one_dictionary_shares_less_the_wider_the_gap_in_every_training(measure: str):
    short = _runs("natural.json")[:6]
    of_factor = [[v for run in short[at : at + 2] for v in _values(run, measure, "sae")] for at in (0, 2, 4)]
    assert all(min(narrow) > max(wide) for narrow, wide in itertools.pairwise(of_factor))


def test_what_is_said_of_the_gap_that_training_closed_is_told():
    closed = _runs("natural.json")[6]
    assert closed["embeddings"]["gap"] < 0.15
    for own in ("matched", "matched-centred"):
        assert (_apart(closed, "agreement", "sae", own), _apart(closed, "codes_r@10", "sae", own)) == ("=", ">")
        assert _told(closed, "agreement", "sae-a", own)
    for own in ("matched-top-k", "matched-top-k-centred"):
        assert all(_told(closed, measure, "sae-top-k", own) for measure in ("agreement", "codes_r@10"))
    assert _apart(closed, "agreement", "sae-top-k", "sparc") == "="
    assert _told(closed, "codes_r@10", "sae-top-k", "sparc")


def test_what_is_said_of_the_held_cone_is_told():
    held, offsets = _runs("natural.json")[7], "sae-top-k-offsets"
    for own in ("matched-top-k", "matched-top-k-centred", "sparc", "cosae", "sae-top-k", "vl-sae"):
        assert _told(held, "codes_r@10", offsets, own)
    assert _told(held, "bimodal_energy", offsets, "sae-top-k")
    assert _told(held, "agreement", "matched-top-k-centred", offsets)
    assert all(_told(held, measure, "matched-centred", "sae") for measure in ("agreement", "codes_r@10"))


def test_neither_sparc_nor_matched_saes_are_ahead_throughout_in_short_trainings():
    runs, pair = _runs("natural.json"), ("sparc", "matched-top-k-centred")
    ahead = {m: "".join(_apart(run, m, *pair) for run in runs) for m in ("agreement", "codes_r@10", "r2_centred")}
    assert ahead == {"agreement": "==>>=<><", "codes_r@10": ">===<<=<", "r2_centred": "<<<<<<<<"}
    for own in pair:
        assert all(_told(run, measure, own, "vl-sae") for run in runs for measure in ("agreement", "codes_r@10"))


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_what_is_said_of_known_atoms_is_told():
    two, nearly_one = _runs("known.json")
    assert _told(nearly_one, "found", "sae", "matched")
    assert _apart(nearly_one, "found", "sae", "matched-centred") == "="
    assert all(_told(nearly_one, "joined", "sae", own) for own in ("matched", "matched-centred"))
    assert not any(sum(_values(two, "found", name)) for name in ("sae", "matched", "matched-centred"))
    assert not any(sum(_values(two, "joined", name)) for name in ("sae", "sae-top-k", "sae-top-k-offsets"))
    assert all(_told(two, "found", own, "sae-top-k-offsets") for own in ("sparc", "cosae"))
    assert all(_told(two, "found", "sparc", own) for own in ("matched-top-k", "matched-top-k-centred"))
    alike = ("sae-top-k", "sae-top-k-offsets", "matched-top-k-centred", "sparc", "cosae")
    assert {_apart(nearly_one, "found", *pair) for pair in itertools.combinations(alike, 2)} == {"="}
    assert not sum(_values(nearly_one, "found", "vl-sae"))
