"""Two autoencoders beside each other."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from isoenergy.explorer.serving import ServedPage, open_exploration
from isoenergy.explorer.web_page import Access, web_page
from isoenergy.store import EmbeddingStore
from tests.browser import Watched
from tests.explorer.live_page.page_steps import show
from tests.explorer.small_exploration import make_sae, make_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_first_aligned_autoencoder_is_shown_first_and_compared_with_the_first_other(
    browser: "Browser", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    saes = {"plain": make_sae(0), "aligned": make_sae(1, beta=1e-3), "later": make_sae(2, beta=1e-3)}
    exploration = open_exploration(saes, EmbeddingStore.open(str(make_store(tmp_path))), tmp_path / "output")
    access = Access("secret")
    served = ServedPage(web_page(exploration, access), access).start()
    page = browser.new_page()
    page.goto(f"{served.url}#compare")
    expect(page.locator("#sae")).to_have_value("aligned")
    expect(page.locator("#compare-with")).to_have_value("plain")
    page.select_option("#compare-with", "later")
    expect(page).to_have_url(re.compile(r"#compare/aligned\?beside=later$"))
    page.locator(".matched td:nth-child(2) a").first.click()
    page.locator("#atom[open]").wait_for()
    expect(page).to_have_url(re.compile(r"#compare/aligned/\d+\?beside=later&of=later$"))
    expect(page.locator("#atom .beside")).to_contain_text("of later")
    page.reload()
    expect(page.locator("#atom[open] .beside")).to_contain_text("of later")
    page.keyboard.press("Escape")
    expect(page.locator("#compare-summary")).to_contain_text("atoms of aligned are in later too")
    expect(page.locator("#sae")).to_have_value("aligned")
    page.go_back()
    page.go_back()
    page.go_back()
    expect(page.locator("#compare-with")).to_have_value("plain")
    expect(page.locator("#compare-summary")).to_contain_text("atoms of aligned are in plain too")
    page.close()
    served.close()


def test_two_autoencoders_are_compared(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    show(page, "compare")
    expect(page.locator("#compare-summary")).to_contain_text("atoms of second are in first too")
    assert page.locator(".matched tbody tr").count() > 20
    alike = [float(each) for each in page.locator(".matched td.number").all_inner_texts()]
    assert alike == sorted(alike, reverse=True)
    assert any(re.search(r"\w atom \d+, \w", each) for each in page.locator(".matched td").all_inner_texts())
    page.click("#compare-order")
    unlike = [float(each) for each in page.locator(".matched td.number").all_inner_texts()]
    assert unlike == alike[::-1]
    expect(page.locator(".matched td:nth-child(2) img").first).to_have_attribute("src", re.compile("^data:image/webp"))
    page.set_viewport_size({"width": 390, "height": 844})
    within = "({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth"
    assert page.locator(".scroll").evaluate(within), "no column is cut"
    page.locator(".matched a").first.click()
    page.locator("#atom[open]").wait_for()
