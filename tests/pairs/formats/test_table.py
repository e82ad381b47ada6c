import base64
import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_caption
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.formats.delimited import delimited_rows
from isoenergy.pairs.formats.table import TablePairs
from isoenergy.pairs.opening import open_source, recognised
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import PairColumns, RawPairs, SourceConfig
from tests.pairs.download.server import Server, answer
from tests.pairs.made_up_pairs import encoded_image

FETCH = Downloader(DownloadConfig(allow_loopback=True, retries=0)).fetch


def opened(path: Path, images: Path | str = "", **columns: str) -> TablePairs:
    return TablePairs(str(path), PairColumns(**columns), FETCH, str(images))


def pairs_of(path: Path, content: str | bytes, images: Path | str = "", **columns: str) -> RawPairs:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return everything(opened(path, images, **columns))


def everything(source: TablePairs) -> RawPairs:
    return RawPairs.joined([batch for unit in source.units(100) for batch in source.read(unit, 100)])


def reasons(pairs: RawPairs) -> list[Reason | None]:
    return [rejection and rejection.reason for rejection in pairs.rejections]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a.jpg, b.jpg and c.jpg."""
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(f"image {name}".encode())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'Image,Caption,size\na.jpg,"one, and ""two""",3\n"b.jpg","over\nlines",\n'),
        ("t.csv", '\ufeffImage,Caption,size\r\na.jpg,"one, and ""two""",3\r\n\r\nb.jpg,"over\nlines",""\r\n'),
        ("t.TSV", 'Image\tCaption\tsize\na.jpg\tone, and "two"\t3\nb.jpg\t"over\nlines"\t\n'),
        ("t.jsonl", '{"Image": "a.jpg", "Caption": "one, and \\"two\\"", "size": 3}\n\n  \n'
                    '{"Image": "b.jpg", "Caption": "over\\nlines", "size": ""}'),
    ],
)  # fmt: skip
def test_every_form_of_a_table_gives_the_same_pairs(folder: Path, name: str, content: str) -> None:
    pairs = pairs_of(folder / name, content)
    assert pairs.keys == [f"{name}/000000000".encode(), f"{name}/000000001".encode()]
    assert pairs.images == [b"image a", b"image b"]
    assert pairs.captions == [b'one, and "two"', b"over\nlines"]
    assert reasons(pairs) == [None, None]
    assert pairs.passed_through.to_pylist() == [{"Image": "a.jpg", "size": "3"}, {"Image": "b.jpg", "size": ""}]


def test_keys_and_names_can_be_given(folder: Path) -> None:
    content = "pic,words,uid\na.jpg,x,7\nb.jpg,y,\n"
    pairs = pairs_of(folder / "t.csv", content, image="pic", caption="words")
    assert (pairs.keys, pairs.captions) == ([b"7", b""], [b"x", b"y"])
    assert opened(folder / "t.csv", image="pic", caption="words").keys_may_repeat
    with pytest.raises(InputError, match="no column 'TEXT' for the caption; it has pic, words, uid"):
        opened(folder / "t.csv", image="pic", caption="TEXT")
    with pytest.raises(InputError, match=r"no column for the path: none of .* among pic, words, uid"):
        opened(folder / "t.csv", caption="words")


def test_a_row_with_too_few_or_too_many_cells_is_rejected_alone(folder: Path) -> None:
    pairs = pairs_of(folder / "t.csv", "image,caption\na.jpg\nb.jpg,a cat, sitting\nc.jpg,a dog,,\n")
    assert (pairs.images, pairs.captions) == ([b"image a", None, b"image c"], [None, None, b"a dog"])
    assert reasons(pairs) == [None, Reason.UNREADABLE_ROW, None]
    assert "line 3: 3 cells, but there are 2 columns" in str(pairs.rejections[1])


@pytest.mark.parametrize("bad", ['b.jpg,"never closed', 'b.jpg,"closed" too early', '"b.jpg,x'])
def test_quotes_that_do_not_match_cost_one_row(folder: Path, bad: str) -> None:
    pairs = pairs_of(folder / "t.csv", f'image,caption\na.jpg,"fine"\n{bad}\nc.jpg,"fine\ntoo"\n')
    assert pairs.images == [b"image a", None, b"image c"]
    assert pairs.captions == [b"fine", None, b"fine\ntoo"]
    assert reasons(pairs) == [None, Reason.UNREADABLE_ROW, None]
    assert pairs.keys[1] == b"t.csv/000000001"
    assert str(pairs.rejections[1].detail).startswith("line 3: ")


