"""What is asked of the live page: words, images, pairs, atoms, and what is said where there is no answer."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from isoenergy.explorer.serving import ServedPage, open_exploration
from isoenergy.explorer.web_page import Access, web_page
from isoenergy.store import EmbeddingStore
from tests.browser import Watched
from tests.explorer.live_page.page_steps import ask, neighbours, show
from tests.explorer.small_exploration import HOSTILE, caption_of, make_sae, make_store, png

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_words_are_asked_and_answered_by_atoms_and_neighbours(watched: Watched) -> None:
    page = watched.page
    ask(page, caption_of(12))
    assert neighbours(page)[0] == f"caption: {caption_of(12)}"
    titles = page.locator(".way h3").all_inner_texts()
    assert titles == ["as they are", "unimodal atoms removed", "unimodal part subtracted", "centring"]
    assert page.locator(".contribution").count() >= 3
    assert re.search(r"\d+ atoms rebuild \d+", page.inner_text(".made-of"))
    page.click(".ways summary")
    page.check("#way-whitened")
    page.locator(".way[aria-label='whitening']").wait_for()
    page.uncheck("#way-original")
    page.locator(".way[aria-label='as they are']").wait_for(state="detached")


def test_an_image_is_uploaded_dropped_and_pasted(watched: Watched, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = watched.page
    (tmp_path / "image.png").write_bytes(png(20))
    page.set_input_files("#ask-file", tmp_path / "image.png")
    first = page.locator(".way[aria-label='as they are'] .tile").first
    expect(first).to_have_attribute("aria-label", f"image: {caption_of(20)}")
    expect(page.locator(".term img")).to_have_count(1)
    give = """([bytes, kind]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
        const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    for pair, kind in ((30, "drop"), (40, "paste")):
        page.evaluate(give, [list(png(pair)), kind])
        expect(first).to_have_attribute("aria-label", f"image: {caption_of(pair)}")


def test_what_is_no_image_is_said(watched: Watched, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "text.png").write_text("no image")
    watched.page.set_input_files("#ask-file", tmp_path / "text.png")
    expect(watched.page.locator("#trouble")).to_contain_text("the image cannot be read")
    assert [line for line in watched.troubles if "422" not in line] == []
    watched.troubles.clear()  # the browser tells of every answer that is none


def test_a_pair_is_clicked_and_steered(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    page.locator(".start .said").nth(3).click()
    page.locator(".way").first.wait_for()
    expect(page.locator(".partner").first).to_contain_text("its own image is number")
    before = neighbours(page)
    page.locator(".contribution input[type=checkbox]").first.uncheck()
    expect(page.locator(".contribution.steered")).to_have_count(1)
    assert neighbours(page) != before
    page.click("#reset")
    expect(page.locator(".contribution.steered")).to_have_count(0)
    assert neighbours(page) == before
    slider = page.locator(".contribution input[type=range]").first
    slider.focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".contribution.steered")).to_have_count(1)
    assert page.evaluate("document.activeElement.type") == "range", "the slider keeps the focus"
    count = page.locator(".contribution").count()
    shares = [float(share.strip("%").replace("−", "-")) for share in page.locator(".share").all_inner_texts()]
    assert sorted(map(abs, shares), reverse=True) == [*map(abs, shares)]
    for share, bar in zip(shares, page.locator(".contribution .bar").all(), strict=True):
        assert ("points away" in str(bar.get_attribute("title"))) == (share < 0)
    page.fill("#add-atom", "33")
    page.press("#add-atom", "Enter")
    expect(page.locator("#atom-33-on")).to_be_checked()
    assert page.locator(".contribution").count() in (count, count + 1)
    page.click("#off-unimodal")
    expect(page.locator(".contribution:not(.bimodal) input[type=checkbox]:checked")).to_have_count(0)


