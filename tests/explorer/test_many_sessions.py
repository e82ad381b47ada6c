"""Twenty people at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

from isoenergy.explorer.serving import ServedPage
from isoenergy.explorer.web_page import TOKEN_HEADER, Access, web_page
from tests.explorer.small_exploration import PAIRS, explored

SESSIONS = 20


def test_twenty_sessions_get_their_own_answers(tmp_path: Path) -> None:
    access = Access("secret")
    page = ServedPage(web_page(explored(tmp_path, pictures=True), access), access).start()
    base = page.url.split("?")[0]

    def call(path: str, body: object = None, method: str | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(base + path, data, {TOKEN_HEADER: "secret"}, method=method), timeout=120) as answer:
            return json.loads(answer.read())

    def session(number: int) -> None:
        for turn in range(5):
            pair = (number * 7 + turn) % PAIRS
            asked = {"terms": [{"pair": pair, "side": turn % 2}], "ways": ["original", "bimodal", "centred"]}
            answer = call("api/ask", asked)
            again = call("api/ask", asked | {"coefficients": {str(answer["atoms"][0]["atom"]): 0}})
            assert again["atoms"] != answer["atoms"]
            assert answer == call("api/ask", asked)
            assert call(f"api/atoms?first={turn}&count=20&sae=second")["first"] == turn
            assert call(f"api/atoms/{number}")["numbers"]["atom"] == number
            assert set(call(f"api/pictures?pairs={pair},{number}")) == {str(pair), str(number)}
            note = {"text": f"{number} {turn}", "read": f"{number} {turn - 1}" if turn else ""}
            call(f"api/atoms/{number}/note", note, "PUT")
            assert call(f"api/atoms/{number}")["note"] == f"{number} {turn}"
            assert call("api/compare?first=first&second=second")["pairs"]

    with ThreadPoolExecutor(SESSIONS) as pool:
        list(pool.map(session, range(SESSIONS)))
    (notes,) = call("api/notes")["notes"].values()
    assert {atom: note["text"] for atom, note in notes.items()} == {str(n): f"{n} 4" for n in range(SESSIONS)}
    page.close()