def test_a_cell_that_is_too_long_costs_one_row(folder: Path) -> None:
    pairs = pairs_of(folder / "t.csv", f"image,caption\na.jpg,{'x' * 200_000}\nb.jpg,fine\n")
    assert reasons(pairs) == [Reason.UNREADABLE_ROW, None]
    assert pairs.captions == [None, b"fine"]


@pytest.mark.parametrize("bad", ['{"image": "b.jpg", "caption"', "[1]", "7", "[" * 100_000, "\x00", '{"a": 1}}'])
def test_a_line_that_is_no_object_is_rejected_alone(folder: Path, bad: str) -> None:
    good = [json.dumps({"image": f"{name}.jpg", "caption": name, "id": n}) for n, name in enumerate("ac")]
    pairs = pairs_of(folder / "t.jsonl", f"{good[0]}\n{bad}\n{good[1]}")
    assert pairs.images == [b"image a", None, b"image c"]
    assert reasons(pairs) == [None, Reason.UNREADABLE_ROW, None]
    assert pairs.keys == [b"0", b"t.jsonl/000000001", b"1"]
    assert pairs.passed_through.to_pylist() == [{"image": "a.jpg"}, {"image": None}, {"image": "c.jpg"}]
    assert str(pairs.rejections[1].detail).startswith("line 2: ")


def test_line_separators_within_json_strings_are_no_line_ends(folder: Path) -> None:
    line = json.dumps({"image": "a.jpg", "caption": "one\u2028two\x85three\x0bfour"}, ensure_ascii=False)
    pairs = pairs_of(folder / "t.jsonl", line + "\r\n")
    assert pairs.captions == ["one\u2028two\x85three\x0bfour".encode()]


