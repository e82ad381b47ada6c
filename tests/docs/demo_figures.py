"""The demo's figures in the docs, from one run: `python -m tests.docs.demo_figures runs/demo` writes them all.

docs/explorer.png is the report in a browser, docs/exploring.png the live page; the others are files beside the report.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import isoenergy
from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCS = Path(__file__).parents[2] / "docs"
_OF_SAE_A = {"demo-rivals.png": "*beta-0.001*-rivals.png", "demo-projection.png": "*beta-0.001*-projection.png"}
_HEIGHT = 640
_SAE_A = "beta-0.001-seed-0"
_ASKED = "a red heart"


def main(run: Path) -> None:
    """Write the figures of a run of the demo into the docs; run: the folder that the pipeline wrote."""
    for name, pattern in _OF_SAE_A.items():
        (figure, *_) = sorted((run / "figures").glob(pattern))
        shutil.copyfile(figure, DOCS / name)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, device_scale_factor=1.5)
        page.goto((run / "report.html").absolute().as_uri())
        shown = page.locator("[role=tabpanel]:not([hidden]) .classes")
        shown.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('.contents').style.position = 'static'")
        box = shown.bounding_box()
        assert box is not None  # the page shows some atoms
        clip = {
            "x": box["x"] - 8,
            "y": box["y"] + page.evaluate("scrollY"),
            "width": box["width"] + 16,
            "height": _HEIGHT,
        }
        page.screenshot(path=DOCS / "explorer.png", clip=clip, full_page=True)  # type: ignore[arg-type]
        _explored(browser, run)


def _explored(browser: "Browser", run: Path) -> None:
    """Write what the live page answers about SAE-A."""
    with tempfile.TemporaryDirectory() as output:
        served = isoenergy.explore(run / "saes" / _SAE_A, run / "store", output=output)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(600_000)  # the first answer waits for numba and the encoder
        page.goto(served.url)
        page.fill("#ask-text", _ASKED)
        page.locator(".asking").evaluate("form => form.requestSubmit()")
        page.locator(".near .way").first.wait_for()
        page.locator(".near img[src]").first.wait_for()
        page.wait_for_load_state("networkidle")  # all pictures of one view come at once
        page.locator("#ask-text").blur()
        page.screenshot(path=DOCS / "exploring.png")
        served.close()
    with Image.open(DOCS / "exploring.png") as image:
        image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            DOCS / "exploring.png", optimize=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
