"""How soon the report is seen, and how soon its explorer answers, in headless Chromium at 4,096 atoms × 18 pictures.

Run it on a machine that does nothing else. It adds its measures to `docs/benchmarks/report.json`.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import tyro

from tests.benchmarks.results import add_measures
from tests.browser import chromium
from tests.report.made_up_report import PAIRS_PER_ATOM, write_made_up_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_RESULTS = Path("docs/benchmarks/report.json")
_QUERIES = (
    "zebra",
    "striped",
    "lighthouse",
    "violin harbour",
    "77",
    "number 1",
    "red teapot",
    "z",
    "no such words",
    "",
)
_FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => done(Math.min(
    ...list.getEntries().map((entry) => entry.startTime)))).observe({ type: "paint", buffered: true }))"""
_SEARCH = """(query) => new Promise((done) => {
    const field = document.getElementById("explorer-query");
    const start = performance.now();
    field.value = query;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now() - start);
        channel.port2.postMessage(null);
    });
})"""
"""A message that is sent in a frame's callback comes when that frame has been laid out and painted."""
_PICTURED = """(query) => new Promise((done) => {
    const field = document.getElementById("explorer-query");
    const start = performance.now();
    field.value = query;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(function look() {
        const first = document.querySelector("#explorer-list .explorer-strip");
        if (!first || first.style.backgroundImage) requestAnimationFrame(() => done(performance.now() - start));
        else requestAnimationFrame(look);
    });
})"""
"""Until the frame after that in which the first card has its pictures."""


@dataclass(frozen=True)
class Explorer:
    """First paint and searches."""

    atoms: int = 4096
    loads: int = 5
    report: str = ""
    """A page to measure; made up if empty."""


def measure(config: Explorer, folder: Path) -> dict[str, Any]:
    """Load the page afresh some times, then search in it."""
    page = Path(config.report or write_made_up_report(folder, config.atoms))
    with chromium() as browser:
        paints = [_first_paint(browser, page) for _ in range(config.loads)]
        opened = _opened(browser, page)
        ready = opened.evaluate("performance.now()")
        searches = [opened.evaluate(_SEARCH, query) for query in 2 * _QUERIES]
        pictured = [opened.evaluate(_PICTURED, query) for query in _QUERIES[:4]]
        version = browser.version
    return {
        "atoms": config.atoms,
        "pictures_an_atom": 2 * PAIRS_PER_ATOM,
        "megabytes": page.stat().st_size / 1e6,
        "chromium": version,
        "first_paint_milliseconds": {"median": median(paints), "all": paints},
        "explorer_ready_milliseconds": ready,
        "search_milliseconds": {"median": median(searches), "worst": max(searches), "all": searches},
        "search_with_pictures_milliseconds": {"median": median(pictured), "worst": max(pictured), "all": pictured},
    }


def _first_paint(browser: "Browser", file: Path) -> float:
    page = browser.new_context().new_page()
    page.goto(file.absolute().as_uri())
    paint = page.evaluate(_FIRST_PAINT)
    page.context.close()
    return paint


def _opened(browser: "Browser", file: Path) -> "Page":
    page = browser.new_page()
    page.goto(file.absolute().as_uri())
    page.evaluate("document.getElementById('explorer').scrollIntoView()")
    page.locator(".explorer-open").first.wait_for()
    return page


def main() -> None:
    """Measure and add the measures to the file."""
    config = tyro.cli(Explorer, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        add_measures(_RESULTS, "explorer", measure(config, Path(folder)))


if __name__ == "__main__":
    main()