def test_values_that_are_not_text(folder: Path) -> None:
    rows = [
        {"image": "a.jpg", "caption": ["x"], "id": True, "tags": ["u", 1]},
        {"image": ["b.jpg"], "caption": 5, "id": 1.5, "tags": None},
        {"image": "c.jpg", "caption": None, "id": 12, "tags": "\ud800"},
        {"other": 1},
    ]
    pairs = pairs_of(folder / "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert pairs.captions == [b"x", None, None, None]
    assert pairs.images == [b"image a", b"image b", b"image c", None]
    assert pairs.keys == [None, None, b"12", None]
    assert pairs.passed_through["tags"].to_pylist() == ['["u", 1]', None, "?", None]
    assert reasons(pairs) == [None, None, None, Reason.MISSING_IMAGE]


def test_text_that_is_not_utf8_costs_its_own_pair(folder: Path) -> None:
    os.rename(folder / "b.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    content = b"image,caption,by\na.jpg,caf\xe9,Andr\xe9\ncaf\xe9.jpg,fine,x\nc.jpg,n\x00l,y\n"
    pairs = pairs_of(folder / "t.csv", content)
    assert pairs.images == [b"image a", b"image b", b"image c"]
    assert pairs.captions[1:] == [b"fine", b"n\x00l"]
    with pytest.raises(Rejected, match="caption_not_utf8"):
        decode_caption(pairs.captions[0])
    assert pairs.passed_through["by"].to_pylist() == ["Andr?", "x", "y"]


def test_the_header_of_a_csv_must_name_each_column_once(folder: Path) -> None:
    with pytest.raises(InputError, match="two columns of one name among image, caption, caption"):
        pairs_of(folder / "t.csv", "image,caption,caption\na.jpg,x,y\n")
    assert pairs_of(folder / "u.csv", ",image, caption\n0,a.jpg,x\n").passed_through.schema.names == [
        "column_0",
        "image",
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n", "image,caption\n", '"image,caption'])
def test_a_table_without_rows_is_an_error(folder: Path, name: str, content: str) -> None:
    with pytest.raises(InputError, match=r"no rows|not a readable table"):
        pairs_of(folder / name, content)


def test_names_that_leave_the_folder_get_nothing(folder: Path) -> None:
    inside = folder / "inside"
    (inside / "sub").mkdir(parents=True)
    (folder / "secret").write_bytes(b"secret")
    (inside / "good.jpg").write_bytes(b"good")
    os.symlink(folder / "secret", inside / "link.jpg")
    os.symlink(folder, inside / "out")
    os.symlink("good.jpg", inside / "inner-link.jpg")
    os.symlink("gone", inside / "dangling.jpg")
    os.symlink("round", inside / "round")
    os.mkfifo(inside / "pipe.jpg")
    unsafe = ["../secret", "sub/../../secret", "/etc/passwd", f"{folder}/secret", "out/../../secret", "..",
              "a\0b", "file:///etc/passwd", "memory://x", "..\\secret", "C:\\secret", "s3:/b/x", "c:"]  # fmt: skip
    missing = ["nowhere.jpg", "sub", ".", "good.jpg/x", "dangling.jpg", "round", "pipe.jpg", "x" * 300]
    good = ["good.jpg", "./good.jpg", "sub/../good.jpg", "sub\\..\\good.jpg", "inner-link.jpg"]
    of_the_owner = ["link.jpg", "out/secret"]
    rows = [json.dumps({"image": name, "caption": "c"}) for name in [*unsafe, *missing, *good, *of_the_owner]]
    pairs = pairs_of(inside / "t.jsonl", "\n".join(rows))
    assert pairs.images == [None] * len(unsafe + missing) + [b"good"] * len(good) + [b"secret"] * 2
    expected = (
        [Reason.UNSAFE_PATH] * len(unsafe) + [Reason.MISSING_IMAGE] * len(missing) + [None] * len(good + of_the_owner)
    )
    assert reasons(pairs) == expected


def test_a_colon_is_a_letter_of_a_name(folder: Path) -> None:
    names = ["12:30.jpg", "a:b.jpg", "of 12:30/a.jpg", "x::y.jpg"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    pairs = pairs_of(folder / "t.csv", "image,caption\n" + "".join(f"{name},c\n" for name in names))
    assert (pairs.images, reasons(pairs)) == ([name.encode() for name in names], [None] * len(names))


def test_the_cache_of_the_hugging_face_hub_is_read(folder: Path) -> None:
    snapshot, blobs = folder / "snapshots" / "abc", folder / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name, content in (
        ("0.jpg", b"i0"),
        ("1.jpg", b"i1"),
        ("metadata.csv", b"file_name,text\n0.jpg,t0\n1.jpg,t1\n"),
    ):
        (blobs / f"blob-of-{name}").write_bytes(content)
        os.symlink(f"../../blobs/blob-of-{name}", snapshot / name)
    pairs = everything(opened(snapshot))
    assert (pairs.images, pairs.captions) == ([b"i0", b"i1"], [b"t0", b"t1"])


def test_images_may_lie_in_another_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "t.csv"
    assert pairs_of(elsewhere, "image,caption\na.jpg,x\n", images=folder).images == [b"image a"]
    with pytest.raises(InputError, match="no folder and no zip of images"):
        opened(elsewhere, images=folder / "nowhere")


def test_images_may_be_urls(folder: Path, server: Server) -> None:
    server.answers = {"/a": answer(b"from the web"), "/gone": answer(status="404 Not Found")}
    content = f"url,caption\n{server.url('/a')},x\n{server.url('/gone')},y\na.jpg,z\n,w\n"
    pairs = pairs_of(folder / "t.csv", content)
    assert pairs.images == [b"from the web", None, b"image a", None]
    assert reasons(pairs) == [None, Reason.HTTP_CLIENT_ERROR, None, Reason.MISSING_IMAGE]
    assert opened(folder / "t.csv").images("t.csv", [0, 1]) == {0: b"from the web", 1: None}


def cells_of_each_kind(server: Server) -> dict[str, tuple[bytes | None, Reason | None]]:
    """With the image and the reason that each gives in a folder with a.jpg."""
    server.answers = {"/1": answer(b"from the web")}
    png = encoded_image()
    text = base64.b64encode(png).decode()
    lines = base64.encodebytes(png).decode()
    return {
        "n/a": (None, Reason.MISSING_IMAGE),
        "//e.invalid/0.jpg": (None, Reason.UNSAFE_PATH),
        "a.jpg": (b"image a", None),
        server.url("/1"): (b"from the web", None),
        text: (png, None),
        lines: (png, None),
        f"b'{text}'": (png, None),
        f"data:image/png;base64,{text}": (png, None),
        f"data:image/png;charset=utf-8;base64,{lines}": (png, None),
        f"data:;base64,{text}": (png, None),
        f"data:application/octet-stream;base64,{text}": (png, None),
        "data:image/svg+xml,%3Csvg/%3E": (b"<svg/>", None),
        "data:image/png;base64,?": (None, Reason.UNREADABLE_IMAGE),
    }


@pytest.mark.parametrize("first", [0, 3, 4])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_each_cell_is_taken_for_what_it_is(folder: Path, server: Server, kind: str, first: int) -> None:
    cells = list(cells_of_each_kind(server).items())
    cells = [*cells[first:], *cells[:first]]
    names = [name for name, _ in cells]
    table = folder / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"image": names, "caption": ["c"] * len(names)}), table)
    elif kind == "jsonl":
        table.write_text("\n".join(json.dumps({"image": name, "caption": "c"}) for name in names))
    else:
        table.write_text("image,caption\n" + "".join(f'"{name}",c\n' for name in names))
    source = open_source(SourceConfig(str(table)), FETCH)
    pairs = RawPairs.joined([batch for unit in source.units(100) for batch in source.read(unit, 5)])
    assert [(image, why) for image, why in zip(pairs.images, reasons(pairs), strict=True)] == [
        expected for _, expected in cells
    ]
    passed = str(pairs.passed_through.to_pylist())
    assert "base64" not in passed
    assert "iVBOR" not in passed


def test_a_folder_of_tables_is_a_source_and_one_named_for_it_is_preferred(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "d.jpg").write_bytes(b"image d")
    (folder / "1.csv").write_text("image,caption,by\na.jpg,x,me\n")
    (folder / "sub" / "2.jsonl").write_text('{"file_name": "d.jpg", "text": "y", "id": "k"}')
    source = opened(folder)
    pairs = everything(source)
    assert source.files == ["1.csv", "sub/2.jsonl"]
    assert source.keys_may_repeat
    assert (pairs.keys, pairs.images) == ([b"1.csv/000000000", b"k"], [b"image a", b"image d"])
    assert pairs.passed_through.to_pylist() == [
        {"image": "a.jpg", "by": "me", "file_name": None}, {"image": None, "by": None, "file_name": "d.jpg"}
    ]  # fmt: skip
    (folder / "sub" / "metadata.csv").write_text("file_name,text\nd.jpg,z\n")
    assert opened(folder).files == ["sub/metadata.csv"]
    assert everything(opened(folder)).captions == [b"z"]


def test_a_table_that_changes_while_it_is_read_is_an_error_of_its_unit(folder: Path) -> None:
    (folder / "t.csv").write_text("image,caption\na.jpg,x\nb.jpg,y\n")
    source = opened(folder / "t.csv")
    (unit,) = source.units(9)
    (folder / "t.csv").write_text("image,caption\na.jpg,x\n")
    with pytest.raises(OSError, match="had 2 pairs when the source was opened and has 1 now"):
        list(source.read(unit, 9))


# --- rows in are the rows that are there ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        ('image\tcaption\na.jpg\t"Hello\nb.jpg\tworld"\nc.jpg\tfine\n', ['"Hello', 'world"', "fine"]),
        ('image\tcaption\na.jpg\t"never closed\nb.jpg\tx\nc.jpg\ty\n', ['"never closed', "x", "y"]),
        ('image\tcaption\na.jpg\t"one" and "two"\nb.jpg\t"\nc.jpg\t5" long\n', ['"one" and "two"', '"', '5" long']),
        ('image\tcaption\na.jpg\t"x\n\nb.jpg\ty"\nc.jpg\t"whole ""cell"""\n', ['"x', 'y"', 'whole "cell"']),
        ('image\tcaption\na.jpg\t"over\nlines"\nb.jpg\tx\nc.jpg\ty', ["over\nlines", "x", "y"]),
        ("image\tcaption\na.jpg\tx\rz\nb.jpg\ty\nc.jpg\tz", ["x\rz", "y", "z"]),
    ],
)
def test_a_quote_in_tsv_joins_and_loses_no_lines(folder: Path, content: str, captions: list[str]) -> None:
    pairs = pairs_of(folder / "t.tsv", content)
    assert pairs.images == [b"image a", b"image b", b"image c"]
    assert pairs.captions == [caption.encode() for caption in captions]
    assert reasons(pairs) == [None] * 3


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_a_quote_in_csv_that_closes_in_a_row_further_on_costs_its_line(folder: Path, separator: str) -> None:
    content = 'image,caption\na.jpg,"open\nb.jpg,x\n\nc.jpg,y"\na.jpg,"over\nlines, all"\n'.replace(",", separator)
    pairs = pairs_of(folder / "t.csv", content)
    assert pairs.images == [None, b"image b", b"image c", b"image a"]
    assert pairs.captions == [None, b"x", b'y"', f"over\nlines{separator} all".encode()]
    assert reasons(pairs) == [Reason.UNREADABLE_ROW, None, None, None]
    assert pairs.rejections[0].detail.startswith("line 2: ")


