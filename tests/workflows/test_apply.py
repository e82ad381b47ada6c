"""`isoenergy apply` in this process: every row once, whatever comes in between, and plain Parquet that others read."""

import dataclasses
import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import save_file
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.applying.written_choices import WRITES
from isoenergy.errors import InputError
from isoenergy.evaluation.carried import write_carried
from isoenergy.evaluation.measured_rows import tensor, unit_rows
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import TopK
from isoenergy.store import EmbeddingStore
from tests.store.stores import rewrite
from tests.workflows.applied_stores import ATOMS, DIM, ROWS, UNITS, Ends, K, fill_store, write_sae
from tests.workflows.embedding_stores import times
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.evaluation.evaluated_saes import sae_reference
from workflows.settings.apply_settings import ApplyConfig, parse
from workflows.settings.import_settings import ImportConfig
from workflows.tracking import mlflow_runs

import_stage = importlib.import_module("workflows.import")  # whose name is a word of Python's
PAGE = Path(__file__).parents[2] / "docs" / "applying.md"


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return fill_store(tmp_path / "store")


@pytest.fixture
def sae(tmp_path: Path) -> SparseAutoencoder:
    return SparseAutoencoder.load(write_sae(tmp_path / "sae"))


@pytest.fixture
def config(tmp_path: Path, store: EmbeddingStore, sae: SparseAutoencoder) -> ApplyConfig:  # noqa: ARG001
    return ApplyConfig(str(tmp_path / "sae"), store.uri, str(tmp_path / "out"), "codes,bimodal,centred")


def rows_of(output: str) -> list[dict]:
    return pq.read_table(f"{output}/shards").sort_by("key").to_pylist()


def codes_of(row: dict, modality: str) -> dict[int, float]:
    return dict(zip(row[f"{modality}_atoms"], row[f"{modality}_coefficients"], strict=True))


def test_every_row_of_both_modalities_has_its_columns(
    config: ApplyConfig, store: EmbeddingStore, sae: SparseAutoencoder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(config, write="codes,reconstructed", columns="url,source_row", dtype="float32")
    made = apply.run(config, engine=ApplyingHere())
    rows, arrays = rows_of(config.output), store.to_arrays()
    assert [*rows[0]] == [
        *("key", "row", "split", "caption", "url", "source_row"),
        *("image_atoms", "image_coefficients", "image_reconstructed"),
        *("text_atoms", "text_coefficients", "text_reconstructed"),
    ]
    for modality, vectors in (("image", arrays.images), ("text", arrays.texts)):
        codes = sae.encode(sae.prepare(tensor(vectors), modality))
        dense, rebuilt = codes.to_dense(ATOMS).detach().numpy(), sae.decode(codes).detach().numpy()
        for number, row in enumerate(rows):
            assert row["key"] == arrays.keys[number]
            assert row["url"] == f"https://a/{number}"
            assert row["caption"] == f"caption {number}"
            assert codes_of(row, modality) == pytest.approx(
                {atom: dense[number, atom] for atom in np.flatnonzero(dense[number])}, abs=1e-6
            )
            np.testing.assert_allclose(row[f"{modality}_reconstructed"], rebuilt[number], atol=1e-6)
    assert made.manifest.widths == {"image_reconstructed": DIM, "text_reconstructed": DIM}
    summary = json.loads(Path(config.output, "summary.json").read_text())
    assert (summary["rows_in"], summary["written"], summary["units"]) == (UNITS * ROWS, UNITS * ROWS, UNITS)
    printed = capsys.readouterr().out
    assert "units      5, 5 of them to be done, with 150 pairs" in printed
    assert "written    150 pairs, 0 rejected" in printed


def test_a_run_that_was_cut_short_goes_on_and_ends_as_one_that_was_not(config: ApplyConfig, tmp_path: Path) -> None:
    whole = apply.run(dataclasses.replace(config, output=str(tmp_path / "whole")), engine=ApplyingHere())
    with pytest.raises(KeyboardInterrupt):
        apply.run(config, engine=Ends(after=2))
    shards = sorted(Path(config.output, "shards").glob("*.parquet"))
    assert len(shards) == 2
    shards[0].write_bytes(shards[0].read_bytes()[:-9])  # as a disk may leave it
    Path(config.output, "shards", "left-behind.parquet").write_bytes(b"half")
    before = times(config.output)[shards[1]]
    made = apply.run(config, engine=ApplyingHere())
    assert made.fingerprint == whole.fingerprint
    assert times(config.output)[shards[1]] == before
    assert not Path(config.output, "shards", "left-behind.parquet").exists()
    assert [row["key"] for row in rows_of(config.output)] == [f"{row:04d}" for row in range(UNITS * ROWS)]

    untouched = times(config.output)
    apply.run(config, engine=ApplyingHere())
    assert times(config.output) == untouched


def test_a_unit_that_was_embedded_again_is_done_again(config: ApplyConfig, store: EmbeddingStore) -> None:
    first = apply.run(config, engine=ApplyingHere())
    record = store.commits[1]
    rewrite(store, record, lambda table: table.slice(0, ROWS - 1))
    again = apply.run(config, engine=ApplyingHere())
    assert len(again) == UNITS * ROWS - 1
    kept = {each.unit: each.shard for each in first.commits if each.unit != record.unit}
    assert {each.unit: each.shard for each in again.commits if each.unit != record.unit} == kept
    assert len(rows_of(config.output)) == UNITS * ROWS - 1


def test_bad_rows_are_rejected_with_their_reason_and_cost_no_others(config: ApplyConfig, store: EmbeddingStore) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        rows = np.stack(table["text"].to_numpy())
        rows[3], rows[5, 0] = 0, np.nan
        column = pa.FixedSizeListArray.from_arrays(rows.ravel(), DIM)
        return table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), column)

    rewrite(store, store.commits[2], spoil)
    made = apply.run(dataclasses.replace(config, write="codes"), engine=ApplyingHere())
    assert made.rejected == {"unusable_row": 2}
    assert made.rows_in == UNITS * ROWS
    rejected = pq.read_table(f"{config.output}/rejected").to_pylist()
    first = 2 * ROWS
    assert [(row["key"], row["detail"]) for row in rejected] == [
        (f"{first + 3:04d}", "text is zero"),
        (f"{first + 5:04d}", "text is not finite"),
    ]


