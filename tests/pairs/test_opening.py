"""What is recognised, and what is said when nothing is."""

import base64
import io
import tarfile
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.opening import open_source, recognised
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import Format, PairColumns, PairSource, RawPairs, SourceConfig
from isoenergy.pairs.source_names import split_at_commas
from tests.pairs.download.server import Server, answer
from tests.pairs.made_up_pairs import encoded_image

FETCH = Downloader(DownloadConfig(allow_loopback=True, retries=0)).fetch
LAION = {
    "SAMPLE_ID": [1.0], "URL": ["https://a.invalid/x.jpg"], "TEXT": ["t"], "HEIGHT": [3], "WIDTH": [4],
    "LICENSE": ["?"], "NSFW": ["UNLIKELY"], "similarity": [0.3],
}  # fmt: skip
LAION_2B = {
    "url": ["https://a.invalid/x.jpg"], "caption": ["t"], "hash": [7], "punsafe": [0.1], "pwatermark": [0.1],
    "key": [5],
}  # fmt: skip
IMG2DATASET = {
    "jpg": [b"i"], "url": ["https://a.invalid/x.jpg"], "caption": ["t"], "key": ["000000000"], "status": ["success"],
    "error_message": pa.nulls(1), "width": [3], "height": [4], "exif": ["{}"], "sha256": ["0"],
}  # fmt: skip
HUGGING_FACE = {"image": [{"bytes": b"i", "path": "x.jpg"}], "text": ["t"], "image_url": ["https://a.invalid/x.jpg"]}


def put(folder: Path, *names: str, **tables: dict) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def opened(path: Path | str, images: Path | str = "", kind: Format | None = None, **columns: str) -> PairSource:
    return open_source(SourceConfig(str(path), kind, PairColumns(**columns), str(images)), FETCH)


@pytest.mark.parametrize(
    ("columns", "kind", "passed_through"),
    [
        (LAION, "urls", ["SAMPLE_ID", "URL", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"]),
        (LAION_2B, "urls", ["url", "hash", "punsafe", "pwatermark"]),
        (IMG2DATASET, "parquet", ["url", "status", "error_message", "width", "height", "exif", "sha256"]),
        (HUGGING_FACE, "parquet", ["image_url"]),
    ],
)
def test_parquet_of_each_kind(tmp_path: Path, columns: dict, kind: str, passed_through: list[str]) -> None:
    put(tmp_path, a=columns)
    for place in (tmp_path, tmp_path / "a.parquet"):
        source = opened(place)
        assert source.format == kind
        assert source.passed_through.names == passed_through


def test_a_column_that_is_given_tells_bytes_from_urls(tmp_path: Path) -> None:
    put(tmp_path, a=IMG2DATASET | {"link": ["https://a.invalid/y.jpg"]})
    assert opened(tmp_path, image="url").format == "urls"
    assert opened(tmp_path, image="link").format == "urls"
    assert opened(tmp_path, image="jpg").format == "parquet"
    with pytest.raises(InputError, match="no column 'photo' for the image; it has jpg, url, caption"):
        opened(tmp_path, image="photo")
    assert opened(tmp_path, kind="urls").format == "urls"


def test_a_spoilt_first_file_does_not_hide_what_the_others_are(tmp_path: Path) -> None:
    put(tmp_path, "0.parquet", a=LAION)
    assert opened(tmp_path).format == "urls"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("webdataset", ["00000.tar", "00000.parquet", "00000_stats.json", "00001.tar"]),
        ("webdataset", ["deep/er/0.TGZ", "README.md"]),
        ("folder", ["00000/0.jpg", "00000/0.txt", "00000/0.json", "00000_stats.json"]),
        ("folder", ["x.PNG", "x.txt", "notes.csv"]),
        ("folder", ["x.png"]),
        ("table", ["x.jpg", "metadata.jsonl"]),
        ("table", ["train/x.jpg", "train/x.txt", "train/metadata.csv"]),
        ("table", ["x.jpg", "captions.csv", "other.csv"]),
        ("table", ["x.jpg", "list.tsv"]),
        ("table", ["0.csv", "1.csv"]),
        ("coco", ["captions.json"]),
        ("parquet", ["a.parquet", ".git/config", "_tmp/x.tar"]),
    ],
)
def test_a_folder_is_recognised_by_what_is_in_it(tmp_path: Path, kind: str, names: list[str]) -> None:
    put(tmp_path, *names)
    assert recognised(str(tmp_path), PairColumns()) == kind


