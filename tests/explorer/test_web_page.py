"""What the server answers, and to whom."""

import io
import json
import re
import socket
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from isoenergy.errors import InputError
from isoenergy.explorer import web_page as module
from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.notes import NoteChanged, Notes
from isoenergy.explorer.serving import ServedPage, explore, named_saes, open_exploration
from isoenergy.explorer.taken_port import bound
from isoenergy.explorer.web_page import LOOPBACK, TOKEN_HEADER, Access, web_page
from isoenergy.fitting import Fit
from isoenergy.store import EmbeddingStore
from isoenergy.store.vector_sources import open_vectors
from tests.explorer.small_exploration import (
    HOSTILE,
    KnowingEncoder,
    arrays,
    caption_of,
    explored,
    make_sae,
    make_store,
    png,
)
from workflows.training.vector_stores import VectorCopy

TOKEN = {TOKEN_HEADER: "secret"}


@pytest.fixture(scope="module")
def exploration(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    return explored(tmp_path_factory.mktemp("web"), pictures=True)


def client_of(exploration: Exploration, host: str = "127.0.0.1:8600", **access: object) -> TestClient:
    app = web_page(exploration, Access(**({"token": "secret"} | access)))  # type: ignore[arg-type]
    return TestClient(app, base_url=f"http://{host}", headers=TOKEN)


@pytest.fixture
def client(exploration: Exploration) -> TestClient:
    return client_of(exploration)


def test_data_are_for_who_has_the_token(exploration: Exploration):
    client = client_of(exploration)
    assert client.get("/api/about").status_code == 200
    for headers in ({TOKEN_HEADER: ""}, {TOKEN_HEADER: "secret2"}, {TOKEN_HEADER: "sécret".encode()}):
        answer = client.get("/api/about", headers=headers)
        assert answer.status_code == 401
        assert "token" in answer.json()["error"]
    assert client.get("/api/about?token=secret", headers={TOKEN_HEADER: ""}).status_code == 401
    assert client.get("/", headers={TOKEN_HEADER: ""}).status_code == 200, "the page itself holds no data"
    assert client_of(exploration, token="").get("/api/about", headers={TOKEN_HEADER: ""}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", "localhost.", ""])
def test_a_site_that_has_our_address_for_its_own_is_turned_away(client: TestClient, host: str):
    assert client.get("/api/about", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:99", "LOCALHOST", "[::1]:8600"])
def test_the_loopback_has_its_names(client: TestClient, host: str):
    assert client.get("/api/about", headers={"host": host}).status_code == 200


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient):
    for path in ("/", "/main.js", "/api/about", "/api/atoms/99999", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/../notes.json", "/%2e%2e/notes.json", "/page/../../notes.py", "/web_page.py", "/__init__.py", "//etc/passwd"],
)
def test_only_the_page_is_served(client: TestClient, path: str):
    assert client.get(path).status_code == 404


def test_its_files_are_all_there_and_ask_nothing_elsewhere(client: TestClient):
    page = client.get("/").text
    assert page == client.get("/index.html").text
    for name in (
        "main.js",
        "address.js",
        "ask.js",
        "atoms.js",
        "atom.js",
        "map.js",
        "compare.js",
        "parts.js",
        "server.js",
        "page.css",
    ):
        found = client.get(f"/{name}")
        assert found.status_code == 200
        assert "//cdn" not in found.text
        assert "https://" not in found.text
        assert "innerHTML" not in found.text
        assert "insertAdjacentHTML" not in found.text
        assert "eval(" not in found.text
    assert "https://" not in page
    assert "<script>" not in page
    assert "style=" not in page


def test_a_text_an_image_and_a_pair_are_asked(client: TestClient):
    by_text = client.post("/api/ask", json={"terms": [{"text": caption_of(12)}], "count": 5}).json()
    assert {key: by_text["ways"]["original"]["neighbours"][0][key] for key in ("pair", "side")} == {
        "pair": 12,
        "side": 1,
    }
    assert by_text["captions"]["12"] == caption_of(12)
    image = client.post("/api/image", content=png(20)).json()
    by_image = client.post("/api/ask", json={"terms": [image], "ways": ["original", "centred"], "count": 5}).json()
    assert set(by_image["ways"]) == {"original", "centred"}
    first = by_image["ways"]["original"]["neighbours"][0]
    assert (first["pair"], first["side"]) == (20, 0)
    by_pair = client.post("/api/ask", json={"terms": [{"pair": 20, "side": 0}], "ways": ["original"]}).json()
    atoms = [{row["atom"] for row in each["atoms"]} for each in (by_image, by_pair)]
    assert atoms[0] == atoms[1]
    assert by_pair["ways"]["original"]["partner"] is not None


def test_what_cancels_is_nothing_that_could_be_rebuilt(client: TestClient):
    one, other = {"text": caption_of(12)}, {"text": caption_of(12), "weight": -1}
    found = client.post("/api/ask", json={"terms": [one, other], "ways": ["original"]}).json()
    assert found["whole"] == {"error": None, "cosine": None, "scale": 1}
    assert found["ways"]["original"]["neighbours"] == []
    added = client.post("/api/ask", json={"terms": [one, other], "coefficients": {"5": 0.5}}).json()
    assert added["ways"]["original"]["neighbours"]
    left = client.post("/api/ask", json={"terms": [one]}).json()["whole"]
    assert 0 < left["error"] < 1


def test_a_text_that_the_encoder_does_not_read_to_its_end_says_how_much_it_reads(client: TestClient):
    read = " ".join(f"word{number}" for number in range(20))
    for end, cut in (
        ("", []),
        (" …", []),
        (" and more", [{"text": f"{read} and more", "read": len(read), "of": len(read) + 9}]),
    ):
        answer = client.post("/api/ask", json={"terms": [{"text": read + end}]}).json()
        assert answer["cut"] == cut
    assert client.post("/api/ask", json={"terms": [{"pair": 3, "side": 0}]}).json()["cut"] == []


def test_words_that_the_encoder_does_not_know_are_told(client: TestClient):
    for text, unknown in ((caption_of(3), []), ("a 猫 of 😀", ["猫", "😀"])):
        assert client.post("/api/ask", json={"terms": [{"text": text}]}).json()["unknown"] == unknown
    assert client.post("/api/ask", json={"terms": [{"pair": 3, "side": 0}]}).json()["unknown"] == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "one to 4 terms"),
        ({"terms": [{"text": " "}]}, "1 to 2,000 letters"),
        ({"terms": [{"text": "x" * 2001}]}, "1 to 2,000 letters"),
        ({"terms": ["x"]}, "a term is"),
        ({"terms": [{"pair": 150, "side": 0}]}, "pair must be a whole number from 0 to 149"),
        ({"terms": [{"pair": "1e3", "side": 0}]}, "pair must be"),
        ({"terms": [{"pair": 3, "side": 2}]}, "side must be"),
        ({"terms": [{"row": "AAAAAA==", "side": 0}]}, "12 finite numbers"),
        ({"terms": [{"row": "*", "side": 0}]}, "a term is"),
        ({"terms": [{"pair": 3, "side": 0}], "coefficients": {"40": 1}}, "atom must be"),
        ({"terms": [{"pair": 3, "side": 0}], "coefficients": {"4": 1e9}}, "between ±1000"),
        ({"terms": [{"pair": 3, "side": 0}], "coefficients": {"4": True}}, "between ±1000"),
        ({"terms": [{"pair": 3, "side": 0}], "ways": ["no"]}, "no way 'no'"),
        ({"terms": [{"pair": 3, "side": 0}], "count": 10_000}, "count must be"),
        ({"terms": [{"pair": 3, "side": 0}], "sae": "third"}, "no autoencoder"),
        ({"terms": [{"pair": 3, "side": 0}], "sae": ["zz"]}, "no autoencoder \"['zz']\"; there are first, second"),
        ({"terms": [{"pair": 3, "side": 0}], "ways": [["a"]]}, "no way \"['a']\"; there are original"),
        ({"terms": [{"pair": 3, "side": 0}], "ways": "original"}, "ways are a list of names, got 'original'"),
        ({"terms": [{"pair": 3, "side": 0, "weight": 1e308}]}, "weight of a term must be a number between ±1000"),
        ({"terms": [{"pair": 3, "side": 0, "weight": 2}]}, "the first term has weight 1"),
        ({"terms": [{"pair": "3" + 5000 * "0", "side": 0}]}, "pair must be a whole number from 0 to 149"),
        ({"terms": [{"text": "a\ud800"}]}, r"a text must be Unicode, got half of a surrogate pair ('\ud800')"),
        ([], "must be an object"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(client: TestClient, asked: object, said: str):
    answer = client.post("/api/ask", content=json.dumps(asked))
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_what_is_no_json_says_so(client: TestClient):
    assert client.post("/api/ask", content=b"{").status_code == 422
    infinite = b'{"terms":[{"pair":3,"side":0,"weight":1}],"coefficients":{"4":Infinity}}'
    assert client.post("/api/ask", content=infinite).status_code == 422
    no_number = client.post("/api/ask", content=b'{"terms":[{"pair":3,"side":0,"weight":NaN}]}')
    assert "between ±1000, got 'nan'" in no_number.json()["error"]
    deep = b"[" * 500_000
    assert client.post("/api/ask", content=deep).status_code == 422
    assert client.put("/api/atoms/4/note", content=deep).status_code == 422


def claiming(raw: bytes, size: int) -> bytes:
    """A PNG whose header says that it has `size` × `size` pixels."""
    header = b"IHDR" + struct.pack(">II", size, size) + raw[24:29]
    return raw[:12] + header + struct.pack(">I", zlib.crc32(header)) + raw[33:]


def test_uploads_have_limits(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    huge = client.post("/api/image", content=png(1, 8000))
    assert huge.status_code == 422
    assert "pixels" in huge.json()["error"]
    assert client.post("/api/image", content=b"not an image").status_code == 422
    assert client.post("/api/image", content=b"").json() == {"error": "the image cannot be read: it is empty"}
    jpeg = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(jpeg, "JPEG")
    cut = client.post("/api/image", content=jpeg.getvalue()[:1500]).json()
    assert cut == {"error": "the image cannot be read: it is cut short"}
    bomb = client.post("/api/image", content=claiming(png(1), 30_000)).json()
    assert "50,000,000 are decoded" in bomb["error"]
    assert "bomb" not in bomb["error"]
    monkeypatch.setattr(module, "MAX_UPLOAD_BYTES", 1000)
    for content in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        answer = client.post("/api/image", content=content)
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.json()["error"]
    assert client.post("/api/ask", content=b" " * (module.MAX_JSON_BYTES + 1)).status_code == 413


def test_a_length_that_lies_is_no_way_around_the_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_UPLOAD_BYTES", 1000)
    answer = client.post("/api/image", content=iter([b"x" * 2000]), headers={"content-length": "3"})
    assert answer.status_code == 413


def test_pictures_are_webp_and_those_that_are_not_there_are_null(client: TestClient):
    found = client.get("/api/pictures?pairs=3,5").json()
    assert set(found) == {"3", "5"}
    assert all(each.startswith("data:image/webp;base64,") for each in found.values())
    assert client.get("/api/pictures?pairs=3,-5").status_code == 422
    assert client.get("/api/pictures?pairs=150").status_code == 422
    assert client.get(f"/api/pictures?pairs={','.join(['1'] * 201)}").status_code == 422


def test_notes_are_written_kept_taken_away_and_exported(client: TestClient):
    path = "/api/atoms/4/note?sae=second"
    assert client.put(path, json={"text": f" {HOSTILE} ", "read": ""}).json() == {"note": HOSTILE}
    assert client.get("/api/atoms/4?sae=second").json()["note"] == HOSTILE
    assert client.get("/api/atoms/4?sae=first").json()["note"] == "", "a note is on an atom of one autoencoder"
    exported = client.get("/api/notes")
    assert "attachment" in exported.headers["content-disposition"]
    (notes,) = exported.json()["notes"].values()
    assert notes["4"]["text"] == HOSTILE
    assert notes["4"]["sae"] == "second"
    listed = client.get("/api/atoms?sae=second&noted=1").json()
    assert [row["atom"] for row in listed["rows"]] == [4]
    client.put(path, json={"text": "", "read": HOSTILE})
    assert client.get("/api/atoms?sae=second&noted=1").json()["count"] == 0
    assert client.put(path, json={"text": "x" * 4001, "read": ""}).status_code == 422
    for wrong in ({"txt": "", "read": ""}, {"text": "x"}, {"text": "x", "read": None}, []):
        assert client.put(path, json=wrong).status_code == 422
    half = client.put(path, content=json.dumps({"text": "a\ud800b", "read": ""})).json()["error"]
    assert "half of a surrogate pair" in half
    assert client.put("/api/atoms/400/note", json={"text": "x", "read": ""}).status_code == 422


def test_a_note_that_was_changed_since_it_was_read_is_not_overwritten(client: TestClient):
    path = "/api/atoms/5/note?sae=second"
    client.put(path, json={"text": "one", "read": ""})
    late = client.put(path, json={"text": "two", "read": ""})
    assert late.status_code == 409
    assert late.json()["note"] == "one"
    assert "atom 5 of second has been changed since you read it" in late.json()["error"]
    assert client.put(path, json={"text": "", "read": "zero"}).status_code == 409, "nor is it taken away"
    assert client.get("/api/atoms/5?sae=second").json()["note"] == "one"
    assert client.put(path, json={"text": "one", "read": ""}).status_code == 200, "who says the same loses nothing"
    assert client.put(path, json={"text": "", "read": "one"}).json() == {"note": ""}


@pytest.mark.parametrize("access", [{"read_only": True}, {"token": ""}])
def test_who_may_only_read_writes_no_note(exploration: Exploration, access: dict):
    client = client_of(exploration, **access)
    assert client.get("/api/about").json()["may_write"] is False
    assert client.put("/api/atoms/4/note", json={"text": "x", "read": ""}).status_code == 403
    assert client.get("/api/atoms?noted=1").json()["count"] == 0


def test_notes_of_two_pages_on_one_output_are_all_kept(tmp_path: Path):
    first, second = Notes(tmp_path), Notes(tmp_path)
    first.write("a", "sae", 1, "one", read="")
    second.write("a", "sae", 2, "two", read="")
    first.write("a", "sae", 3, "three", read="")
    assert Notes(tmp_path).of("a") == {1: "one", 2: "two", 3: "three"}
    with pytest.raises(NoteChanged):
        first.write("a", "sae", 2, "2", read="")
    assert Notes(tmp_path).of("a")[2] == "two"


def test_a_fit_shows_its_autoencoders(tmp_path: Path):
    some: Any = None
    fit = Fit({"a": make_sae(0), "b": make_sae(1)}, [], some, some, some)
    assert named_saes(fit) == fit.saes
    page = fit.explore(make_store(tmp_path), output=tmp_path / "output", encoder=KnowingEncoder(*arrays()))
    request = Request(f"{page.url.split('?')[0]}api/about", headers={TOKEN_HEADER: page.url.split("token=")[1]})
    with urlopen(request) as answer:
        assert [sae["name"] for sae in json.loads(answer.read())["saes"]] == ["a", "b"]
    page.close()


def test_a_file_that_is_not_of_notes_is_not_overwritten(tmp_path: Path):
    (tmp_path / "notes.json").write_text('{"notes": {"a": {"1": "x"}}}')
    with pytest.raises(InputError, match="is not a file of notes"):
        Notes(tmp_path)


@pytest.mark.parametrize(
    "path", ["/api/atoms?sort=x", "/api/atoms?class=x", "/api/atoms?first=-1", "/api/atoms?count=x"]
)
def test_a_list_that_there_is_not_says_so(client: TestClient, path: str):
    assert client.get(path).status_code == 422


@pytest.mark.parametrize("atom", ["abc", "1.5", "-1", "9" * 5000, "400"])
def test_an_atom_that_there_is_not_says_so(client: TestClient, atom: str):
    answer = client.get(f"/api/atoms/{atom}")
    assert answer.status_code == 422
    assert re.search(r"there is no atom|has atoms 0 to 39", answer.json()["error"])


def test_numbers_that_are_not_finite_are_null(client: TestClient):
    text = client.get("/api/atoms?count=200").text
    assert "NaN" not in text
    json.loads(text, parse_constant=pytest.fail)


def test_a_page_of_a_notebook_answers_on_the_loopback_until_it_is_closed(tmp_path: Path):
    knowing = KnowingEncoder(*arrays())
    page = explore(make_sae(), make_store(tmp_path), output=tmp_path / "output", encoder=knowing)
    assert page.url.startswith("http://127.0.0.1:")
    assert "token=" in page.url
    assert page.url in page._repr_html_().replace("&amp;", "&")
    with urlopen(page.url) as answer:
        assert b"isoenergy" in answer.read()
    page.close()
    with pytest.raises(URLError):
        urlopen(page.url)


def test_a_folder_stands_for_the_saes_in_it(tmp_path: Path):
    for name in ("beta-0", "beta-0.001"):
        make_sae().save(tmp_path / "saes" / name)
    assert list(named_saes(str(tmp_path / "saes"))) == ["beta-0", "beta-0.001"]
    assert list(named_saes([tmp_path / "saes/beta-0", tmp_path / "saes/beta-0"])) == ["beta-0", "beta-0-2"]
    with pytest.raises(InputError, match="nothing is not a checkpoint: there is no such folder; expected"):
        named_saes(str(tmp_path / "nothing"))


def test_hosts_of_the_command_line():
    from workflows.explore import access_of
    from workflows.settings.explore_settings import ExploreConfig

    config = ExploreConfig(("sae",), "store")
    assert access_of(config).hosts == LOOPBACK
    assert len(access_of(config).token) >= 32
    assert access_of(config).token != access_of(config).token
    assert access_of(ExploreConfig(("sae",), "store", host="0.0.0.0")).hosts == ()
    public = access_of(ExploreConfig(("sae",), "store", host="0.0.0.0", hosts="a.example, B.example", token="none"))
    assert public.hosts == ("a.example", "b.example")
    assert not public.token
    assert not public.may_write


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give at least one SAE: isoenergy explore SAE"),
        (("sae", "--most-pairs", "0"), "most_pairs must be at least 1, got 0$"),
        (("sae", "--seed", "-1"), "seed must be 0 or more, got -1$"),
    ],
)
def test_a_command_line_that_is_refused_says_what_is_wrong_alone(words: tuple[str, ...], said: str):
    from workflows.settings.explore_settings import parse

    with pytest.raises(InputError, match=said):
        parse([*words, "--store", "store"])


@pytest.mark.parametrize("host", ["nohost.example", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_no_fault_of_the_port(host: str):
    with pytest.raises(InputError, match=f"^'{host}' is no address of this machine .*; give another --host$"):
        bound(host, 0)


def test_a_port_that_is_taken_is_said_before_anything_is_read(tmp_path: Path):
    from workflows.explore import run
    from workflows.settings.explore_settings import ExploreConfig

    nowhere = str(tmp_path / "nowhere")
    with bound() as taken:
        port = taken.getsockname()[1]
        said = f"^port {port} of 127.0.0.1 is not to be had .*; give another --port$"
        with pytest.raises(InputError, match=said):
            run(ExploreConfig((nowhere,), nowhere, output=nowhere, port=port))
        with pytest.raises(InputError, match=said):
            explore(nowhere, nowhere, port=port)
    with pytest.raises(InputError, match="nowhere"):
        explore(nowhere, nowhere, port=port)
    bound(port=port).close()  # what cannot be explored leaves it free


def test_a_page_for_all_interfaces_tells_the_addresses_that_it_answers(exploration: Exploration):
    def told(host: str, **access: Any) -> ServedPage:
        allowed = Access("secret", **access)
        with bound(host) as taken:
            return ServedPage(web_page(exploration, allowed), allowed, taken)

    alone = told("127.0.0.1")
    assert not alone.is_open
    assert alone.urls == [f"http://127.0.0.1:{alone.port}/?token=secret"]
    for host in ("0.0.0.0", "::"):
        page = told(host, hosts=())
        assert page.is_open
        assert page.url.startswith("http://127.0.0.1:")
        assert f"http://{socket.gethostname()}:{page.port}/?token=secret" in page.urls
    named = told("0.0.0.0", hosts=("a.example",))
    assert named.urls == [f"http://a.example:{named.port}/?token=secret"], "others are turned away"


def test_an_encoder_that_is_named_and_cannot_be_had_is_an_error(tmp_path: Path):
    store = EmbeddingStore.open(str(make_store(tmp_path)))
    with pytest.raises(InputError, match="nope"):
        open_exploration({"one": make_sae()}, store, tmp_path / "output", encoder="nope")


def test_pictures_of_vectors_come_from_a_folder(tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    exploration = explored(tmp_path, images=str(images))
    keys = exploration.gallery.pairs["key"].to_pylist()
    (images / f"{keys[2]}.png").write_bytes(png(2))
    (images / f"{keys[3]}.jpg").write_bytes(b"no image")
    found = exploration.pictures.of([2, 3, 4])
    assert found[2] is not None
    assert found[3] is None
    assert found[4] is None


def test_pictures_of_vectors_come_from_a_column(tmp_path: Path):
    images, texts = arrays()
    files = [png(pair) if pair != 3 else b"no image" for pair in range(len(images))]
    columns = {"image": pa.array(list(images)), "text": pa.array(list(texts)), "jpg": files}
    pq.write_table(pa.table({"id": [f"k{pair}" for pair in range(len(images))], **columns}), tmp_path / "v.parquet")
    vectors = open_vectors(str(tmp_path / "v.parquet"), ("image", "text"))
    store = VectorCopy(vectors, str(tmp_path / "store")).run()
    exploration = open_exploration({"one": make_sae()}, store, tmp_path / "output", images="jpg")
    places = {key: place for place, key in enumerate(exploration.gallery.pairs["key"].to_pylist())}
    found = exploration.pictures.of([places["k2"], places["k3"]])
    red = Image.open(io.BytesIO(found[places["k2"]] or b"")).convert("RGB").getpixel((0, 0))
    assert abs(red[0] - 2) <= 2
    assert found[places["k3"]] is None
    for name in ("caption", "nothing"):
        with pytest.raises(InputError, match=r"images must be a column of the store \(jpg\), or a folder"):
            open_exploration({"one": make_sae()}, store, tmp_path / "output", images=name)


def test_a_column_of_paths_names_the_files_of_a_folder_and_keys_those_that_it_does_not(tmp_path: Path):
    images, texts = arrays()
    columns = {"image": pa.array(list(images)), "text": pa.array(list(texts))}
    keys = [f"k{pair}" for pair in range(len(images))]
    paths = [f"photos/{key}.png" for key in keys]
    pq.write_table(pa.table({"id": keys, **columns, "path": paths}), tmp_path / "v.parquet")
    vectors = open_vectors(str(tmp_path / "v.parquet"), ("image", "text"))
    store = VectorCopy(vectors, str(tmp_path / "store")).run()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "k2.png").write_bytes(png(2))
    (tmp_path / "k3.png").write_bytes(png(3))
    exploration = open_exploration({"one": make_sae()}, store, tmp_path / "output", images=str(tmp_path))
    places = {key: place for place, key in enumerate(exploration.gallery.pairs["key"].to_pylist())}
    found = exploration.pictures.of([places[key] for key in ("k2", "k3", "k4")])
    assert [found[places[key]] is not None for key in ("k2", "k3", "k4")] == [True, True, False]
    with pytest.raises(InputError, match=r"column path holds paths, such as 'photos/k0.png'"):
        open_exploration({"one": make_sae()}, store, tmp_path / "output", images="path")
