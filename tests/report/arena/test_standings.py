"""From trials to standings: the rule, the winners, what is within noise, and how it is shown."""

import io
import json
from html import unescape

import pyarrow.parquet as pq
import pytest

from isoenergy.report.arena.arena_page import arena_markdown, arena_page, arena_parquet
from isoenergy.report.arena.standings import chosen_strength, standings
from tests.report.arena.made_up_trials import method, trial

SETTING = {
    "source": "made-up <pairs>",
    "reference": "MMS is judged by nobody.",
    "budget": {"atoms": 32, "k": 8, "epochs": 2},
    "seeds": 3,
    "pairs": {"train": 1000, "validation": 10, "test": 10},
    "embeddings": {"gap": 0.5, "similarity_of_any": 0.1},
}


def test_a_strength_may_cost_a_little_r2_and_no_more() -> None:
    trials = {0.1: [trial(0.80, 0.3)], 0.2: [trial(0.79, 0.5)], 0.3: [trial(0.70, 0.9)]}
    assert chosen_strength(method("a", trials), k=8) == 0.2


def test_a_strength_with_about_k_atoms_a_row_is_preferred() -> None:
    trials = {0.1: [trial(0.95, 0.9, l0=30)], 0.2: [trial(0.80, 0.4, l0=8)]}
    assert chosen_strength(method("a", trials), k=8) == 0.2
    assert chosen_strength(method("a", {0.1: trials[0.1]}), k=8) == 0.1


def test_the_first_seed_decides_and_a_failed_training_rules_a_strength_out() -> None:
    trials = {
        0.1: [trial(0.8, 0.3)],
        0.2: [trial(0.8, 0.4), trial(0.2, 0.0)],
        0.3: [trial(0, 0, failed="it diverged"), trial(0.8, 0.9)],
    }
    assert chosen_strength(method("a", trials), k=8) == 0.2
    assert chosen_strength(method("a", {0.3: trials[0.3]}), k=8) is None


def test_a_later_seed_that_failed_is_left_out_and_counted() -> None:
    found = standings([method("a", {0.0: [trial(0.8, 0.5), trial(0, 0, failed="it diverged")]})], k=8)
    [row] = found["methods"]
    assert row["trainings"] == 1
    assert row["measures"]["r2"]["values"] == [0.8]
    assert row["strengths"][0]["failed"] == "it diverged"


def contest() -> dict:  # type: ignore[type-arg]
    def seeds(*values: float, joint: float = 0.9, l0: float = 8.0, p_acc: float | None = None):  # type: ignore[no-untyped-def]
        return {0.0: [trial(v, v, l0, joint_gallery=joint, p_acc=p_acc, mms=v) for v in values]}

    return standings(
        [
            method("raw", seeds(1.0), sparse=False),
            method("best", seeds(0.70, 0.72, 0.74, joint=0.2)),
            method("near", seeds(0.68, 0.71, 0.73, joint=0.6, p_acc=0.9)),
            method("far", seeds(0.30, 0.31, 0.32, joint=0.95)),
            method("dense", seeds(0.90, 0.91, 0.92, l0=40)),
            method("broken", {0.1: [trial(0, 0, failed="not finite")]}),
        ],
        k=8,
    )


def test_the_best_mean_wins_and_noise_is_told() -> None:
    found = contest()
    by_name = {measure["name"]: measure for measure in found["measures"]}
    assert by_name["r2"]["winner"] == "best"
    assert by_name["r2"]["within_noise"] == ["near"]
    assert by_name["joint_gallery"]["winner"] == "near"  # nearest to a half
    assert by_name["p_acc"]["winner"] == "near"
    assert by_name["l0"]["winner"] is None
    assert "steering_success" not in by_name
    rows = {row["name"]: row for row in found["methods"]}
    assert [name for name, row in rows.items() if row["contends"]] == ["best", "near", "far"]
    assert rows["best"]["measures"]["r2"]["mean"] == pytest.approx(0.72)
    assert rows["best"]["measures"]["r2"]["low"] == pytest.approx(0.72 - 4.3027 * 0.02 / 3**0.5, abs=1e-4)
    assert rows["broken"]["strengths"][0]["failed"] == "not finite"
    assert rows["broken"]["measures"] == {}