def test_a_quote_in_csv_joins_no_rows_whose_images_have_no_suffix(folder: Path) -> None:
    for name in "abcd":
        (folder / name).write_bytes(f"image {name}".encode())
    pairs = pairs_of(folder / "t.csv", 'image,caption\na,"hello\nb,world\nc,bye"\nd,see\na,"over\nlines"\n')
    assert pairs.images == [None, b"image b", b"image c", b"image d", b"image a"]
    assert pairs.captions == [None, b"world", b'bye"', b"see", b"over\nlines"]
    assert reasons(pairs) == [Reason.UNREADABLE_ROW, None, None, None, None]


@pytest.mark.parametrize("image", ["a", "a.jpg"])
@pytest.mark.parametrize("kind", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("order", [["image", "caption"], ["caption", "image"], ["id", "caption", "image", "note"]])
def test_a_quoted_caption_of_several_lines_is_one(folder: Path, image: str, kind: str, order: list[str]) -> None:
    (folder / "a").write_bytes(b"image a.jpg")
    (folder / "a.jpg").write_bytes(b"image a.jpg")
    texts = [
        "plain",
        "one line\nand another, with commas\nthe third",
        'he said, "hi"\nand left',
        "so, then\nit is, here",
    ]
    rows = [dict(zip(order, map({"image": image, "caption": text}.get, order), strict=True)) for text in texts]
    with (folder / kind).open("w", newline="") as file:
        writer = csv.DictWriter(file, order, delimiter="\t" if kind == "t.tsv" else ",", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    pairs = everything(opened(folder / kind, key="none"))
    assert reasons(pairs) == [None] * 4
    assert pairs.images == [b"image a.jpg"] * 4
    assert pairs.captions == [text.encode() for text in texts]


@pytest.mark.parametrize("suffix", ["", ".jpg"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_quote_joins_no_rows_whose_captions_come_first(folder: Path, suffix: str, separator: str) -> None:
    for name in "abc":
        (folder / f"{name}{suffix}").write_bytes(f"image {name}".encode())
    lines = [("caption", "image"), ('"open', f"a{suffix}"), ("plain", f"b{suffix}"), ('closed"', f"c{suffix}")]
    content = "".join(f"{separator.join(cells)}\n" for cells in lines)
    pairs = pairs_of(folder / ("t.tsv" if separator == "\t" else "t.csv"), content)
    assert len(pairs) == 3
    assert pairs.images[1:] == [b"image b", b"image c"]
    assert pairs.captions[1:] == [b"plain", b'closed"']
    assert pairs.captions[0] == (b'"open' if separator == "\t" else None)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("t.csv", "a.jpg,a dog\nb.jpg,a cat\n", (1, 2)),
        ("t.tsv", "a dog\thttps://x.org/1\na cat\thttps://x.org/2\n", (2, 1)),
        ("t.csv", "7|a.jpg|0|two dogs on a hill\n8|b.jpg|1|x\n", (2, 4)), ("t.csv", "a.jpg\nb.jpg\n", (1, 2)),
    ],
)  # fmt: skip
def test_a_table_without_a_header_says_how_to_name_its_columns(
    folder: Path, name: str, content: str, columns: tuple[int, int]
) -> None:
    message = r"has no header: .* --columns.image {} --columns.caption {}".format(*columns)
    with pytest.raises(InputError, match=message):
        pairs_of(folder / name, content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.tar", "a.arrow"])
@pytest.mark.parametrize(("content", "what"), [(LFS, "a Git LFS pointer"), (b"PK\x03\x04\x14\0\0\0", "a zip")])
def test_a_source_that_is_something_else_says_what_it_is(folder: Path, name: str, content: bytes, what: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} .*it is {what}"):
        open_source(SourceConfig(str(folder / name), images=str(folder) if name == "a.json" else ""), FETCH)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (["a.jpg"], None), (["a.jpg", "b.jpg"], "2 images are named"), (7, "'7' names no image"),
        ({"path": "a.jpg"}, None), (None, "no image is named"),
    ],
)  # fmt: skip
def test_a_row_that_names_no_one_image_says_why(folder: Path, image: Any, why: str | None) -> None:
    rows = [{"image": image, "caption": "x"}, {"image": "b.jpg", "caption": "y"}]
    pairs = pairs_of(folder / "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert pairs.images == [None if why else b"image a", b"image b"]
    assert pairs.rejections[1] is None
    if why:
        with pytest.raises(Rejected, match=why):
            raise pairs.rejections[0]


def test_objects_by_key_are_rows_and_objects_by_column_are_said_to_be_that(folder: Path) -> None:
    rows = {"k": {"image": "a.jpg", "caption": "x"}, "l": {"image": "b.jpg", "caption": "y"}}
    pairs = pairs_of(folder / "t.json", json.dumps(rows))
    assert (pairs.keys, pairs.images, pairs.captions) == ([b"k", b"l"], [b"image a", b"image b"], [b"x", b"y"])
    for columns in ({"image": {"0": "a.jpg"}, "caption": {"0": "x"}}, {"image": ["a.jpg"], "caption": ["x"]}):
        with pytest.raises(InputError, match="for each column; write it as an array of objects"):
            pairs_of(folder / "t.json", json.dumps(columns))


def test_a_message_in_parts_is_its_text(folder: Path) -> None:
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [{"type": "text", "text": "a dog"}]}]
    assert pairs_of(folder / "t.jsonl", json.dumps({"image": "a.jpg", "messages": said})).captions == [b"a dog"]


