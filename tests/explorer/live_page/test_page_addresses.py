"""The live page's address: it has what is chosen in every view, and what it asks for in vain is said."""

import re
from pathlib import Path

import pytest

from isoenergy.explorer.serving import ServedPage
from tests.browser import Watched
from tests.explorer.live_page.page_steps import ask, neighbours, show
from tests.explorer.small_exploration import caption_of, png

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_what_is_chosen_in_any_view_is_in_its_address(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    page.select_option("#sae", "first")
    show(page, "atoms")
    page.select_option("#atoms-sort", "energy")
    page.click("#atoms-falling")
    page.check("#atoms-shared")
    page.fill("#atoms-query", "zebra cat")
    expect(page).to_have_url(re.compile(r"#atoms/first\?query=zebra\+cat&shared=1&sort=energy&rising=1$"))
    page.reload()
    expect(page.locator("#sae")).to_have_value("first")
    expect(page.locator("#atoms-query")).to_have_value("zebra cat")
    expect(page.locator("#atoms-sort")).to_have_value("energy")
    expect(page.locator("#atoms-falling")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#atoms-shared")).to_be_checked()
    show(page, "map")
    page.select_option("#map-by", "pca")
    page.uncheck("#map-bimodal")
    expect(page).to_have_url(re.compile(r"#map/first\?by=pca&hidden=bimodal$"))
    page.reload()
    expect(page.locator("#map-by")).to_have_value("pca")
    expect(page.locator("#map-bimodal")).not_to_be_checked()
    page.go_back()
    expect(page.locator("#atoms-query")).to_have_value("zebra cat")
    for nowhere in ("constructor", "nowhere/first"):
        page.evaluate(f"location.hash = '#{nowhere}'")
        expect(page).to_have_url(re.compile("#ask/first$"))
        expect(page.locator("#ask-text")).to_be_visible()
    page.evaluate("location.hash = '#atoms/first?class=nope'")
    expect(page.locator("#trouble")).to_have_text(
        "There is no class nope here; there are bimodal, image_only, text_only."
    )


def test_a_question_is_in_its_address(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page

    def seen() -> list[list[str]]:
        expect(page.locator(".contribution.steered")).to_have_count(1)
        page.locator(".way[aria-label='whitening']").wait_for()
        return [
            page.locator(".term q").all_inner_texts(),
            page.locator(".contribution").all_inner_texts(),
            page.locator(".way h3").all_inner_texts(),
            neighbours(page, "whitening"),
        ]

    ask(page, caption_of(12))
    page.fill("input[placeholder='subtract a text']", caption_of(13))
    page.press("input[placeholder='subtract a text']", "Enter")
    expect(page.locator(".term")).to_have_count(2)
    page.locator(".contribution input[type=checkbox]").first.uncheck()
    page.click(".ways summary")
    page.check("#way-whitened")
    before, address = seen(), page.url
    assert before[0] == [caption_of(12), caption_of(13)]
    page.reload()
    assert seen() == before
    page.locator(".contribution .name a").first.click()
    page.locator("#atom[open]").wait_for()
    page.reload()
    page.locator("#atom[open]").wait_for()
    page.keyboard.press("Escape")
    expect(page).to_have_url(address)
    assert seen() == before
    page.goto("about:blank")
    page.goto(address)
    assert seen() == before
    show(page, "atoms")
    page.locator(".card").first.wait_for()
    show(page, "ask")
    assert seen() == before
    page.select_option("#sae", "first")
    expect(page.locator(".contribution.steered")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"#ask/first\?text=[^&]+&less=[^&]+&ways=[^&]+$"))


def test_back_leads_to_the_question_before(watched: Watched) -> None:
    from playwright.sync_api import expect

    page, term = watched.page, watched.page.locator(".term q")
    ask(page, caption_of(12))
    page.locator(".contribution input[type=checkbox]").first.uncheck()
    expect(page.locator(".contribution.steered")).to_have_count(1)
    page.locator(".way .tile").first.click()
    expect(page.locator(".contribution.steered")).to_have_count(0)
    page.fill("#ask-text", caption_of(20))
    page.press("#ask-text", "Enter")
    expect(term).to_have_text([caption_of(20)])
    page.go_back()
    expect(page.locator(".partner").first).to_contain_text("is number")
    page.go_back()
    expect(term).to_have_text([caption_of(12)])
    expect(page.locator(".contribution.steered")).to_have_count(1)
    page.go_back()
    expect(page.locator(".start .tile").first).to_be_visible()
    expect(page.locator(".term")).to_have_count(0)
    page.go_forward()
    expect(term).to_have_text([caption_of(12)])


def test_an_image_of_one_s_own_is_not_in_the_address(watched: Watched, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = watched.page
    (tmp_path / "image.png").write_bytes(png(20))
    page.set_input_files("#ask-file", tmp_path / "image.png")
    expect(page.locator(".term img")).to_have_count(1)
    expect(page.locator(".terms")).to_contain_text("The link has no image of your own in it.")
    page.fill("#ask-text", caption_of(12))
    page.press("#ask-text", "Enter")
    expect(page.locator(".term q")).to_have_text([caption_of(12)])
    page.go_back()
    first = page.locator(".way[aria-label='as they are'] .tile").first
    expect(first).to_have_attribute("aria-label", f"image: {caption_of(20)}")
    page.reload()
    expect(page.locator("#ask-lost")).to_have_text("The image that was asked is not in the address; choose it again.")
    expect(page.locator(".term")).to_have_count(0)


def test_who_closes_an_atom_that_a_link_has_opened_stands_at_it(watched: Watched, served: ServedPage) -> None:
    from playwright.sync_api import expect

    page = watched.page
    for hash, there in (
        ("#atoms/first/9", ".card a[href='#atoms/first/9']"),
        ("#map/first/9", "canvas.map"),
        ("#compare/first/9", "#view"),
    ):
        page.goto("about:blank")
        page.goto(f"{served.url}{hash}")
        page.locator("#atom[open] .histogram").wait_for()
        page.keyboard.press("Escape")
        expect(page.locator(there)).to_be_focused()


def test_an_address_of_what_there_is_not_says_so(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    page.evaluate("location.hash = '#atoms/nope/3'")
    expect(page.locator("#trouble")).to_have_text("There is no autoencoder nope here; there are first, second.")
    page.evaluate("location.hash = '#atoms/first/'")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#sae")).to_have_value("first")
    expect(page.locator("#atom[open]")).to_have_count(0)
    views = "There is no view bogus here; there are ask, atoms, map, compare."
    for hash, said, kept in (
        ("#atoms/first/1.5", "there is no atom '1.5'; atoms are whole numbers from 0", "#atoms/first"),
        ("#atoms/first/9999", "first has atoms 0 to 39, and none of number 9999", "#atoms/first"),
        ("#bogus", views, "#ask/first"),
        ("#bogus/x", f"{views} There is no autoencoder x here; there are first, second.", "#ask/first"),
        ("#map/first?by=tsne", "There is no map by tsne here; there are umap, pca.", "#map/first"),
        (
            "#map/first?hidden=all,bimodal",
            "There is no class all here; there are bimodal, image_only, text_only.",
            "#map/first?hidden=bimodal",
        ),
        (
            "#atoms/first?sort=size",
            "There is no sorting by size here; there are agreement, energy, modality_score, frequency, atom.",
            "#atoms/first",
        ),
        (
            "#atoms/first?order=1",
            "Nothing here is called order; an address may have query, class, shared, noted, sort, rising.",
            "#atoms/first",
        ),
        (
            "#compare/first?beside=first",
            "first is not shown beside itself, but beside another.",
            "#compare/first?beside=second",
        ),
    ):
        page.evaluate("(hash) => location.hash = hash", hash)
        expect(page.locator("#trouble")).to_have_text(said)
        expect(page).to_have_url(re.compile(f"{re.escape(kept)}$"))
        expect(page.locator("#atom[open]")).to_have_count(0)
    page.evaluate("location.hash = '#ask/first?text='")
    expect(page.locator("#ask-lost")).to_be_visible()
    show(page, "ask")
    expect(page.locator("#ask-lost")).to_be_hidden()
    expect(page).to_have_url(re.compile("#ask/first$"))
    assert [line for line in watched.troubles if "422" not in line] == []
    watched.troubles.clear()


def test_a_question_of_what_there_is_not_says_so(watched: Watched) -> None:
    from playwright.sync_api import expect

    page, lost = watched.page, watched.page.locator("#ask-lost")
    page.evaluate("location.hash = '#ask/first?text=a&ways=original,nope'")
    expect(lost).to_have_text("There is no way nope here.")
    expect(page.locator(".way h3")).to_have_text(["as they are"])
    page.evaluate("location.hash = '#ask/nope?text=b&atoms=3:1'")
    expect(lost).to_have_text("There is no autoencoder nope here; there are first, second.")
    expect(page.locator(".term q")).to_have_text(["b"])
    expect(page.locator(".contribution.steered")).to_have_count(0)
    for query, said, terms in (
        ("text=", "The address has a text without words.", []),
        ("less=a", "There is nothing that “a” could be subtracted from.", []),
        ("pair=abc&text=c", "There is no pair abc here: an address has a number from 0 to 149, and .0", ["c"]),
        ("pair=150.1", "There is no pair 150.1 here", []),
        ("&".join(f"text={word}" for word in "defghi"), "At most 4 texts, images and pairs", ["d", "e", "f", "g"]),
        (f"text={'j' * 2001}", "A text has at most 2,000 letters, and this one 2,001; it is not asked.", []),
        ("text=k&atoms=5:-Infinity,40:1", "Atoms are not set as the address says (5:-Infinity, 40:1)", ["k"]),
    ):
        page.evaluate("(query) => location.hash = `#ask/first?${query}`", query)
        expect(lost).to_contain_text(said)
        expect(page.locator(".term q")).to_have_text(terms)
        expect(page.locator("#trouble")).to_be_hidden()
    assert page.url.endswith("#ask/first?text=k"), "what cannot be asked does not stay in the address"
    page.evaluate("location.hash = '#ask/first?less=m&text=l'")
    expect(page.locator(".term")).to_contain_text(["l", "− m"])
