"""The demo's figures in the docs, from one run: `python -m tests.docs.demo_figures runs/demo` writes them all.

docs/explorer.png is the report in a browser, the others are files that lie beside it.
"""

import shutil
import sys
from pathlib import Path

from tests.browser import chromium

DOCS = Path(__file__).parents[2] / "docs"
_OF_SAE_A = {"demo-rivals.png": "*beta-0.001*-rivals.png", "demo-projection.png": "*beta-0.001*-projection.png"}
_HEIGHT = 640


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