def test_a_caption_of_several_lines_of_which_one_looks_like_a_row_makes_no_pair_of_it(folder: Path) -> None:
    pairs = pairs_of(folder / "t.csv", 'image,caption\na.jpg,"see\nb.jpg, fine\nok"\nc.jpg,x\n')
    assert pairs.images == [None, None, None, b"image c"]
    assert reasons(pairs) == [Reason.UNREADABLE_ROW] * 3 + [None]
    assert pairs.rejections[1].detail.startswith("line 3: lines 2 to 4 are one row by their quotes")


@pytest.mark.parametrize("content", ['image,"caption\na.jpg,hi\nb.jpg,ho\n', 'image,"caption\na.jpg,hi\nb.jpg,"\n'])
def test_a_quote_in_the_header_takes_no_rows_with_it(folder: Path, content: str) -> None:
    with pytest.raises(InputError, match="header"):
        pairs_of(folder / "t.csv", content)
    assert pairs_of(folder / "u.csv", 'image,caption,"by\nwhom"\na.jpg,x,y\n').captions == [b"x"]
    assert pairs_of(folder / "t.tsv", 'image\tcaption\t"by\na.jpg\tx\ty\n').captions == [b"x"]


@pytest.mark.parametrize(
    "content",
    [
        "\n\nimage,caption\na.jpg,x\n", "sep=;\nimage;caption\na.jpg;x\n", "sep=:\r\nimage:caption\r\na.jpg:x\r\n",
        "image,caption\ra.jpg,x\r", 'image,by,caption\ra.jpg,"me\nyou",x\r',
    ],
)  # fmt: skip
def test_what_excel_and_old_programs_write(folder: Path, content: str) -> None:
    pairs = pairs_of(folder / "t.csv", content)
    assert (pairs.images, pairs.captions, reasons(pairs)) == ([b"image a"], [b"x"], [None])


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "image,caption\r\na.jpg,süß\r\n"), ("t.txt.tsv", "image\tcaption\na.jpg\tsüß\n"),
        ("t.jsonl", '{"image": {"path": "a.jpg", "bytes": null}, "caption": "süß"}\n'),
    ],
)  # fmt: skip
def test_tables_in_utf_16(folder: Path, coding: str, name: str, content: str) -> None:
    mark = "" if coding == "utf-16" else "\ufeff"
    pairs = pairs_of(folder / name, (mark + content).encode(coding))
    assert (pairs.images, pairs.captions) == ([b"image a"], ["süß".encode()])


