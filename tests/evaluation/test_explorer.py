"""What an evaluation gathers of every atom for the report's explorer."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from isoenergy import SparseAutoencoder
from isoenergy.evaluation.measured_rows import unit_rows
from isoenergy.evaluation.results import CAPTIONS_FILE, EXPLORER_FILE
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.activation_histogram import BINS
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae
from tests.pairs.made_up_pairs import encoded_image, written_rows

DIM, PAIRS, SHOWN = 6, 120, 9
LONG, UNREADABLE = 7, 11


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    images = [encoded_image(size=(12, 8), seed=row) for row in range(PAIRS)]
    images[UNREADABLE] = b"<html>not found</html>"
    rows = [{"key": str(row), "image": image, "caption": "-"} for row, image in enumerate(images)]
    written_rows(rows, folder / "pairs.parquet")
    return folder


def explored(folder: Path, source: Path | None, **options: int) -> tuple[list[dict], dict[int, str]]:
    """The rows of `explorer.parquet`, and captions by pair."""
    captions = [f"pair {row}" for row in range(PAIRS)]
    captions[LONG] = "long " * 1000
    images, texts = shifted_pairs(PAIRS, DIM)
    store = write_pairs(folder / "store", images, texts, 50, captions, source=source)
    sae = write_sae(folder / "sae", SaeConfig(dim=DIM, atoms=20, k=3, beta=0.0))
    null = write_sae(folder / "null", SaeConfig(dim=DIM, atoms=20, k=3, beta=0.1, null=True), seed=1)
    found = evaluated(store, [sae, null], folder / "out", sample=20, **options)["saes"]
    assert found[1]["explorer"] is None
    place = folder / "out" / found[0]["explorer"]
    named = pq.read_table(place / CAPTIONS_FILE).to_pydict()
    return pq.read_table(place / EXPLORER_FILE).to_pylist(), dict(zip(named["pair"], named["caption"], strict=True))


@pytest.fixture
def whole(tmp_path: Path, source: Path) -> tuple[list[dict], dict[int, str]]:
    return explored(tmp_path / "whole", source)


def test_pairs_and_histograms_are_those_of_the_codes(whole: tuple[list[dict], dict[int, str]], tmp_path: Path) -> None:
    sae = SparseAutoencoder.load(tmp_path / "whole" / "sae")
    arrays = EmbeddingStore.open(str(tmp_path / "whole" / "store")).to_arrays("test")
    with torch.no_grad():
        dense = {
            modality: sae.encode(unit_rows(rows)).to_dense(20).numpy()
            for modality, rows in (("image", arrays.images), ("text", arrays.texts))
        }
    atoms, captions = whole
    assert [row["atom"] for row in atoms] == [
        atom for atom in range(20) if any(code[:, atom].any() for code in dense.values())
    ]
    for row in atoms:
        for modality, code in dense.items():
            own = code[:, row["atom"]]
            expected = np.sort(own[own > 0])[::-1][:SHOWN]
            assert row[f"{modality}_values"] == pytest.approx(expected, rel=1e-5)
            assert own[row[f"{modality}_pairs"]] == pytest.approx(expected, rel=1e-5)
            assert sum(row[f"{modality}_histogram"]) == np.count_nonzero(own)
            assert len(row[f"{modality}_histogram"]) == BINS
    named = {pair for row in atoms for modality in dense for pair in row[f"{modality}_pairs"]}
    assert set(captions) == named >= {LONG}
    assert all(captions[pair] == f"pair {pair}" for pair in named - {LONG})
    assert len(captions[LONG]) == 241


def test_a_pair_s_picture_is_in_its_cell(whole: tuple[list[dict], dict[int, str]], source: Path) -> None:
    images = pq.read_table(source / "pairs.parquet")["image"].to_pylist()
    atoms, _ = whole
    for row in atoms:
        strip = Image.open(io.BytesIO(row["strip"])).convert("RGB")
        pixels = strip.height
        cells = {}
        for modality in ("image", "text"):
            for pair, cell in zip(row[f"{modality}_pairs"], row[f"{modality}_cells"], strict=True):
                assert cells.setdefault(pair, cell) == cell
        assert cells.pop(UNREADABLE, -1) == -1
        assert sorted(cells.values()) == list(range(strip.width // pixels))
        for pair, cell in cells.items():
            shown = np.asarray(strip.crop((cell * pixels, 0, (cell + 1) * pixels, pixels)), float).mean((0, 1))
            with Image.open(io.BytesIO(images[pair])) as image:
                centre = np.asarray(image.convert("RGB").crop((2, 0, 10, 8)), float).mean((0, 1))
            np.testing.assert_allclose(shown, centre, atol=12)


def test_it_does_not_depend_on_the_parts(
    whole: tuple[list[dict], dict[int, str]], tmp_path: Path, source: Path
) -> None:
    atoms, captions = explored(tmp_path / "parted", source, part_pairs=1)
    assert captions == whole[1]
    for row, expected in zip(atoms, whole[0], strict=True):
        for name, value in expected.items():
            assert row[name] == (pytest.approx(value, nan_ok=True) if isinstance(value, float) else value), name


def test_partners_are_other_atoms_of_the_table(whole: tuple[list[dict], dict[int, str]]) -> None:
    atoms, _ = whole
    numbers = {row["atom"] for row in atoms}
    assert any(row["partners"] for row in atoms)
    for row in atoms:
        assert len(row["partners"]) <= 5
        assert row["atom"] not in row["partners"]
        assert set(row["partners"]) <= numbers
        assert [abs(weight) for weight in row["weights"]] == sorted(map(abs, row["weights"]), reverse=True)


def test_without_its_source_captions_are_left(tmp_path: Path) -> None:
    atoms, captions = explored(tmp_path / "alone", None)
    assert {row["strip"] for row in atoms} == {None}
    assert {cell for row in atoms for cell in row["image_cells"]} == {-1}
    assert "pair 3" in captions.values()
