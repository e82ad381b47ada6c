"""A live page and a browser for each module of this folder. ISOENERGY_SCREENSHOTS=FOLDER keeps pictures of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.serving import ServedPage
from isoenergy.explorer.web_page import Access, web_page
from tests.browser import Watched, chromium
from tests.explorer.small_exploration import explored

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def exploration(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    return explored(tmp_path_factory.mktemp("browsed"), pictures=True)


@pytest.fixture(scope="module")
def served(exploration: Exploration) -> Iterator[ServedPage]:
    access = Access("secret")
    page = ServedPage(web_page(exploration, access), access).start()
    yield page
    page.close()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as started:
        yield started


@pytest.fixture
def watched(browser: "Browser", served: ServedPage) -> Iterator[Watched]:
    """The page, just opened; in the end it has said nothing on the console, and asked nobody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    found = Watched(context.new_page())
    found.page.goto(served.url)
    found.page.locator("#about summary:not(:empty)").wait_for()
    yield found
    assert found.troubles == []
    own = served.url.split("?")[0]
    assert [url for url in found.requests if not url.startswith((own, "data:", "blob:"))] == []
    context.close()