def test_a_text_is_subtracted(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    ask(page, caption_of(12))
    before = neighbours(page)
    page.fill("input[placeholder='subtract a text']", caption_of(13))
    page.press("input[placeholder='subtract a text']", "Enter")
    expect(page.locator(".term")).to_have_count(2)
    expect(page.locator(".way .tile").first).not_to_have_attribute("aria-label", f"caption: {caption_of(13)}")
    page.wait_for_function("(n) => document.querySelectorAll('.contribution').length > n", arg=4)
    assert neighbours(page) != before


def test_adding_an_atom_adds_and_steering_outlives_a_subtraction(watched: Watched) -> None:
    from playwright.sync_api import expect

    page, value = watched.page, watched.page.locator(".contribution .value").first
    ask(page, caption_of(12))
    before = float(value.inner_text())
    page.locator(".contribution .name a").first.click()
    page.get_by_text("add to what is asked").click()
    expect(page.locator(".contribution.steered")).to_have_count(1)
    assert float(value.inner_text()) == pytest.approx(1.5 * before, abs=0.02)
    steered = page.url
    page.fill("input[placeholder='subtract a text']", caption_of(13))
    page.press("input[placeholder='subtract a text']", "Enter")
    expect(page.locator(".term")).to_have_count(2)
    expect(page.locator(".contribution.steered")).to_have_count(1)
    page.locator(".term [aria-label^=without]").click()
    expect(page.locator(".term")).to_have_count(1)
    expect(page).to_have_url(steered)


def test_blanks_and_a_minus_are_not_passed_over(watched: Watched) -> None:
    from playwright.sync_api import expect

    page, count = watched.page, watched.page.locator("#atom-count")
    page.fill("#ask-text", "  ")
    page.press("#ask-text", "Enter")
    expect(page.locator("#trouble")).to_have_text("There are no words to ask by; type some first.")
    ask(page, caption_of(12))
    expect(page.locator("#trouble")).to_be_hidden()
    show(page, "atoms")
    page.fill("#atoms-query", "zebra -cat")
    expect(count).to_contain_text(" (a minus leaves nothing out here: “cat” is looked for as the other words are)")
    page.fill("#atoms-query", "dog-cat")
    expect(count).not_to_contain_text("minus")
    page.fill("#atoms-query", "7")
    expect(count).to_have_text("1 atom")


def test_what_cancels_says_so_and_an_atom_can_be_added_to_it(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    ask(page, caption_of(12))
    page.fill("input[placeholder='subtract a text']", caption_of(12))
    page.press("input[placeholder='subtract a text']", "Enter")
    expect(page.locator(".made-of")).to_contain_text("Nothing is left: what is asked cancels out.")
    expect(page.locator(".way").first).to_contain_text("Nothing is left of what was asked.")
    page.fill("#add-atom", "5")
    page.press("#add-atom", "Enter")
    expect(page).to_have_url(re.compile("&atoms=5:0.5$"))
    page.locator(".way .tile").first.wait_for()


def test_without_an_encoder_pairs_alone_are_asked(browser: "Browser", tmp_path: Path) -> None:
    from playwright.sync_api import expect

    store = EmbeddingStore.open(str(make_store(tmp_path)))
    exploration = open_exploration({"one": make_sae()}, store, tmp_path / "output")
    exploration.encoder = None
    access = Access("secret")
    served = ServedPage(web_page(exploration, access), access).start()
    page = browser.new_page()
    page.goto(served.url)
    expect(page.locator(".hint")).to_contain_text("Ask by one of the pairs below.")
    for control in ("#ask-text", ".asking button", "#ask-file"):
        expect(page.locator(control)).to_be_disabled()
    page.locator(".start .said").first.click()
    page.locator(".way .tile").first.wait_for()
    page.close()
    served.close()


def test_a_hostile_caption_is_words(watched: Watched) -> None:
    page = watched.page
    ask(page, HOSTILE)
    assert neighbours(page)[0] == f"caption: {HOSTILE}"
    assert page.locator("img[src='x']").count() == 0


def test_the_autoencoder_is_changed(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    ask(page, caption_of(12))
    before = page.locator(".contribution .name").all_inner_texts()
    page.select_option("#sae", "first")
    expect(page.locator("#about")).to_contain_text("first:")
    page.locator(".contribution").first.wait_for()
    assert page.locator(".contribution .name").all_inner_texts() != before