def test_images_that_img2dataset_wrote_beside_its_metadata_are_not_downloaded_again(tmp_path: Path) -> None:
    put(tmp_path, "00000/0.jpg", "00000/0.txt", "00000_stats.json", a=LAION_2B)
    assert recognised(str(tmp_path), PairColumns()) == "folder"
    put(tmp_path / "00000", b=IMG2DATASET)
    (tmp_path / "a.parquet").unlink()
    assert recognised(str(tmp_path), PairColumns()) == "parquet"


@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (["0.tar", "0.parquet", "0_stats.json", "1.tar", "_SUCCESS", ".hidden", "_tmp/x.jpg"], ", 3 sidecars"),
        (["0.tar", "x.jpg", "y.JPG", "list.csv", "0.csv"], "; left aside: 2 .csv, 2 .jpg"),
        (["0.tar.gz", "0.json", "x.what-is-this", "LICENSE"], ", 1 sidecar; left aside: 2 no suffix"),
        (["a.tar", "b.parquet", "c.parquet"], "; left aside: 2 .parquet"),
        (["a.parquet", "a.json", "a.jpg", "x.csv"], ", 1 sidecar; left aside: 1 .jpg, 1 .csv"),
        (["00000/0.jpg", "00000/0.txt", "00000/0.json", "00000_stats.json", "00000.parquet"], ", 3 sidecars"),
        (["x.jpg", "x.txt", "y.txt", "notes.csv"], "; left aside: 1 .csv, 1 .txt"),
        (["x.jpg", "x.txt", "metadata.csv", "other.csv"], "; left aside: 1 .txt, 1 .csv"),
        ([f"a.{n}" for n in range(8)] + ["0.tar"], "; left aside: 1 .0, 1 .1, 1 .2, 1 .3, 1 .4, 1 .5, 2 others"),
    ],
)
def test_what_lies_beside_the_files_that_are_read_is_told(tmp_path: Path, names: list[str], beside: str) -> None:
    put(tmp_path, *(name for name in names if name != "a.parquet"))
    if "a.parquet" in names:
        put(tmp_path, a=HUGGING_FACE)
    if "00000.parquet" in names:
        put(tmp_path, **{"00000": LAION_2B})
    if "metadata.csv" in names:
        (tmp_path / "metadata.csv").write_text("file_name,text\nx.jpg,c\n")
    assert str(opened(tmp_path).beside) == beside


def test_a_format_that_is_said_leaves_the_others_aside(tmp_path: Path) -> None:
    put(tmp_path, "a.tar", "b.tar", "b.txt", a=HUGGING_FACE)
    assert str(opened(tmp_path, kind="parquet").beside) == "; left aside: 2 .tar, 1 .txt"
    assert str(opened(tmp_path, kind="webdataset").beside) == ", 2 sidecars"


def test_images_in_another_place_leave_those_beside_the_table_aside(tmp_path: Path) -> None:
    put(tmp_path, "pairs/x.jpg", "images/x.jpg")
    (tmp_path / "pairs" / "metadata.csv").write_text("file_name,text\nx.jpg,c\n")
    assert str(opened(tmp_path / "pairs", tmp_path / "images").beside) == "; left aside: 1 .jpg"
    assert str(opened(tmp_path / "pairs" / "metadata.csv").beside) == ""


@pytest.mark.parametrize(
    "name", ["a.tar", "a.tar.gz", "a.tgz", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "A.CSV"]
)
def test_a_file_is_recognised_by_its_name(tmp_path: Path, name: str) -> None:
    kinds = {".csv": "table", ".tsv": "table", ".jsonl": "table", ".json": "coco", ".parquet": "parquet"}
    put(tmp_path, name)
    assert recognised(str(tmp_path / name), PairColumns()) == kinds.get((tmp_path / name).suffix.lower(), "webdataset")