def test_a_first_row_that_is_short_costs_itself_alone(folder: Path) -> None:
    pairs = pairs_of(folder / "t.tsv", "a.jpg\nb.jpg\ty\t8\nc.jpg\tz\t9\n", image="1", caption="2")
    assert (pairs.images, pairs.captions) == ([b"image a", b"image b", b"image c"], [None, b"y", b"z"])


@given(st.lists(st.text(alphabet='ab",\t ;', max_size=6), min_size=1, max_size=12), st.sampled_from(["csv", "tsv"]))
@settings(max_examples=200, deadline=None)
def test_every_line_is_one_row_or_one_rejection(cells: list[str], kind: str) -> None:
    separator = "," if kind == "csv" else "\t"
    lines = [f"{number}.jpg{separator}{cell}" for number, cell in enumerate(cells)]
    text = "\n".join([f"image{separator}caption", *lines]) + "\n"
    rows = delimited_rows(text, f"t.{kind}", PairColumns())
    named = [row["image"] if isinstance(row, dict) else f"{int(row.split()[1][:-1]) - 2}.jpg" for row in rows]
    assert named == [f"{number}.jpg" for number in range(len(cells))]


@pytest.mark.parametrize("separator", [";", "|", "\t", " | "])
def test_other_separators_are_recognised(folder: Path, separator: str) -> None:
    content = f"image{separator}caption{separator}n\na.jpg{separator}one, and two{separator}3\n"
    pairs = pairs_of(folder / "t.csv", content)
    assert (pairs.images, pairs.captions) == ([b"image a"], [b"one, and two"])
    assert pairs.passed_through.to_pylist() == [{"image": "a.jpg", "n": "3"}]


