"""Widths, colour schemes, accessibility, and a page without its token."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from isoenergy.explorer.serving import ServedPage
from tests.browser import Watched
from tests.explorer.live_page.page_steps import ask, show
from tests.explorer.small_exploration import caption_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SERIOUS = ("serious", "critical")
VIEWS = ("ask", "atoms", "map", "compare")
TOO_SMALL = """() => [...document.querySelectorAll("button, input, a, select, summary")].filter((each) => {
    const { width, height } = each.getBoundingClientRect();  // a card is one link's, all of it
    return width > 1 && (width < 24 || height < 24) && !each.closest(".card");
}).map((each) => each.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_people_can_use_it_on_any_screen(watched: Watched, tmp_path: Path, width: int, scheme: str) -> None:
    page = watched.page
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    axe = Axe()
    for view in VIEWS:
        show(page, view)
        if view == "ask":
            ask(page, caption_of(12))
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert width > 390 or page.evaluate(TOO_SMALL) == [], view
        found = [each["id"] for each in axe.run(page).response["violations"] if each["impact"] in SERIOUS]
        assert found == [], view
        watched.screenshot(f"explore-{view}-{width}-{scheme}", tmp_path)
    page.evaluate("location.hash = '#atoms/second/3'")
    page.locator("#atom[open] .histogram").wait_for()
    page.wait_for_load_state("networkidle")
    found = [each["id"] for each in axe.run(page).response["violations"] if each["impact"] in SERIOUS]
    assert found == []
    title, close = (page.locator(f"#atom {part}").bounding_box() for part in ("#atom-title", ".close"))
    assert title
    assert close
    assert close["y"] < title["y"] + title["height"]
    assert title["y"] < close["y"] + close["height"]
    assert page.evaluate(
        "document.querySelector('#atom').scrollWidth <= document.querySelector('#atom').clientWidth + 1"
    )
    watched.screenshot(f"explore-atom-{width}-{scheme}", tmp_path)


def test_without_its_token_the_page_says_what_to_do(browser: "Browser", served: ServedPage) -> None:
    from playwright.sync_api import expect

    page = browser.new_page()
    page.goto(served.url.split("?")[0])
    expect(page.locator("#trouble")).to_contain_text("the address lacks its token")
    page.close()
