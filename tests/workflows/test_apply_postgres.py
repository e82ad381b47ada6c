"""What was applied, in PostgreSQL with pgvector, as the page says."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from tests.workflows.applied_stores import ROWS, UNITS, fill_store, write_sae
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig

pytestmark = [pytest.mark.slow, pytest.mark.server]
PAGE = Path(__file__).parents[2] / "docs" / "applying.md"
NEAREST = 5


def test_postgres_finds_the_neighbours_of_a_caption_and_the_rows_of_an_atom(tmp_path: Path) -> None:
    pgserver = pytest.importorskip("pgserver")
    pytest.importorskip("psycopg2")
    store = fill_store(tmp_path / "store")
    config = ApplyConfig(str(write_sae(tmp_path / "sae")), store.uri, str(tmp_path / "out"), "codes,bimodal")
    apply.run(config, engine=ApplyingHere())
    rows = pq.read_table(f"{config.output}/shards").sort_by("key").to_pylist()
    atom = rows[0]["image_atoms"][0]
    (recipe,) = re.findall(r"```python\n(import psycopg2.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"Path": Path}
    with tempfile.TemporaryDirectory() as folder:  # root's PostgreSQL runs as another user, who may not see tmp_path
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            text = recipe.replace("PLACE", config.output).replace("DATABASE", server.get_uri())
            exec(text.replace("178", str(atom)), names)
            names["cursor"].execute("SET enable_indexscan = off")  # HNSW is approximate
            found = {row["key"]: names["neighbours"](row["key"], NEAREST) for row in rows}
            names["database"].close()
        finally:
            server.cleanup()
    assert names["fired"] == [row["key"] for row in rows if atom in row["image_atoms"]]
    places = [(row["key"], modality) for modality in ("image", "text") for row in rows]
    vectors = normalize(torch.tensor([rows[n % len(rows)][f"{m}_bimodal"] for n, (_, m) in enumerate(places)]), dim=1)
    similarities = vectors[len(rows) :] @ vectors.T
    similarities[:, len(rows) :].fill_diagonal_(-torch.inf)
    for number, row in enumerate(rows):
        expected = similarities[number].topk(NEAREST).values
        got = similarities[number, [places.index(place) for place in found[row["key"]]]]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)  # rows of equal cosine come in either order
    assert len(rows) == UNITS * ROWS
