"""What was applied, in LanceDB, as the page says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.workflows.applied_stores import fill_store, write_sae
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "applying.md"
NEAREST = 5


def test_lancedb_finds_the_images_of_a_caption_and_those_of_an_atom_among_them(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    store = fill_store(tmp_path / "store")
    sae = str(write_sae(tmp_path / "sae"))
    config = ApplyConfig(sae, store.uri, str(tmp_path / "out"), "codes,bimodal", layouts="lance", dtype="float32")
    apply.run(config, engine=ApplyingHere())
    rows = pq.read_table(f"{config.output}/shards").to_pylist()
    (recipe,) = re.findall(r"```python\n(import lancedb.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe.replace("PLACE", config.output), names)
    assert names["pairs"].count_rows() == len(rows)
    images, texts = (unit(np.array([row[f"{modality}_bimodal"] for row in rows])) for modality in ("image", "text"))
    places = {row["key"]: place for place, row in enumerate(rows)}
    atom = rows[0]["image_atoms"][0]
    fires = np.array([atom in row["image_atoms"] for row in rows])
    assert NEAREST < fires.sum() < len(rows)
    for number, key in enumerate(places):
        similarities = images @ texts[number]
        for chosen, among in ((None, similarities), (atom, np.where(fires, similarities, -np.inf))):
            found = [places[each] for each in names["nearest_images"](key, chosen, NEAREST)]
            expected = np.sort(among)[::-1][:NEAREST]
            np.testing.assert_allclose(among[found], expected, atol=1e-5)  # rows of equal cosine come in either order


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of unit norm; one that is zero stays so."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
