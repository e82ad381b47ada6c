"""`isoenergy embed` with layers of a generative model, in this process: a store a layer, a row a pair or a token."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlavaModel

from isoenergy.encoders import load_encoder
from isoenergy.errors import InputError
from isoenergy.pairs.splits import split_of_pair
from isoenergy.store import EmbeddingStore
from isoenergy.store.index import PairIndex
from isoenergy.store.verification import faults
from tests.encoders.vlm_checkpoints import IMAGE, PATCH, WIDTH, save_vlm
from tests.pairs.made_up_pairs import RowsWriter, bad_rows, encoded_image
from workflows import embed
from workflows.embed import EmbedConfig
from workflows.extraction.extraction_engines import Here
from workflows.inspect import InspectConfig
from workflows.inspect import run as inspected
from workflows.settings.embed_settings import parse

TOKENS = (IMAGE // PATCH) ** 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_vlm("llava", folder)
    return folder


@pytest.fixture
def rows(tmp_path: Path, write_rows: RowsWriter) -> list[dict]:
    """Forty good pairs, two an image, and bad ones, in a file."""
    good = [
        {"key": f"image-{n // 2}#{n % 2}", "image": encoded_image(seed=n // 2), "caption": f"picture {n}"}
        for n in range(40)
    ]
    odd = [{"key": "odd", "image": encoded_image(), "caption": "an <image> in words"}]
    made = [*good[:20], *bad_rows().values(), *odd, *good[20:]]
    write_rows(made, tmp_path / "pairs" / "pairs.parquet")
    return made


def here(settings: dict, **changed: Any) -> list[EmbeddingStore]:
    return embed.run(EmbedConfig(**settings | changed), engine=Here())


def vectors(store: EmbeddingStore, column: str) -> np.ndarray:
    return np.concatenate([store.read_unit_vectors(record.unit)[column] for record in store.commits])


def test_a_store_a_layer_in_one_pass(
    settings: dict, rows: list[dict], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0
    forward = LlavaModel.forward

    @functools.wraps(forward)
    def counted(self: LlavaModel, **given: Any) -> Any:
        nonlocal passes
        passes += "pixel_values" in given
        return forward(self, **given)

    monkeypatch.setattr(LlavaModel, "forward", counted)
    stores = here(settings, encoder=f"vlm:{model}@1,3", dtype="float32", batch_rows=8, rows_per_unit=1000)
    assert passes == 1 + 1 + 6  # it is tried when it is loaded, on the driver and to encode; 41 pairs that decode
    assert [store.manifest.hidden_states["layer"] for store in stores] == [1, 3]
    assert stores[0].manifest.encoder_digest == stores[1].manifest.encoder_digest
    good = sorted(row["caption"] for row in rows if str(row["key"]).startswith("image"))
    for store, layer in zip(stores, (1, 3), strict=True):
        assert store.uri.endswith(f"{layer}")
        assert store.rows_in == len(rows) == store.embedded + sum(store.rejected.values())
        assert store.rejected["unusable_row"] == 1
        assert len(store) == store.embedded == len(good) + 1
        shard = pq.read_table(Path(store.uri) / "shards")
        texts = shard["caption"].to_pylist()
        wanted = load_encoder(store.manifest.encoder).encode_texts(texts)
        torch.testing.assert_close(torch.tensor(vectors(store, "text")), wanted, atol=1e-6, rtol=1e-6)
    assert np.abs(vectors(stores[0], "image") - vectors(stores[1], "image")).max() > 0.1


def test_a_row_a_token_counts_pairs_as_pairs_and_splits_by_pair(settings: dict, rows: list[dict], model: Path) -> None:
    settings |= {"encoder": f"vlm:{model}@2", "dtype": "float32", "batch_rows": 9, "rows_per_unit": 16}
    asked = ["--vlm.pooling", "all", "--vlm.most-tokens", "6"]
    settings["vlm"] = parse(["--encoder", settings["encoder"], *asked]).vlm
    (store,) = here(settings)
    assert store.rows_in == len(rows) == store.embedded + sum(store.rejected.values())
    assert store.embedded == 41
    assert len(store) == sum(store.pairs_in(split) for split in ("train", "validation", "test")) == 41 * 6
    assert (store.manifest.dim, store.manifest.hidden_states["most_tokens"]) == (WIDTH, 6)
    tokens = pq.read_table(Path(store.uri) / "shards").to_pylist()
    assert len({row["key"] for row in tokens}) == len(tokens) == len(store)
    for row in tokens:
        pair, _, number = row["key"].rpartition("#")
        assert int(number) < 6
        assert rows[row["row"]]["key"] == pair
        assert row["split"] == split_of_pair(pair)
    of_images: dict[str, set[str]] = {}
    for row in tokens:
        of_images.setdefault(row["key"].partition("#")[0], set()).add(row["split"])
    assert {len(splits) for splits in of_images.values()} == {1}
    assert len(PairIndex.build(store, "train")) == store.pairs_in("train")
    assert [fault for record in store.commits for fault in faults(store, record)] == []
    shown = inspected(InspectConfig(store.uri, verify=True))
    assert f"{len(rows)} in, 41 embedded\nrows         246 of their tokens" in shown
    summary = json.loads(Path(store.uri, "summary.json").read_text())
    assert (summary["rows_in"], summary["embedded"], summary["rows"]) == (len(rows), 41, 246)
    assert summary["rejected"] == store.rejected

    mean = load_encoder(store.manifest.encoder).encode_texts(["picture 0"])  # it has more than six tokens
    first = torch.tensor([row["text"] for row in tokens if row["key"].startswith("image-0#0#")])
    torch.testing.assert_close(first.mean(dim=0), mean[0], atol=1e-6, rtol=1e-6)
    assert len(first.unique(dim=0)) == 6
    trained_on = sum(len(images) for images, _ in store.batches("train", 16, seed=0).epoch(0))
    assert trained_on == store.pairs_in("train") // 16 * 16


def test_what_is_lost_is_made_again_byte_for_byte_and_the_index_knows_rows_and_pairs(
    settings: dict,
    rows: list[dict],  # noqa: ARG001
    model: Path,
) -> None:
    settings |= {"encoder": f"vlm:{model}@1?pooling=all", "batch_rows": 9, "rows_per_unit": 16}
    (store,) = here(settings)
    kept = EmbeddingStore.open(store.uri)
    assert (kept.embedded, len(kept), kept.fingerprint) == (41, 41 * TOKENS, store.fingerprint)
    for folder in ("commits", "shards"):
        sorted(Path(store.uri, folder).iterdir())[1].unlink()
    (again,) = here(settings)
    assert (again.fingerprint, len(again)) == (store.fingerprint, len(store))
    with pytest.raises(InputError, match=r"hidden_states\.pooling"):
        here(settings, encoder=f"vlm:{model}@1?pooling=last")
    with pytest.raises(InputError, match=r"hidden_states\.layer"):
        here(settings, encoder=f"vlm:{model}@2?pooling=all")


def test_a_pair_whose_tokens_a_store_holds_is_a_duplicate_though_its_file_has_gone(
    tmp_path: Path, settings: dict, write_rows: RowsWriter, model: Path
) -> None:
    pairs = [{"key": f"pair-{n}", "image": encoded_image(seed=n), "caption": f"picture {n}"} for n in range(6)]
    for file, of_file in (("gone", pairs[:4]), ("stays", pairs[4:])):
        write_rows(of_file, tmp_path / "pairs" / f"{file}.parquet")
    settings |= {"encoder": f"vlm:{model}@1?pooling=all&most_tokens=2"}
    here(settings)
    (tmp_path / "pairs" / "gone.parquet").unlink()
    write_rows(pairs[:3], tmp_path / "pairs" / "new.parquet")
    (store,) = here(settings)
    assert (store.rows_in, store.embedded, len(store), store.rejected) == (9, 6, 12, {"duplicate_key": 3})