def test_what_is_not_recognised_is_listed(tmp_path: Path) -> None:
    def message(place: Path | str) -> str:
        with pytest.raises(InputError) as caught:
            opened(place)
        return str(caught.value)

    put(tmp_path, "a.md", "b.md", "c.py", "LICENSE")
    assert "holds 2 .md, 1 no suffix, 1 .py: no image-text pairs that are recognised; give Parquet" in message(tmp_path)
    assert "--format (parquet, urls, paths, arrow, webdataset, coco, table, folder)" in message(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds nothing" in message(tmp_path / "empty")
    put(tmp_path, "images/x.jpg", "picture.jpg")
    assert "none with a caption beside it" in message(tmp_path / "images")
    assert "holds 1 images" in message(tmp_path / "picture.jpg")
    put(tmp_path, "words.txt")
    assert "holds 1 .txt: no image-text pairs" in message(tmp_path / "words.txt")
    put(tmp_path, "jsons/a.json", "jsons/b.json")
    assert "holds 2 .json" in message(tmp_path / "jsons")
    assert "does not exist" in message(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["parquet", "urls", "webdataset", "coco", "table", "folder"])
@pytest.mark.parametrize(
    "place", ["nowhere", "nowhere.csv", "foo://x/y", "memory://nowhere/a", "zip://x::/nowhere.zip"]
)
def test_a_place_that_is_not_there_is_an_input_error(tmp_path: Path, place: str, kind: Format) -> None:
    place = place if "://" in place else str(tmp_path / place)
    with pytest.raises(InputError):
        opened(place, images=tmp_path if kind == "coco" else "")
    with pytest.raises(InputError):
        opened(place, images=tmp_path if kind == "coco" else "", kind=kind)


def test_settings_without_a_meaning_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/0.tar", "b/x.jpg", "b/x.txt", "c/captions.json")
    with pytest.raises(InputError, match="read as webdataset, which has no columns to name"):
        opened(tmp_path / "a", image="jpg")
    with pytest.raises(InputError, match="read as folder, which has its images in itself"):
        opened(tmp_path / "b", images=tmp_path)
    with pytest.raises(InputError, match="read as coco, which has no columns"):
        opened(tmp_path / "c", images=tmp_path, caption="caption")


def test_any_filesystem_that_fsspec_opens_will_do(tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    put(tmp_path, a=IMG2DATASET)
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        archive.write(tmp_path / "a.parquet", "inside/a.parquet")
    fsspec.filesystem("memory").pipe_file(f"/{name}/a.parquet", (tmp_path / "a.parquet").read_bytes())
    places = [f"file://{tmp_path}/a.parquet", f"memory://{name}", f"memory://{name}/", f"memory://{name}/a.parquet",
              f"zip://inside::{tmp_path}/pairs.zip", f"zip://::{tmp_path}/pairs.zip"]  # fmt: skip
    for place in places:
        source = opened(place)
        (batch,) = source.read(source.units(9)[0], 9)
        assert (source.format, batch.images) == ("parquet", [b"i"]), place


def tar_of(*names: str) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return sink.getvalue()


NAMED = [
    ("{00000..00003}.tar", [0, 1, 2, 3]), ("{00001..00003..2}.tar", [1, 3]), ("0000[01].tar", [0, 1]),
    ("*.tar", range(5)),
    ("00000.tar::00002.tar", [0, 2]), ("00000.tar,00002.tar", [0, 2]), ("{00004,0000{0..1}}.tar", [0, 1, 4]),
    ("0000{0,1}.tar::0000[34].tar", [0, 1, 3, 4]), ("?0000.tar,00001.tar", [0, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "numbers"), NAMED)
@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_source_may_be_named_by_lists_braces_and_globs(
    tmp_path: Path, name: str, numbers: Sequence[int], scheme: str
) -> None:
    folder = f"/{uuid.uuid4().hex}" if scheme == "memory://" else str(tmp_path)
    filesystem = fsspec.filesystem("memory" if scheme == "memory://" else "file")
    for number in range(5):
        filesystem.pipe_file(f"{folder}/{number:05d}.tar", tar_of("a.jpg", "a.txt"))
    places = [",".join(f"{scheme}{folder}/{n}" for n in split_at_commas(place)) for place in name.split("::")]
    source = opened("::".join(places))
    assert source.format == "webdataset"
    assert source.files == [f"{number:05d}.tar" for number in numbers]
    again = opened(source.uri)
    assert again.files == source.files
    (batch,) = again.read(again.units(9)[-1], 9)
    assert batch.keys == [f"{source.files[-1]}/a".encode()]


def test_lists_may_reach_over_folders_and_relative_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "x/.keep", "y/z/.keep")
    put(tmp_path, **{"x/0": HUGGING_FACE, "y/0": HUGGING_FACE, "y/z/1": HUGGING_FACE})
    monkeypatch.chdir(tmp_path)
    for uri in ("x::y", "x,y", "{x,y}", "?", "x/0.parquet::y"):
        source = opened(uri)
        assert source.files == ["x/0.parquet", "y/0.parquet", "y/z/1.parquet"]
        monkeypatch.chdir("/")
        assert opened(source.uri).files == source.files
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.zip", "matches nothing"), ("{0..3}.tar", r"0\.tar, of .*, does not exist"), ("a.tar::b.tar", "b.tar, of"),
        ("a.tar,b.tar", "b.tar, of"), ("{0..99999999}.tar", "more than"), ("a.tar::memory://b.tar", "several"),
    ],
)  # fmt: skip
def test_what_a_name_stands_for_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tar").write_bytes(tar_of("a.jpg"))
    with pytest.raises(InputError, match=message):
        opened(name)


