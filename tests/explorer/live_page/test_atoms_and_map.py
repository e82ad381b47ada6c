"""The live page's atoms: searched, opened, and on the map."""

import re
from pathlib import Path

import pytest

from isoenergy.explorer.serving import ServedPage
from tests.browser import Watched
from tests.explorer.live_page.page_steps import ask, show
from tests.explorer.small_exploration import HOSTILE, caption_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_atoms_are_searched_opened_noted_and_linked(watched: Watched, served: ServedPage) -> None:
    from playwright.sync_api import expect

    page = watched.page
    show(page, "atoms")
    page.locator(".card").first.wait_for()
    whole = page.inner_text("#atom-count")
    lows = [re.search(r", from (−?\d\.\d\d)$", text) for text in page.locator(".card .agreement").all_inner_texts()]
    seen = [float(low[1].replace("−", "-")) for low in lows if low]
    assert len(seen) > 8
    assert seen == sorted(seen, reverse=True), "a card tells what it is sorted by"
    page.fill("#atoms-query", "zebra")
    expect(page.locator("#atom-count")).not_to_have_text(whole)
    expect(page.locator(".card .note mark").first).to_have_text("zebra")
    page.fill("#atoms-query", "")
    expect(page.locator("#atom-count")).to_have_text(whole)
    page.select_option("#atoms-sort", "energy")
    expect(page.locator(".card .agreement").first).not_to_contain_text("from")
    page.focus("#atoms-query")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("Number(document.activeElement.closest('.card').dataset.place)") == 1
    page.keyboard.press("Enter")
    dialog = page.locator("#atom[open]")
    dialog.wait_for()
    expect(dialog).to_contain_text("Partners across pairs")
    assert dialog.locator(".examples li").count() > 6
    expect(dialog.locator(".histogram")).to_be_visible()
    expect(dialog.locator(".facts .bounds").first).to_have_text(re.compile(r"^ ?\[\S+, \S+\]$"))
    expect(page.locator(".card [title*='95% interval [']").first).to_be_attached()
    address = page.url
    assert re.search(r"#atoms/second/\d+\?sort=energy$", address)
    page.fill("#note", f"seen {HOSTILE}")
    dialog.get_by_text("keep the note").click()
    expect(dialog).to_contain_text("kept in notes.json")
    page.keyboard.press("Escape")
    expect(page.locator("#atom[open]")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"#atoms/second\?sort=energy$"))
    page.check("#atoms-noted")
    expect(page.locator("#atom-count")).to_have_text("1 atom")
    expect(page.locator(".card .note")).to_contain_text("seen <img")
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#note")).to_have_value(f"seen {HOSTILE}")
    with page.expect_download() as download:
        page.get_by_text("export all notes").click()
    assert HOSTILE.split()[0] in Path(download.value.path()).read_text()
    page.go_back()
    assert served.url


def test_what_is_typed_and_ticked_fast_is_not_lost(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    show(page, "atoms")
    page.locator(".card").first.wait_for()
    page.fill("#atoms-query", "zebra")
    expect(page.locator("#atoms-sort")).to_be_disabled()
    page.fill("#atoms-query", "")
    expect(page.locator("#atoms-falling")).to_be_enabled()
    show(page, "ask")
    ask(page, caption_of(12))
    ticked = page.locator(".ways input:checked").count()
    ways = page.locator(".ways input").count()
    assert ways > ticked + 1
    page.evaluate("for (const box of document.querySelectorAll('.ways input:not(:checked)')) box.click()")
    expect(page.locator(".way")).to_have_count(ways, timeout=30_000)


def test_the_map_shows_an_atom_and_opens_it(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    show(page, "map")
    canvas = page.locator("canvas.map")
    expect(canvas).to_have_attribute("data-dots", re.compile(r"[1-9]\d"))
    asked = [url for url in watched.requests if "/api/map?" in url]
    assert "by=pca" in asked[0], "what is there at once is shown at once"
    page.select_option("#map-by", "pca")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tip")).to_be_visible()
    expect(page.locator(".tip img").first).to_have_attribute("src", re.compile("^data:image/webp"))
    told = page.inner_text(".tip")
    with page.expect_response("**/api/map?*by=umap*"):
        page.select_option("#map-by", "umap")
    expect(page.locator(".tip")).to_have_text(told, use_inner_text=True)  # chosen, wherever it lies
    canvas.focus()
    page.keyboard.press("Enter")
    page.locator("#atom[open]").wait_for()
    page.keyboard.press("Escape")
    page.uncheck("#map-bimodal")