def test_how_far_judge_and_embeddings_rank_methods_alike() -> None:
    def trials(**measured: float):  # type: ignore[no-untyped-def]
        return {0.0: [trial(0.8, 0.5, **measured)]}

    def correlation(*coded: float) -> float | None:
        contend = [method(str(n), trials(mms=n / 10, mms_coded=value)) for n, value in enumerate(coded)]
        baseline = method("raw", trials(mms=0.9, mms_coded=-0.9), sparse=False)
        found: float | None = standings([*contend, baseline], k=8)["mms_rank_correlation"]
        return found

    assert correlation(0.1, 0.2, 0.9) == pytest.approx(1)
    assert correlation(0.9, 0.2, 0.1) == pytest.approx(-1)
    assert correlation(0.1, 0.3, 0.2, 0.4) == pytest.approx(0.8)
    assert correlation(0.1, 0.2) is None
    assert correlation(0.1, 0.1, 0.1) is None
    assert contest()["mms_rank_correlation"] is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_where_there_is_no_interval_no_winner_is_named(seeds: int) -> None:
    trials = {name: [trial(r2 + seed / 1000, 0.1) for seed in range(seeds)] for name, r2 in (("a", 0.7), ("b", 0.2))}
    found = standings([method(name, {0.0: own}) for name, own in trials.items()], k=8)
    [r2] = [measure for measure in found["measures"] if measure["name"] == "r2"]
    assert (r2["winner"], r2["within_noise"]) == (None, [])
    text = arena_markdown({**SETTING, **found, "seeds": seeds})
    assert "no winner is named" in text
    assert "★" not in text
    assert "±" not in text
    assert "Within noise of it" not in arena_page({**SETTING, **found, "seeds": seeds})


def found_in_both(html: str, text: str, *sentences: str) -> bool:
    return all(sentence in unescape(html) and sentence in text for sentence in sentences)


def test_the_page_the_text_and_the_table_say_the_same() -> None:
    summary = json.loads(json.dumps({**SETTING, **contest()}, allow_nan=False))
    html = arena_page(summary)
    assert "made-up &lt;pairs&gt;" in html
    assert "not finite" in html
    assert html.count("best winner") == sum(measure["winner"] is not None for measure in summary["measures"])
    assert "<script" not in html
    assert "http" not in html.split("<main>")[1]
    text = arena_markdown(summary)
    assert text.startswith(
        "# The arena\n\n1,000 train, 10 validation and 10 test pairs of made-up <pairs>; 32 atoms, k = 8"
    )
    assert found_in_both(
        html, text, "trainings of each method: 3.", "Each method's strength is chosen", "judged by nobody."
    )
    assert found_in_both(html, text, "★ the best mean", "≈ within noise of it", "† does not contend")
    assert "| the best | **0.720 ± 0.050** ★ |" in text
    assert "| the near | 0.707 ± 0.063 ≈ |" in text
    assert "| the raw † | 1.000 |" in text
    assert "| the broken" not in text
    rows = pq.read_table(io.BytesIO(arena_parquet(summary))).to_pylist()
    [winner] = [row for row in rows if row["measure"] == "r2" and row["winner"]]
    assert (winner["method"], winner["values"]) == ("best", [0.70, 0.72, 0.74])


def test_a_training_that_failed_is_told_in_the_text_and_a_method_without_any_too() -> None:
    trials = [
        method("gone", {0.0: [trial(0, 0, failed="the weights are not finite")]}),
        method("half", {0.1: [trial(0, 0, failed="it diverged")], 0.2: [trial(0.8, 0.5)] * 3}),
        method("well", {0.0: [trial(0.8, 0.5)] * 3}),
    ]
    text = arena_markdown({**SETTING, **standings(trials, k=8)})
    assert "**2 trainings failed**, first seeds:" in text
    assert "- **the gone**: a training failed: the weights are not finite; the method has no row below." in text
    assert "- **the half**: a training of strength 0.1 failed: it diverged." in text
    assert "| the gone" not in text
    well = arena_markdown({**SETTING, **standings(trials[2:], k=8)})
    assert "failed" not in well
    assert "another has too" not in well
    captions = {**SETTING, "pairs": {**SETTING["pairs"], "of_one_image": 7}}
    assert "7 of the test pairs have an image that another has too" in arena_markdown(
        {**captions, **standings(trials, 8)}
    )