def test_a_name_with_such_letters_that_is_there_is_that(tmp_path: Path) -> None:
    for name in ("a,b", "a{0..1}", "[x]*"):
        put(tmp_path, f"{name}/.keep")
        put(tmp_path, **{f"{name}/0": HUGGING_FACE})
        assert opened(tmp_path / name).files == ["0.parquet"]


ODD = "my data, v[2] {x}"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("a,b.parquet,c.parquet", "a,b c"), ("c.parquet,a,b.parquet", "a,b c"), ("a,b.parquet,c*", "a,b c"),
        ("c.parquet, d*", "c d.[1]"), ("d.[1].parquet,c*", "c d.[1]"), ("e{1,2}.parquet,c*", "c e{1,2}"),
        ("{c,d.[1]}.parquet", "c d.[1]"), ("c.parquet::a,b.parquet", "a,b c"), ("f{.parquet,c.parquet", "c f{"),
        (f"{ODD}/0.parquet,{ODD}/1.parquet", "0 1"), (f"{ODD}/[01].parquet", "0 1"), (f"{ODD}/?.*", "0 1"),
        (f"{ODD}/{{0..1}}.parquet", "0 1"), (f"{ODD}/{{0,1}}.parquet", "0 1"), (f"{ODD}::{ODD}/1*", "0 1"),
    ],
)  # fmt: skip
def test_letters_of_patterns_are_letters_in_names_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: str
) -> None:
    odd = [f"{ODD}/0", f"{ODD}/1"]
    (tmp_path / ODD).mkdir()
    put(tmp_path, **dict.fromkeys(["a,b", "c", "d.[1]", "e{1,2}", "f{", *odd], HUGGING_FACE))
    monkeypatch.chdir(tmp_path)
    source = opened(name)
    assert source.files == [f"{file}.parquet" for file in files.split()]
    assert opened(source.uri).files == source.files


@pytest.mark.parametrize("name", ["", " ", ",", "::", " , ::"])
def test_an_empty_name_is_said_to_be_that(name: str) -> None:
    with pytest.raises(InputError, match="the name of the source is empty"):
        opened(name)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("f/*.jpg", "0.jpg 1.jpg 2.jpg"), ("f/*", "0.jpg 1.jpg 2.jpg 3.png"), ("f/{0..1}.jpg", "0.jpg 1.jpg"),
        ("f/1.jpg", "1.jpg"), ("f/0.jpg,f/3.png", "0.jpg 3.png"), ("**/*.jpg", "f/0.jpg f/1.jpg f/2.jpg g/4.jpg"),
        ("f/*.png,g", "f/3.png g/4.jpg"),
    ],
)  # fmt: skip
def test_images_may_be_named_or_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keys: str) -> None:
    for image in ("f/0.jpg", "f/1.jpg", "f/2.jpg", "f/3.png", "g/4.jpg"):
        put(tmp_path, image)
        (tmp_path / image).with_suffix(".txt").write_text(f"of {image[2:]}")
    monkeypatch.chdir(tmp_path)
    source = opened(name)
    pairs = read_all(source)
    assert source.format == "folder"
    assert pairs.keys == [key.encode() for key in keys.split()]
    assert pairs.captions == [f"of {key.split('/')[-1]}".encode() for key in keys.split()]
    assert read_all(opened(source.uri)).keys == pairs.keys


