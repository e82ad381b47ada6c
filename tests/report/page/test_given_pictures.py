"""Pictures of a store that was imported: from a column of it, or a folder."""

import dataclasses
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import Downloader
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import PairUnit
from isoenergy.report.page.page import write_report
from isoenergy.report.page.shown_pictures import GivenPictures
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.picture_columns import NamedImages, given_images
from isoenergy.store.schema import REJECTED, shard_schema
from tests.benchmarks.planted_store import planted_pairs
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs, write_sae
from tests.report.explorer_data import explorer_data
from tests.store.small_store import MANIFEST

DIM, ROWS = 16, 6


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two units, with files in a column, and URLs in another."""
    passed = pa.schema(
        [
            ("picture", pa.binary()),
            ("url", pa.string()),
            ("width", pa.int64()),
            ("photo", pa.string()),
            ("note", pa.string()),
        ]
    )
    kinds = {field.name: str(field.type) for field in passed}
    writer = StoreWriter(str(tmp_path / "store"))
    writer.begin(dataclasses.replace(MANIFEST, dim=DIM, units=2, passed_through=kinds), ["a.parquet"])
    images, texts = planted_pairs(2 * ROWS, DIM)
    for start in (0, ROWS):
        rows = list(range(start, start + ROWS))
        vectors = [pa.FixedSizeListArray.from_arrays(x[start : start + ROWS].ravel(), DIM) for x in (images, texts)]
        files = [None if row == 1 else b"no image" if row == 2 else picture(10 * row) for row in rows]
        columns = [[f"k{row}" for row in rows], rows, ["test"] * ROWS, ["a"] * ROWS, *vectors]
        urls = [f"http://pictures.example/{row}.png" for row in rows]
        photos = [f"/data/photos/{row}.png" for row in rows]
        table = pa.table(
            [*columns, files, urls, rows, photos, ["a dog"] * ROWS], schema=shard_schema(DIM, "float16", passed)
        )
        writer.commit(PairUnit("a.parquet", start, start + ROWS), "digest", table, REJECTED.empty_table())
    return str(tmp_path / "store")


def shown(*rows: int) -> list[dict[str, Any]]:
    return [{"file": "a.parquet", "row": row, "key": f"k{row}"} for row in rows]


def given_pictures(images: str, store: str, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], str]:
    return GivenPictures(images, {"uri": store}).data_urls(rows)


def counted(images: str, store: str, *rows: int) -> str:
    given = GivenPictures(images, {"uri": store})
    given.data_urls(shown(*rows))
    return given.counted()


def test_how_many_pairs_have_a_picture_is_said(store: str, tmp_path: Path) -> None:
    assert counted("picture", store, 0, 1, 2, 7) == "pictures of 2 of the 4 pairs shown: --images picture"
    assert "--images gone is not used" in GivenPictures("gone", {"uri": f"{tmp_path}/gone"}).counted()


def test_no_picture_at_all_is_an_error_that_says_what_was_looked_for(store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of the 1 pairs shown: column picture has no image file .* 'k1'"):
        counted("picture", store, 1)
    with pytest.raises(InputError, match="1 file found, none an image"):
        counted("picture", store, 2)
    folder = tmp_path / "images"
    folder.mkdir()
    with pytest.raises(InputError, match=r"names such as ''$"):
        counted(str(folder), store, 0)
    (folder / "other.png").write_bytes(picture(0))
    looked_for = r"by photo, then key, such as 'data/photos/0.png' and 'k0', .* names such as 'other.png'$"
    with pytest.raises(InputError, match=rf"none of the 2 pairs shown: names were looked for {looked_for}"):
        counted(str(folder), store, 0, 1)


def test_files_of_a_column(store: str) -> None:
    found = given_pictures("picture", store, shown(0, 1, 2, 7))
    assert set(found) == {("a.parquet", 0), ("a.parquet", 7)}
    assert all(url.startswith("data:image/webp;base64,") for url in found.values())
    assert len(set(found.values())) == 2


def test_urls_of_a_column_are_downloaded_by_the_rules(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def fetch(_: Downloader, batches: Sequence[Sequence[str]]) -> list[list[bytes | Rejected]]:
        asked.extend(url for batch in batches for url in batch)
        gone = Rejected(Reason.MISSING_IMAGE, "404")
        return [[gone if "7.png" in url else picture(9) for url in batch] for batch in batches]

    monkeypatch.setattr(Downloader, "fetch", fetch)
    assert set(given_pictures("url", store, shown(3, 7))) == {("a.parquet", 3)}
    assert sorted(map(str, asked)) == ["http://pictures.example/3.png", "http://pictures.example/7.png"]


def test_what_is_neither_is_named(store: str) -> None:
    with pytest.raises(InputError, match=r"column of the store \(picture, url, width, photo, note\).*'pixels'"):
        given_pictures("pixels", store, shown(0))
    with pytest.raises(InputError, match="width holds int64"):
        given_pictures("width", store, shown(0))


def test_a_folder_is_looked_in_by_a_column_of_paths_and_then_by_key(store: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "data" / "photos").mkdir(parents=True)
    (folder / "data" / "photos" / "0.png").write_bytes(picture(0))
    (folder / "k1.png").write_bytes(picture(10))
    both = {("a.parquet", 0), ("a.parquet", 1)}
    assert set(given_pictures(str(folder), store, shown(0, 1, 2))) == both
    images = given_images(EmbeddingStore.open(store), str(folder))
    assert set(images.files({("a.parquet", row): f"k{row}" for row in (0, 1, 2)})) == both


def test_an_absolute_path_is_found_in_the_folder_that_it_is_in(store: str, tmp_path: Path) -> None:
    opened, folder = EmbeddingStore.open(store), ImageFolder.at(str(tmp_path))
    (tmp_path / "there.png").write_bytes(picture(3))
    for key, found in (
        (f"{tmp_path}/there.png", 1),
        (f"{tmp_path}/store/../there.png", 1),
        (f"{tmp_path}/../{tmp_path.name}/there.png", 0),
    ):
        assert len(NamedImages(opened, folder).files({("a.parquet", 0): key})) == found


def test_paths_of_a_store_are_not_opened(store: str) -> None:
    with pytest.raises(InputError, match=r"photo holds paths, such as '/data/photos/0.png'.*give --images FOLDER"):
        given_pictures("photo", store, shown(0))
    with pytest.raises(InputError, match=r"note holds texts, such as 'a dog', and no URLs"):
        given_pictures("note", store, shown(0))


@pytest.mark.usefixtures("undrawn")
def test_a_page_shows_those_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_steps_here(monkeypatch)
    pairs = write_pairs(tmp_path / "pairs", *shifted_pairs(200, DIM), train=100)
    sae = write_sae(tmp_path / "sae", SaeConfig(DIM, 32, 4, 0.0))
    evaluated(pairs, [sae], tmp_path / "out", sample=60, in_batches=60, queries=40)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(0, 2000, 2):
        (folder / f"{number}.png").write_bytes(picture(number % 200))
    caplog.set_level(logging.INFO)
    evaluation = str(tmp_path / "out" / "evaluation.json")
    page, *_ = write_report(evaluation, str(tmp_path / "page.html"), images=str(folder))
    html = Path(page).read_text()
    assert re.search(r"background-image: url\(data:image/avif;base64,\w", html)
    cells = [cell for atom in explorer_data(html)["saes"][0]["image_cells"] for cell in atom]
    assert sum(cell >= 0 for cell in cells) > 20
    assert re.search(r"pictures of \d+ of the \d+ pairs shown", caplog.text)
    with pytest.raises(InputError, match="gives a picture of none of the"):
        write_report(evaluation, str(tmp_path / "none.html"), images=str(tmp_path / "pairs"))
    assert not (tmp_path / "none.html").exists()
