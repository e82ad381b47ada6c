"""`isoenergy embed` on Ray: every pair once, whatever comes in, and never in a store that was made otherwise."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore
from tests.pairs.formats.tars import tar_of
from tests.pairs.made_up_pairs import RowsWriter, bad_rows, encoded_image, written_rows
from tests.workflows.embedding_stores import SMALL_ENCODER, keys, keys_of, settings_of, times
from workflows import embed
from workflows.embed import EmbedConfig

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


@pytest.fixture(scope="module")
def finished(on_ray: None, tmp_path_factory: pytest.TempPathFactory, bundled_rows: list[dict]) -> Path:  # noqa: ARG001
    """A folder with pairs in one file, and the store of them."""
    folder = tmp_path_factory.mktemp("finished")
    written_rows(bundled_rows[:60], folder / "pairs" / "m.parquet")
    embed.run(EmbedConfig(**settings_of(folder)))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> EmbeddingStore:
    """A copy of `finished` in the test's own folder."""
    for name in ("pairs", "store"):
        shutil.copytree(finished / name, tmp_path / name)
    return EmbeddingStore.open(str(tmp_path / "store"))


def test_each_bad_pair_is_rejected_with_its_reason_and_the_rest_is_embedded(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_rows()
    first, again = bundled_rows[:40], bundled_rows[5]
    write_rows([*first[:20], *bad.values(), *first[20:]], tmp_path / "pairs" / "a.parquet")
    write_rows([again, *bundled_rows[40:50]], tmp_path / "pairs" / "b.parquet")
    config = EmbedConfig(**settings | {"rows_per_unit": 16, "batch_rows": 6})
    (store,) = embed.run(config)
    expected = dict.fromkeys((reason for reason in bad if reason != "good"), 1) | {"duplicate_key": 2}
    assert store.rejected == expected
    rejected = pq.read_table(tmp_path / "store" / "rejected").to_pylist()
    assert {row["reason"]: row["row"] for row in rejected if row["file"] == "a.parquet"} == {
        reason: 20 + place for place, reason in enumerate(bad) if reason != "good"
    }
    assert [row["key"] for row in rejected if row["file"] == "b.parquet"] == [again["key"]]
    assert keys(store) == sorted(["good", *keys_of(bundled_rows[:50])])
    assert store.rows_in == len(store) + sum(store.rejected.values())
    printed = capsys.readouterr().out
    assert "parquet, 2 files" in printed
    assert "63 (exact)" in printed
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert (summary["rows_in"], summary["embedded"], summary["rejected"]) == (63, len(store), store.rejected)
    assert summary["run"]["pairs"] == 63
    assert min(summary["run"]["work_seconds"].values()) > 0

    before = times(settings["output"])
    embed.run(config)
    assert times(settings["output"]) == before
    assert json.loads((tmp_path / "store" / "summary.json").read_text()) == summary


def test_several_encoders_in_one_pass_make_the_stores_of_a_pass_each(
    copied: EmbeddingStore, tmp_path: Path, settings: dict
) -> None:
    encoders = f"{settings['encoder']},{SMALL_ENCODER}"
    both = embed.run(EmbedConfig(**settings | {"encoder": encoders, "output": str(tmp_path / "both")}))
    small = embed.run(EmbedConfig(**settings | {"encoder": SMALL_ENCODER, "output": str(tmp_path / "small")}))
    assert [store.manifest.dim for store in both] == [24, 12]
    for together, alone in zip(both, [copied, *small], strict=True):
        assert together.fingerprint == alone.fingerprint
        assert keys(together) == keys(alone)


def test_new_files_are_added_and_the_first_of_a_key_stays(
    copied: EmbeddingStore, tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    before = times(copied.uri)
    write_rows([*bundled_rows[55:70]], tmp_path / "pairs" / "a.parquet")
    (store,) = embed.run(EmbedConfig(**settings))
    assert before.items() <= times(settings["output"]).items()
    assert keys(store) == keys_of(bundled_rows[:70])
    assert store.rejected == {"duplicate_key": 5}


def test_a_store_made_otherwise_is_not_mixed(copied: EmbeddingStore, settings: dict) -> None:
    before = times(copied.uri)
    for change, named in (
        ({"encoder": SMALL_ENCODER}, "encoder_digest is"),
        ({"batch_rows": 21}, "batch_rows is 20 there and 21 here"),
        ({"dtype": "float32"}, 'dtype is "float16" there and "float32" here'),
        ({"precision": "bfloat16"}, 'precision is "float32" there and "bfloat16" here'),
    ):
        with pytest.raises(InputError, match=named):
            embed.run(EmbedConfig(**settings | change))
    assert times(settings["output"]) == before


def test_a_file_written_again_is_not_mixed_with_what_it_was(
    copied: EmbeddingStore, tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:61], tmp_path / "pairs" / "m.parquet")
    before = times(copied.uri)
    with pytest.raises(InputError, match=r"took them in, 1 file of .* changed, such as m\.parquet; give another"):
        embed.run(EmbedConfig(**settings))
    assert times(copied.uri) == before


def test_tars_that_are_empty_or_cut_among_good_ones(tmp_path: Path, settings: dict) -> None:
    (tmp_path / "pairs").mkdir()
    good = tar_of([(f"{n}.{suffix}", content) for n in range(3) for suffix, content in _members(n)])
    for name, content in {"a": good, "b": tar_of([]), "c": b"", "d": good[: len(good) // 2]}.items():
        (tmp_path / "pairs" / f"{name}.tar").write_bytes(content)
    (store,) = embed.run(EmbedConfig(**settings))
    assert [record.rows_in for record in store.commits][:2] == [3, 0]
    assert store.rejected["unreadable_file"] == 2
    assert {key for key in keys(store) if key.startswith("a.tar")} == {f"a.tar/{n}" for n in range(3)}
    assert len(store) + sum(store.rejected.values()) == store.rows_in


def _members(number: int) -> list[tuple[str, bytes]]:
    return [("jpg", encoded_image("JPEG", seed=number)), ("txt", b"a caption")]


def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(bundled_rows[:300], tmp_path / "pairs" / "a.parquet")
    assert embed.run(EmbedConfig(**settings, dry_run=True)) == []
    printed = capsys.readouterr().out
    for words in (
        "parquet, 1 file\n",
        "300 (exact)",
        "6, 6 of them to be done",
        "(24, float32, stored as float16)",
        "resources  1 encoder actor on CPU",
        "probe      200 pairs, 0 rejected; ms a pair: read",
        " s for about 300 pairs",
        "GB to store",
    ):
        assert words in printed
    assert not Path(settings["output"]).exists()


def test_too_many_actors_are_refused_before_the_start(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:10], tmp_path / "pairs" / "a.parquet")
    with pytest.raises(InputError, match=r"at least 9 encoders .* room for 1: the cluster has 1 nodes, 2 CPUs"):
        embed.run(EmbedConfig(**settings, actors=(9, 9)))
    assert not Path(settings["output"]).exists()