def test_a_file_beside_the_images_that_are_named_changes_no_digest(tmp_path: Path) -> None:
    put(tmp_path, "0.jpg", "1.jpg")
    (tmp_path / "0.txt").write_text("zero")
    digest = opened(tmp_path / "0.jpg").file_digest(".")
    (tmp_path / "1.txt").write_text("one")
    assert opened(tmp_path / "0.jpg").file_digest(".") == digest
    (tmp_path / "0.txt").write_text("another")
    assert opened(tmp_path / "0.jpg").file_digest(".") != digest


def read_all(source: PairSource) -> RawPairs:
    return RawPairs.joined([batch for unit in source.units(9) for batch in source.read(unit, 9)])


def test_paths_in_parquet(tmp_path: Path) -> None:
    put(tmp_path, "sub/x", **{})
    (tmp_path / "0.jpg").write_bytes(b"i0")
    (tmp_path / "sub" / "1.jpg").write_bytes(b"i1")
    put(tmp_path, metadata={"file_name": ["0.jpg", "sub/1.jpg", "../out.jpg"], "text": ["t", "u", "v"]})
    for uri, images in ((tmp_path, ""), (tmp_path / "metadata.parquet", ""), (tmp_path / "metadata.parquet", tmp_path)):
        source = opened(uri, images)
        pairs = read_all(source)
        assert (source.format, source.passed_through.names) == ("paths", ["file_name"])
        assert pairs.images == [b"i0", b"i1", None]
        assert [r and r.reason for r in pairs.rejections] == [None, None, Reason.UNSAFE_PATH]


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_a_folder_that_datasets_saved(tmp_path: Path, new: Any, scheme: str) -> None:
    images = [{"bytes": b"%d" % n, "path": None} for n in range(5)]
    rows = {"image": images, "caption": [["a", "b"], ["c"], ["d"], [], ["e"]]}
    sink = pa.BufferOutputStream()
    with new(sink, pa.table(rows).schema) as writer:
        writer.write_table(pa.table(rows), max_chunksize=2)
    folder = f"/{uuid.uuid4().hex}" if scheme else str(tmp_path)
    filesystem = fsspec.filesystem("memory" if scheme else "file")
    content = sink.getvalue().to_pybytes()
    filesystem.makedirs(f"{folder}/train", exist_ok=True)
    for name in ("data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "cache-0a1b.arrow"):
        filesystem.pipe_file(f"{folder}/train/{name}", content)
    for name in ("dataset_dict.json", "train/dataset_info.json", "train/state.json"):
        filesystem.pipe_file(f"{folder}/{name}", b"{}")
    source = opened(f"{scheme}{folder}")
    assert source.format == "arrow"
    assert source.files == [f"train/data-0000{n}-of-00002.arrow" for n in range(2)]
    pairs = RawPairs.joined([batch for unit in source.units(4) for batch in source.read(unit, 3)])
    assert pairs.images == [b"0", b"0", b"1", b"2", b"3", b"4"] * 2
    assert pairs.captions == [b"a", b"b", b"c", b"d", None, b"e"] * 2
    filesystem.pipe_file(f"{folder}/train/data-00001-of-00002.arrow", content[:-700])
    pairs = read_all(opened(f"{scheme}{folder}"))
    assert pairs.images[:-1] == ([b"0", b"0", b"1", b"2", b"3", b"4"] * 2)[: len(pairs) - 1]
    assert [r and r.reason for r in pairs.rejections] == [None] * (len(pairs) - 1) + [Reason.UNREADABLE_FILE]


@pytest.mark.parametrize("name", ["a.parquet,t.csv", "a.parquet::k.tar", "t.csv,j.json"])
def test_files_of_several_formats_are_not_one_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "k.tar", "j.json", a=HUGGING_FACE)
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,x\n")
    with pytest.raises(InputError, match=r"names files of several formats, such as .* and .*; embed them apart"):
        opened(name)