def test_classes_are_those_that_the_sae_carries_and_else_of_the_train_split(
    config: ApplyConfig,
    store: EmbeddingStore,
    sae: SparseAutoencoder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    apply.run(config, engine=ApplyingHere())
    assert "on at most" in capsys.readouterr().out
    trained = unit_rows(store.to_arrays("train").images)
    everything = unit_rows(store.to_arrays().images)
    expected = (everything - trained.mean(dim=0)).numpy()
    got = np.array([row["image_centred"] for row in rows_of(config.output)])
    np.testing.assert_allclose(got, expected, atol=1e-3)

    other = fill_store(tmp_path / "other", seed=7)
    write_carried(other, {tmp_path / "sae": sae_reference(config.sae, sae)})
    carried = dataclasses.replace(config, output=str(tmp_path / "carried"))
    apply.run(carried, engine=ApplyingHere())
    assert "the SAE carries it" in capsys.readouterr().out
    expected = (everything - unit_rows(other.to_arrays("train").images).mean(dim=0)).numpy()
    got = np.array([row["image_centred"] for row in rows_of(carried.output)])
    np.testing.assert_allclose(got, expected, atol=1e-3)

    apply.run(config, engine=ApplyingHere())  # the output that was begun before goes on with what it had
    assert "as this output was begun with" in capsys.readouterr().out


def test_classes_of_an_evaluation(
    config: ApplyConfig,
    sae: SparseAutoencoder,
    tmp_path: Path,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = apply.run(config, engine=ApplyingHere())
    folder = tmp_path / "evaluation" / "steps" / "fit"
    shutil.copytree(Path(config.output, "fitted"), folder)
    summary = {"saes": [{"name": "a", "digest": sae.digest, "fit": "steps/fit"}], "original": {"fit": "steps/fit"}}
    file = tmp_path / "evaluation" / "evaluation.json"
    file.write_text(json.dumps(summary))
    for number, place in enumerate((file, file.parent)):
        asked = dataclasses.replace(config, evaluation=str(place), output=str(tmp_path / f"evaluated-{number}"))
        assert apply.run(asked, engine=ApplyingHere()).fingerprint == first.fingerprint
    file.write_text(json.dumps(summary | {"saes": [{"name": "another", "digest": "0" * 64}]}))
    arguments = ("apply", config.sae, "--store", config.store, "--output", tmp_path / "x", "--write", "bimodal")
    # In this process there is no Ray to be asked for.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "ApplyingOnRay", lambda _patience: ApplyingHere())
        capsys.readouterr()
        assert "is of other SAEs than" in refused(*arguments, "--evaluation", file)
        file.write_text("{}")
        assert "does not say what was fitted" in refused(*arguments, "--evaluation", file)
        assert "is no evaluation that can be read" in refused(*arguments, "--evaluation", tmp_path)


class FitsNothing(ApplyingHere):
    """Must not be asked to."""

    def call(self, function: Callable[[], Any]) -> Any:
        raise AssertionError(function)


def test_other_settings_are_refused_where_there_is_something_else(
    config: ApplyConfig, tmp_path: Path, sae: SparseAutoencoder
) -> None:
    apply.run(config, engine=ApplyingHere())
    before = times(config.output)
    shutil.rmtree(tmp_path / "out" / "fitted")  # it is asked for last
    for change, what in (
        ({"write": "codes"}, "out was begun with --write codes,bimodal,centred, and is now given --write codes; give"),
        ({"write": "random_shift", "layouts": "npy"}, "--write .*, no --layouts, .* --write random_shift, --layouts"),
        ({"normalise": True}, "with no --normalise, and is now given --normalise;"),
        ({"dtype": "float32", "columns": "url"}, "with no --columns, --dtype float16, .* --columns url, --dtype float"),
        ({}, "lacks what was fitted, and was there before"),
        ({"output": config.store}, "is the store itself"),
        ({"columns": "nothing"}, "no further column 'nothing'; those it has are url, source_row"),
    ):
        with pytest.raises(InputError, match=what) as refusal:
            apply.run(dataclasses.replace(config, **change), engine=FitsNothing())
        assert len(str(refusal.value).replace(str(tmp_path), "")) < 250
    write_sae(tmp_path / "sae", seed=2)
    with pytest.raises(InputError, match=r"with an SAE of digest .*, and is now given an SAE of digest"):
        apply.run(config, engine=ApplyingHere())
    SparseAutoencoder(SaeConfig(DIM + 1, ATOMS, K, beta=0.0)).save(tmp_path / "sae")
    with pytest.raises(InputError, match="is for embeddings of width 13"):
        apply.run(config, engine=ApplyingHere())
    sae.save(tmp_path / "sae")
    assert times(config.output) == {file: time for file, time in before.items() if "fitted" not in file.parts}


def test_what_is_refused_leaves_nothing_behind(config: ApplyConfig, store: EmbeddingStore, tmp_path: Path) -> None:
    arrays = store.to_arrays()
    np.savez(tmp_path / "files.npz", image=arrays.images, text=arrays.texts)
    given = dataclasses.replace(config, store=str(tmp_path / "files.npz"), modalities="image,text")
    SparseAutoencoder(SaeConfig(DIM + 1, ATOMS, K, beta=0.0)).save(tmp_path / "wide")
    for change, what in (
        ({"sae": str(tmp_path / "wide")}, "is for embeddings of width 13, and those of image in .*files.npz are of"),
        ({"columns": "url"}, "has no further column 'url'"),
    ):
        with pytest.raises(InputError, match=what):
            apply.run(dataclasses.replace(given, **change), engine=FitsNothing())
        assert not Path(config.output).exists()
    apply.run(config, engine=ApplyingHere())
    before = times(config.output)
    with pytest.raises(InputError, match="is now given --write codes"):
        apply.run(dataclasses.replace(given, write="codes"), engine=FitsNothing())
    with pytest.raises(InputError, match="holds a store that `isoenergy embed` made; give another --output"):
        apply.run(dataclasses.replace(given, output=store.uri), engine=FitsNothing())
    assert times(config.output) == before
    assert len(apply.run(dataclasses.replace(given, output=str(tmp_path / "new")), engine=ApplyingHere())) == len(store)


def test_one_modality_has_what_was_fitted_on_two_or_says_what_it_lacks(
    config: ApplyConfig, store: EmbeddingStore, sae: SparseAutoencoder, tmp_path: Path
) -> None:
    np.save(tmp_path / "text_emb.npy", store.to_arrays().texts)
    alone = dataclasses.replace(
        config, store=str(tmp_path / "text_emb.npy"), modalities="text", output=str(tmp_path / "alone")
    )
    with pytest.raises(InputError, match=r"bimodal, centred come of .*text_emb\.npy holds text alone; give --eval"):
        apply.run(alone, engine=FitsNothing())
    SparseAutoencoder(dataclasses.replace(sae.config, modalities=("text",))).save(tmp_path / "of-texts")
    with pytest.raises(InputError, match="of-texts is of text alone; write codes, reconstructed and original"):
        apply.run(dataclasses.replace(alone, sae=str(tmp_path / "of-texts")), engine=FitsNothing())
    assert not Path(alone.output).exists()
    write_carried(store, {tmp_path / "sae": sae_reference(config.sae, sae)})
    apply.run(alone, engine=ApplyingHere())
    both = apply.run(config, engine=ApplyingHere())
    for column in ("text_bimodal", "text_centred", "text_atoms"):
        found = sorted(row[column] for row in rows_of(alone.output))
        assert found == sorted(row[column] for row in rows_of(both.uri))


def test_an_sae_of_another_library_comes_to_what_ours_comes_to(config: ApplyConfig, tmp_path: Path) -> None:
    ours = SparseAutoencoder(SaeConfig(DIM, ATOMS, K, 0.0, sparse_encoder=TopK()), torch.Generator().manual_seed(1))
    ours.save(tmp_path / "ours")
    ours.save(tmp_path / "theirs", layout="saelens")
    cfg = tmp_path / "theirs" / "cfg.json"
    cfg.write_text(json.dumps(json.loads(cfg.read_text()) | {"metadata": {"sae_lens_version": "6.54"}}))
    layer = {f"encoder.final_block.0.{name}": ours.state_dict()[f"encoder.{name}"] for name in ("weight", "bias")}
    save_file({"dictionary._weights": ours.dictionary.clone(), **layer}, tmp_path / "batch.safetensors")
    found = {}
    for name, sae in {
        "ours": str(tmp_path / "ours"),
        "theirs": f"saelens:{tmp_path / 'theirs'}?input=normalised",
        "batch": f"overcomplete:{tmp_path / 'batch.safetensors'}?kind=batch-top-k&k={K}&input=normalised",
    }.items():
        asked = dataclasses.replace(config, sae=sae, output=str(tmp_path / f"out-{name}"))
        assert apply.run(dataclasses.replace(asked, dry_run=True), engine=ApplyingHere()) is None
        made = apply.run(asked, engine=ApplyingHere())
        assert apply.run(asked, engine=ApplyingHere()).fingerprint == made.fingerprint
        found[name] = rows_of(asked.output)
    for modality in ("image", "text"):
        ours_, theirs = (np.array([row[f"{modality}_bimodal"] for row in found[name]]) for name in ("ours", "theirs"))
        np.testing.assert_allclose(theirs, ours_, atol=2e-3)
        assert np.abs(ours_).max() > 0
    train = [row for row in found["batch"] if row["split"] == "train"]
    active = [len(row[f"{modality}_atoms"]) for row in train for modality in ("image", "text")]
    assert len(set(active)) > 1
    assert np.mean(active) == pytest.approx(K, rel=0.1)  # by the threshold that its files lack


def test_a_folder_of_saes_is_asked_for_one_of_them(config: ApplyConfig, tmp_path: Path) -> None:
    folder = tmp_path / "saes"
    shutil.copytree(config.sae, folder / "beta-0")
    config = dataclasses.replace(config, sae=str(folder), write="codes")
    assert len(apply.run(config, engine=ApplyingHere())) == UNITS * ROWS
    shutil.copytree(folder / "beta-0", folder / "beta-0.001")
    with pytest.raises(InputError, match=f"holds 2 SAEs; give one of them: {folder}/beta-0, {folder}/beta-0.001$"):
        apply.run(config, engine=ApplyingHere())


def test_a_unit_that_cannot_be_read_costs_that_unit_alone(config: ApplyConfig, store: EmbeddingStore) -> None:
    shard = Path(store.uri, "shards", store.commits[3].shard)
    data = shard.read_bytes()
    shard.write_bytes(b"\0" * len(data))
    with pytest.raises(InputError, match="1 of 5 units could not be done; the others are kept"):
        apply.run(dataclasses.replace(config, write="codes"), engine=ApplyingHere())
    assert len(rows_of(config.output)) == (UNITS - 1) * ROWS
    shard.write_bytes(data)
    assert len(apply.run(dataclasses.replace(config, write="codes"), engine=ApplyingHere())) == UNITS * ROWS


def test_a_dry_run_writes_nothing_and_says_what_it_will_take(
    config: ApplyConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply.run(dataclasses.replace(config, dry_run=True), engine=ApplyingHere()) is None
    assert not Path(config.output).exists()
    printed = capsys.readouterr().out
    assert "probe      30 pairs; ms a pair: read" in printed
    assert "pairs/s on 1 worker," in printed


def test_other_tools_read_it_as_the_page_says(config: ApplyConfig) -> None:
    config = dataclasses.replace(config, write="codes,original,bimodal,centred", layouts="npy,csr,lance")
    made = apply.run(config, engine=ApplyingHere())
    rows = rows_of(config.output)
    atom = rows[0]["image_atoms"][0]
    blocks = re.findall(r"```(sql|python)\n(.*?)```", PAGE.read_text().replace("PLACE", config.output), re.DOTALL)
    (query,) = (text for kind, text in blocks if kind == "sql")
    found = duckdb.sql(query.replace("178", str(atom))).fetchall()
    assert found == [(row["key"], row["caption"]) for row in rows if atom in row["image_atoms"]]
    assert 0 < len(found) < len(rows)
    names: dict[str, Any] = {}
    for kind, text in blocks:
        if kind == "python" and "psycopg2" not in text:  # of a server: `test_apply_postgres`
            exec(text, names)
    assert names["matrix"].shape == (UNITS * ROWS, ATOMS)
    for number, row in enumerate(rows):
        entries = names["matrix"][[number]].tocoo()
        assert dict(zip(entries.coords[1].tolist(), entries.data.tolist(), strict=True)) == codes_of(row, "image")
    tested = [(row["key"], row["image_coefficients"]) for row in rows if row["split"] == "test"]
    assert [*map(tuple, (each.values() for each in names["coefficients"].to_pylist()))] == tested
    for way in ("original", "bimodal"):
        images, texts = (normalize(torch.tensor([row[f"{m}_{way}"] for row in rows]), dim=1) for m in ("image", "text"))
        similarities = texts @ torch.cat([images, texts]).T
        similarities[:, UNITS * ROWS :].fill_diagonal_(-torch.inf)
        nearest = similarities.topk(10, dim=1).indices
        own = (nearest == torch.arange(UNITS * ROWS)[:, None]).any(dim=1).double().mean()
        expected = (nearest < UNITS * ROWS).double().mean(), own
        assert names["before" if way == "original" else "after"] == pytest.approx(expected, abs=0.01)
    times_before = times(f"{config.output}/lance")
    again = apply.run(config, engine=ApplyingHere())
    assert again.fingerprint == made.fingerprint
    assert times(f"{config.output}/lance") == times_before


def test_arrays_of_a_way_are_what_clip_retrieval_writes(config: ApplyConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, write="bimodal", columns="url", layouts="npy")
    with pytest.raises(KeyboardInterrupt):
        apply.run(config, engine=Ends(after=2))
    apply.run(config, engine=ApplyingHere())
    rows = rows_of(config.output)
    place = f"{config.output}/npy/bimodal"
    imported = import_stage.run(ImportConfig(place, str(tmp_path / "imported"), modalities="image,text"))
    arrays = imported.to_arrays()
    order = np.argsort(arrays.keys)
    assert [*arrays.keys[order]] == [row["key"] for row in rows]
    np.testing.assert_array_equal(arrays.images[order], [row["image_bimodal"] for row in rows])
    np.testing.assert_array_equal(arrays.texts[order], [row["text_bimodal"] for row in rows])
    metadata = pq.read_table(f"{place}/metadata/metadata_3.parquet")
    assert metadata.column_names == ["image_path", "row", "split", "caption", "url"]
    assert metadata["caption"].to_pylist() == [row["caption"] for row in rows[3 * ROWS : 4 * ROWS]]


@pytest.mark.parametrize(
    ("write", "layouts", "said"),
    [
        ("codes", "npy", "npy is a layout of vectors"),
        ("bimodal", "csr", "csr is a layout of codes"),
        ("codes", "csr,csr", "different names"),
        ("codes", "arrow", "layouts must be"),
    ],
)
def test_a_layout_that_would_hold_nothing_is_refused(write: str, layouts: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ApplyConfig("sae", "store", write=write, layouts=layouts)


def test_a_column_that_would_be_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"columns must be different names with commas between; got 'url, url'"):
        ApplyConfig("sae", "store", columns="url, url")
    with pytest.raises(InputError, match="leave image_path out of --columns"):
        ApplyConfig("sae", "store", write="bimodal", columns="url,image_path", layouts="npy")
    assert ApplyConfig("sae", "store", columns="image_path", layouts="csr").chosen == ("image_path",)


def test_columns_of_any_name_are_written_but_where_a_layout_cannot(config: ApplyConfig, tmp_path: Path) -> None:
    names = ["my col", "ünï 图", "it's", 'quo"te', "a, b", " lead", "UP", "up"]
    rows, widths = EmbeddingStore.open(config.store).to_arrays(), ("image", "text")
    vectors = [pa.FixedSizeListArray.from_arrays(part.ravel(), DIM) for part in (rows.images, rows.texts)]
    columns = {name: [f"{name} {row}" for row in range(len(rows))] for name in ["key", *names]}
    pq.write_table(pa.table({**columns, **dict(zip(widths, vectors, strict=True))}), tmp_path / "files.parquet")
    asked = 'my col,ünï 图, it\'s, quo"te,"a, b"," lead",UP,up'
    files = dataclasses.replace(config, store=str(tmp_path / "files.parquet"), modalities="image,text", columns=asked)
    apply.run(dataclasses.replace(files, layouts="npy,csr,lance"), engine=ApplyingHere())
    lance = importlib.import_module("lance").dataset(f"{config.output}/lance/pairs.lance")
    for table in (pq.read_table(f"{config.output}/shards"), lance.to_table()):
        assert {name: table[name].to_pylist() for name in names} == {name: columns[name] for name in names}
    for name in ("a.b", "a`b"):
        with pytest.raises(InputError, match=r"lance has no columns with \. or ` in their names"):
            dataclasses.replace(config, columns=name, layouts="lance")


def test_lance_is_written_to_folders_alone(config: ApplyConfig) -> None:
    config = dataclasses.replace(config, output="memory://out", layouts="lance")
    with pytest.raises(InputError, match="written to a folder"):
        apply.run(config, engine=ApplyingHere())


def test_what_was_written_is_a_store_again(config: ApplyConfig) -> None:
    apply.run(dataclasses.replace(config, write="bimodal", normalise=True), engine=ApplyingHere())
    arrays = EmbeddingStore.open(config.output).to_arrays()
    np.testing.assert_allclose(np.linalg.norm(arrays.images.astype(np.float32), axis=1), 1, atol=2e-3)
    assert arrays.texts.shape == (UNITS * ROWS, DIM)


def test_one_run_in_mlflow_whatever_it_took(config: ApplyConfig, store: EmbeddingStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        apply.run(config, engine=Ends(after=2))
    made = apply.run(config, engine=ApplyingHere())
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.isoenergy_output = '{config.output}' and tags.mlflow.runName = 'apply'"
    )
    assert run.info.status == "FINISHED"
    assert run.data.tags["store_fingerprint"] == store.fingerprint
    assert run.data.tags["applied_fingerprint"] == made.fingerprint
    assert run.data.metrics["pairs"] == 3 * ROWS


def test_help_names_everything_that_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    words = capsys.readouterr().out.replace(",", " ").replace(";", " ").replace(":", " ").replace(".", " ").split()
    assert set(WRITES) <= set(words)
