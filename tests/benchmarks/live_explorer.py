"""How soon the live page is there, and how soon it answers, in headless Chromium: 100,000 pairs of 512 numbers.

Pairs and atoms have planted concepts; the texts go through the bundled encoder, whose rows a fixed matrix brings to the
store's width. Every answer is timed until it has been painted, and beside it what the server alone took, by one caller.
Run it on a machine that does nothing else. It adds its measures to `docs/benchmarks/report.json`.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import torch
import tyro
from torch import Tensor

from isoenergy import SparseAutoencoder
from isoenergy.encoders import load_encoder
from isoenergy.encoders.dual_encoder import Tokens
from isoenergy.explorer.serving import ServedPage, open_exploration
from isoenergy.explorer.web_page import TOKEN_HEADER, Access, web_page
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore
from tests.benchmarks.planted_store import planted_modalities
from tests.benchmarks.results import add_measures
from tests.browser import chromium
from tests.evaluation.evaluations import write_pairs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_RESULTS = Path("docs/benchmarks/report.json")
_ROWS_A_UNIT = 20_000
_TEXTS = ("a dog", "a red flag", "somebody walking", "a black icon of a house", "two women and a heart", "a blue car")
_FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => done(Math.min(
    ...list.getEntries().map((entry) => entry.startTime)))).observe({ type: "paint", buffered: true }))"""
_PAINTED = """const painted = (begin, where) => new Promise((done) => {
    const start = performance.now();
    const watch = new MutationObserver(() => {
        if (!document.querySelector(where)) return;
        watch.disconnect();
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => done(performance.now() - start);
            channel.port2.postMessage(null);
        });
    });
    watch.observe(document.querySelector(where.split(" ")[0]), { childList: true, subtree: true, attributes: true });
    begin();
});"""
"""From what a person does to the frame in which the answer has been laid out and painted."""
_ASK = f"""(text) => {{ {_PAINTED}
    return painted(() => {{
        document.getElementById("ask-text").value = text;
        document.querySelector(".asking").requestSubmit();
    }}, ".near .way"); }}"""
_STEER = f"""(share) => {{ {_PAINTED}
    const slider = document.querySelector(".contribution input[type=range]");
    return painted(() => {{
        slider.value = String(share * Number(slider.max));
        slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
    }}, ".near .way"); }}"""
_OPEN = f"""(hash) => {{ {_PAINTED}
    document.getElementById("atom").replaceChildren();
    return painted(() => {{ location.hash = hash; }}, "#atom .histogram"); }}"""
_SEARCH = f"""(query) => {{ {_PAINTED}
    return painted(() => {{
        const field = document.getElementById("atoms-query");
        field.value = query;
        field.dispatchEvent(new Event("input", {{ bubbles: true }}));
    }}, "#atom-count"); }}"""


@dataclass(frozen=True)
class LiveExplorer:
    """What is looked among, and how often it is asked."""

    pairs: int = 100_000
    atoms: int = 4096
    dim: int = 512
    k: int = 20
    turns: int = 12


class Widened:
    """The bundled encoder's texts, brought to another width by a fixed matrix."""

    def __init__(self, dim: int) -> None:
        self._encoder = load_encoder("bundled")
        self._matrix = torch.randn(self._encoder.dim, dim, generator=torch.Generator().manual_seed(0))
        self.name, self.dim, self.digest = "bundled, widened", dim, ""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return `(n, dim)` rows."""
        return self._encoder.encode_texts(texts) @ self._matrix

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return what the bundled encoder takes."""
        return self._encoder.tokenise(texts)


def measure(config: LiveExplorer, folder: Path) -> dict[str, Any]:
    """Make the store, start the page twice, then ask it as a person would."""
    images, texts, planted = planted_modalities(config.pairs, config.dim, config.atoms)
    captions = [f"a made-up pair of number {pair} and kind {pair % 977}" for pair in range(config.pairs)]
    half = config.pairs // 2
    store = EmbeddingStore.open(str(write_pairs(folder / "store", images, texts, _ROWS_A_UNIT, captions, train=half)))
    sae = SparseAutoencoder(SaeConfig(dim=config.dim, atoms=config.atoms, k=config.k, beta=1e-3)).requires_grad_(False)
    sae.dictionary.copy_(planted)
    encoder: Any = Widened(config.dim)
    starts = []
    for _ in range(2):
        start = time.perf_counter()
        exploration = open_exploration({"sae": sae}, store, folder / "output", encoder)
        starts.append(time.perf_counter() - start)
    access = Access("benchmark")
    page = ServedPage(web_page(exploration, access), access).start()
    try:
        with chromium() as browser:
            measures = _in_browser(browser, page.url, config) | {"chromium": browser.version}
        measures |= _by_server(page.url.split("?")[0], config)
    finally:
        page.close()
    return {
        "pairs": config.pairs,
        "atoms": config.atoms,
        "dim": config.dim,
        "first_start_seconds": starts[0],
        "start_seconds": starts[1],
        **measures,
    }


def _in_browser(browser: "Browser", url: str, config: LiveExplorer) -> dict[str, Any]:
    paints = []
    for _ in range(5):
        page = browser.new_context().new_page()
        page.goto(url)
        paints.append(page.evaluate(_FIRST_PAINT))
        page.context.close()
    page = browser.new_page()
    page.goto(url)
    page.locator(".start .tile").first.wait_for()
    page.fill("#ask-text", "a first text")
    page.press("#ask-text", "Enter")
    page.locator(".way").first.wait_for()
    asks = [page.evaluate(_ASK, f"{_TEXTS[turn % len(_TEXTS)]}, {turn}") for turn in range(config.turns)]
    steers = [page.evaluate(_STEER, (turn + 1) / (config.turns + 1)) for turn in range(config.turns)]
    page.click("#views a[data-view='atoms']")
    page.locator(".card").first.wait_for()
    opened = [link.get_attribute("href") for link in page.locator(".card a").all()][: config.turns]
    searches = [_of(page, _SEARCH, f"kind {turn * 53}") for turn in range(config.turns)]
    atoms = [_of(page, _OPEN, href) for href in opened]
    return {
        "first_paint_milliseconds": _told(paints),
        "ask_by_text_milliseconds": _told(asks),
        "steer_milliseconds": _told(steers),
        "search_milliseconds": _told(searches),
        "atom_page_milliseconds": _told(atoms),
    }


def _of(page: "Page", script: str, value: object) -> float:
    found: float = page.evaluate(script, value)
    page.wait_for_timeout(200)
    return found


def _by_server(base: str, config: LiveExplorer) -> dict[str, Any]:
    def ask(ways: Sequence[str], turn: int) -> Callable[[], None]:
        asked = {"terms": [{"pair": turn * 31, "side": 1}], "ways": list(ways), "coefficients": {"3": 0.1 * turn}}
        request = Request(f"{base}api/ask", json.dumps(asked).encode(), {TOKEN_HEADER: "benchmark"})
        return lambda: urlopen(request).read()

    ways = {"one_way": ("original",), "four_ways": ("original", "bimodal", "less_unimodal", "centred")}
    return {
        f"server_{name}_milliseconds": _told([_milliseconds(ask(some, turn)) for turn in range(config.turns)])
        for name, some in ways.items()
    }


def _milliseconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _told(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "worst": max(values), "all": list(values)}


def main() -> None:
    """Measure and add the measures to the file."""
    config = tyro.cli(LiveExplorer, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        add_measures(_RESULTS, f"live explorer, {config.atoms} atoms", measure(config, Path(folder)))


if __name__ == "__main__":
    main()