@pytest.mark.parametrize("name", ["", "{0..1}.json", "*.json", "0.json,1.json", "0.json::1.json"])
def test_several_arrays_of_json_are_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        (tmp_path / f"{number}.json").write_text(f'[{{"image": "{number}.jpg", "caption": "c{number}"}}]')
    source = opened(name or tmp_path)
    assert (source.format, source.files) == ("table", ["0.json", "1.json"])
    assert read_all(source).captions == [b"c0", b"c1"]


def test_urls_in_the_usual_column_of_images(tmp_path: Path, server: Server) -> None:
    server.answers = {f"/{n}": answer(b"%d" % n) for n in range(2)}
    put(tmp_path, a={"image": ["n/a", server.url("/0"), server.url("/1")], "caption": ["t", "u", "v"]})
    for column in ("", "image"):
        pairs = read_all(opened(tmp_path, image=column))
        assert pairs.images == [None, b"0", b"1"]
        assert [r and r.reason for r in pairs.rejections] == [Reason.MISSING_IMAGE, None, None]


@pytest.mark.parametrize("column", ["", "file_name"])
def test_a_path_that_is_not_utf8_costs_its_row(tmp_path: Path, column: str) -> None:
    (tmp_path / "b.png").write_bytes(b"i")
    names = pa.array([b"\xff\xfe", b"b.png"], pa.binary()).view(pa.string())
    put(tmp_path, a={"file_name": names, "caption": ["t", "u"]})
    pairs = read_all(opened(tmp_path / "a.parquet", image=column))
    assert pairs.images == [None, b"i"]
    assert [r and r.reason for r in pairs.rejections] == [Reason.MISSING_IMAGE, None]


def test_base64_behind_the_first_rows_does_not_pass_through(tmp_path: Path) -> None:
    image = encoded_image()
    text = base64.b64encode(image).decode()
    for name, column in (("p", "image"), ("u", "url")):
        names = ["https://a.invalid/x", *["?"] * 80, text]
        put(tmp_path / name, "x")
        put(tmp_path / name, a={column: names, "caption": ["c"] * len(names)})
        source = opened(tmp_path / name)
        unit = source.units(99)[0]
        (batch,) = source.read(unit, 99, [80, 81])
        assert batch.images == [None, image]
        assert batch.passed_through.to_pylist() == [{column: "?"}, {column: None}]


def test_base64_in_parquet(tmp_path: Path) -> None:
    image = encoded_image()
    texts = [base64.b64encode(image).decode(), "data:image/png;base64," + base64.b64encode(image).decode(), "?"]
    put(tmp_path, a={"image": texts, "caption": ["t", "u", "v"], "n": [1, 2, 3]})
    source = opened(tmp_path)
    assert (source.format, source.passed_through.names) == ("paths", ["n"])
    assert read_all(source).images == [image, image, None]
    assert opened(tmp_path, image="image").format == "paths"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.feather", "read_feather"), ("a.tar.zst", "zstd"), ("a.tfrecord", "TFRecords"),
        ("a.zip", "unpack"), ("a.csv.gz", "unpack"), ("a.pkl", "never opened"), ("a.h5", "Parquet"), ("a.xlsx", "CSV"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_told_with_what_converts_it(tmp_path: Path, name: str, advice: str) -> None:
    put(tmp_path, name, "state.txt.md")
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=advice):
            opened(place)


def test_relative_places_are_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "x.jpg")
    (tmp_path / "t.csv").write_text("image,caption\nx.jpg,c\n")
    monkeypatch.chdir(tmp_path)
    for place in ("t.csv", "./t.csv", "."):
        source = opened(place)
        assert source.uri.startswith(str(tmp_path))
        monkeypatch.chdir("/")
        (batch,) = source.read(source.units(9)[0], 9)
        assert (batch.images, batch.rejections) == ([b""], [None])
        monkeypatch.chdir(tmp_path)