def test_a_separator_may_be_given(folder: Path) -> None:
    assert pairs_of(folder / "t.csv", "image:caption,x\na.jpg:c,y\n", separator=":", caption="caption,x").captions == [
        b"c,y"
    ]
    with pytest.raises(InputError, match="must be one character"):
        PairColumns(separator="ab")


def test_columns_of_a_table_without_a_header_are_numbers(folder: Path) -> None:
    pairs = pairs_of(folder / "t.tsv", "a.jpg\tx\t7\nb.jpg\ty\t8\n", image="1", caption="2", key="3")
    assert (pairs.images, pairs.captions, pairs.keys) == ([b"image a", b"image b"], [b"x", b"y"], [b"7", b"8"])
    assert pairs_of(folder / "u.csv", "1,2\na.jpg,x\n", image="1", caption="2").captions == [b"x"]


def test_a_key_column_may_be_left_out(folder: Path) -> None:
    pairs = pairs_of(folder / "t.csv", "id,image,caption\n7,a.jpg,x\n7,a.jpg,y\n", key="none")
    assert pairs.keys == [b"t.csv/000000000", b"t.csv/000000001"]
    assert pairs.passed_through["id"].to_pylist() == ["7", "7"]


# --- JSON ----------------------------------------------------------------------------------------------------------

LLAVA = [{"id": "7", "image": "a.jpg", "conversations": [
    {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}, {"from": "gpt", "value": "No."}
]}]  # fmt: skip
ALBEF = [
    {"image": "a.jpg", "caption": "x", "image_id": "0"},
    {"image": "b.jpg", "caption": ["y", "z"], "image_id": "1"},
]
KARPATHY = {"dataset": "coco", "images": [{"filepath": "sub", "filename": "a.jpg", "imgid": 0, "split": "val",
            "sentences": [{"raw": "x", "tokens": ["x"]}, {"raw": "y", "tokens": ["y"]}]}]}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "images", "captions"),
    [
        (json.dumps(LLAVA), ["a"], ["A cat."]),
        (json.dumps(ALBEF), ["a", "b", "b"], ["x", "y", "z"]),
        (json.dumps(KARPATHY), ["a", "a"], ["x", "y"]),
        (json.dumps({"a.jpg": "x", "b.jpg": ["y", "z"]}), ["a", "b", "b"], ["x", "y", "z"]),
        ("\n".join(map(json.dumps, ALBEF)), ["a", "b", "b"], ["x", "y", "z"]),
        (json.dumps(ALBEF, indent=1), ["a", "b", "b"], ["x", "y", "z"]),
    ],
)
def test_forms_of_json(folder: Path, content: str, images: list[str], captions: list[str]) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.jpg").write_bytes(b"image a")
    (folder / "t.json").write_text(content)
    assert recognised(str(folder / "t.json"), PairColumns()) == "table"
    pairs = everything(opened(folder / "t.json"))
    assert pairs.images == [f"image {name}".encode() for name in images]
    assert pairs.captions == [caption.encode() for caption in captions]
    assert len(set(pairs.keys)) == len(pairs)


def everything_in_json(folder: Path, content: str | bytes, name: str = "t.json") -> RawPairs:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = open_source(SourceConfig(str(folder / name)), FETCH)
    assert source.format == "table"
    return RawPairs.joined([batch for unit in source.units(100) for batch in source.read(unit, 100)])


GOOD = {"image": "a.jpg", "caption": "x"}


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        {"data": [GOOD]},
        {"info": [{"v": 1}], "data": [GOOD]},
        {"info": {"image": "?", "caption": "?"}, "rows": [GOOD], "none": [], "names": ["x"]},
        {"a.jpg": "x"},
    ],
)
def test_an_object_has_the_rows_that_are_in_it(folder: Path, content: dict) -> None:
    pairs = everything_in_json(folder, json.dumps(content))
    assert (pairs.images, pairs.captions, reasons(pairs)) == ([b"image a"], [b"x"], [None])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": [GOOD], "val": [GOOD]}, "several arrays of objects, train, val; give each as a file of its own"),
        ({"image": ["a.jpg"], "caption": ["x"]}, "holds a list for each column"),
        ({"train": "x", "val": ["y"]}, "no column for the path: none of .* among train, val"),
        ({}, "there are no rows"), ([], "there are no rows"), ([{}], "its objects are empty"), (3, "holds no rows"),
    ],
)  # fmt: skip
def test_json_that_has_no_rows_says_what_it_has(folder: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        everything_in_json(folder, json.dumps(content))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'"bad"', Reason.UNREADABLE_ROW), (b"null", Reason.UNREADABLE_ROW), (b"7", Reason.UNREADABLE_ROW),
        (b'{"image": "b.jpg", "caption": }', Reason.UNREADABLE_ROW),
        (b'{"image": "b.jpg" "caption": "],"}', Reason.UNREADABLE_ROW),
        (b"[" * 100_000 + b"]" * 100_000, Reason.UNREADABLE_ROW),
        (b'{"image": "b.jpg", "caption": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.UNREADABLE_ROW),
        (b'{"image": "b.jpg", "caption": "y", "n": ' + b"1" * 5000 + b"}", None),
        (b'{"image": "b.jpg", "caption": "caf\xe9"}', None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_entry_of_an_array_costs_itself_alone(
    folder: Path, bad: bytes, reason: Reason | None, name: str, first: bool
) -> None:
    good = [json.dumps({"image": f"{letter}.jpg", "caption": letter}).encode() for letter in "ac"]
    entries = [bad, *good] if first else [good[0], bad, good[1]]
    pairs = everything_in_json(folder, b"[\n" + b",\n".join(entries) + b"\n]\n", name)
    place = 0 if first else 1
    assert reasons(pairs) == [reason if number == place else None for number in range(3)]
    assert [image for number, image in enumerate(pairs.images) if number != place] == [b"image a", b"image c"]
    assert pairs.keys == [f"{name}/{number:09d}".encode() for number in range(3)]
    if bad.endswith(b'\xe9"}'):
        with pytest.raises(Rejected, match="caption_not_utf8"):
            decode_caption(pairs.captions[place])


def test_an_array_that_is_cut_short_keeps_its_rows(folder: Path) -> None:
    content = json.dumps([GOOD, GOOD, GOOD])
    pairs = everything_in_json(folder, content[:-12])
    assert reasons(pairs) == [None, None, Reason.UNREADABLE_ROW]


@pytest.mark.parametrize("value", ["null", "5", "{}"])
def test_a_bad_caption_of_an_image_costs_itself_alone(folder: Path, value: str) -> None:
    pairs = everything_in_json(folder, f'{{"a.jpg": "x", "b.jpg": {value}, "c.jpg": ["z"]}}')
    assert (pairs.images, pairs.captions) == ([b"image a", b"image b", b"image c"], [b"x", None, b"z"])


def test_a_bad_first_line_of_json_lines_costs_itself_alone(folder: Path) -> None:
    pairs = everything_in_json(folder, f"{{bad\n{json.dumps(GOOD)}\n")
    assert (pairs.images, reasons(pairs)) == ([None, b"image a"], [Reason.UNREADABLE_ROW, None])


def test_coco_with_a_byte_that_is_not_utf8_is_coco(folder: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 2, "image_id": 1, "caption": "CAP"}]}
    (folder / "c.json").write_bytes(json.dumps(content).encode().replace(b"CAP", b"caf\xe9"))
    source = open_source(SourceConfig(str(folder / "c.json"), images=str(folder)), FETCH)
    (pairs,) = source.read(source.units(9)[0], 9)
    assert (source.format, pairs.images) == ("coco", [b"image a"])
    with pytest.raises(Rejected, match="caption_not_utf8"):
        decode_caption(pairs.captions[0])


def test_names_that_arrow_cannot_hold_are_made_so(folder: Path) -> None:
    row = {"image": "a.jpg", "caption": "x", "": 1, "\ud800": 2, "?": 3}
    pairs = pairs_of(folder / "t.jsonl", json.dumps(row))
    assert pairs.passed_through.to_pylist() == [{"image": "a.jpg", "": "1", "?": "2", "?_2": "3"}]
    pairs = pairs_of(folder / "t.csv", b"image,caption,pr\xe9nom\na.jpg,x,y\n")
    assert pairs.passed_through.to_pylist() == [{"image": "a.jpg", "pr?nom": "y"}]


# --- base64 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_images_may_stand_in_the_table_in_base64(folder: Path, form: str, name: str) -> None:
    image = encoded_image(size=(300, 300))
    text = form.format(base64.b64encode(image).decode())
    assert len(text) > 131_072
    rows = [{"image_base64": text, "caption": "x"}, {"image_base64": text[:-9] + "!" * 9, "caption": "y"}]
    separator = "\t" if name == "t.tsv" else ","
    cells = [f'"{row["image_base64"]}"{separator}{row["caption"]}' for row in rows]
    lines = [json.dumps(row) for row in rows] if name == "t.jsonl" else [f"image_base64{separator}caption", *cells]
    pairs = pairs_of(folder / name, "\n".join(lines))
    assert pairs.images == [image, None]
    assert reasons(pairs) == [None, Reason.UNREADABLE_IMAGE]
    assert pairs.passed_through.schema.names == []
