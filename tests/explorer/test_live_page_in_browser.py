"""The live page in a real browser. ISOENERGY_SCREENSHOTS=FOLDER keeps the pictures that the tests take."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.serving import ServedPage, open_exploration
from isoenergy.explorer.web_page import Access, web_page
from isoenergy.store import EmbeddingStore
from tests.browser import Watched, chromium
from tests.explorer.small_exploration import HOSTILE, caption_of, explored, make_sae, make_store, png

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SERIOUS = ("serious", "critical")
VIEWS = ("ask", "atoms", "map", "compare")
TOO_SMALL = """() => [...document.querySelectorAll("button, input, a, select, summary")].filter((each) => {
    const { width, height } = each.getBoundingClientRect();  // a card is one link's, all of it
    return width > 1 && (width < 24 || height < 24) && !each.closest(".card");
}).map((each) => each.outerHTML)"""


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


def ask(page: "Page", text: str) -> None:
    page.fill("#ask-text", text)
    page.press("#ask-text", "Enter")
    page.locator(".way").first.wait_for()


def neighbours(page: "Page", way: str = "as they are") -> list[str]:
    found = page.locator(f".way[aria-label='{way}'] .tile")
    return [str(tile.get_attribute("aria-label")) for tile in found.all()]


def show(page: "Page", view: str) -> None:
    page.click(f"#views a[data-view='{view}']")


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


def test_a_note_is_kept_as_its_box_is_left_and_one_that_cannot_be_is_not_lost(watched: Watched) -> None:
    from playwright.sync_api import expect

    page, dialog, note = watched.page, watched.page.locator("#atom[open]"), watched.page.locator("#note")
    page.evaluate("location.hash = '#atoms/first/3'")
    note.fill("half a thought")
    expect(dialog).to_contain_text("not kept yet")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("#atoms/first$"))
    page.evaluate("location.hash = '#atoms/first/3'")
    expect(note).to_have_value("half a thought")
    page.reload()
    expect(note).to_have_value("half a thought")
    note.fill("another")
    page.focus("#atom-title")
    expect(dialog).to_contain_text("kept in notes.json")
    note.fill("x" * 4100)
    expect(dialog).to_contain_text("4,100 of at most 4,000 letters")
    page.keyboard.press("Escape")
    expect(page.locator("#trouble")).to_have_text("a note has at most 4,000 letters, this one 4,100")
    page.evaluate("location.hash = '#atoms/first/3'")
    expect(note).to_have_value("x" * 4100)
    page.once("dialog", lambda shown: shown.accept())
    page.reload()
    expect(note).to_have_value("another")
    assert [line for line in watched.troubles if "422" not in line] == ["dialog: "], "it asks before the page is left"
    watched.troubles.clear()


def test_a_note_that_another_tab_has_changed_is_not_overwritten_unasked(watched: Watched, served: ServedPage) -> None:
    from playwright.sync_api import expect

    page, other = watched.page, watched.page.context.new_page()
    mine, theirs = page.locator("#note"), other.locator("#note")
    page.evaluate("location.hash = '#atoms/first/9'")
    expect(mine).to_have_value("")
    other.goto(f"{served.url}#atoms/first/9")
    theirs.fill("theirs")
    other.focus("#atom-title")
    expect(other.locator("#atom")).to_contain_text("kept in notes.json")
    mine.fill("mine")
    page.focus("#atom-title")
    expect(page.locator("#note-changed")).to_contain_text("Somebody else has written here since you read it: theirs.")
    expect(mine).to_have_value("mine")
    page.keyboard.press("Escape")
    expect(page.locator("#trouble")).to_contain_text("atom 9 of first has another note by now")
    page.evaluate("location.hash = '#atoms/first/9'")
    expect(mine).to_have_value("mine")
    page.get_by_text("keep mine in its place").click()
    expect(page.locator("#atom")).to_contain_text("kept in notes.json")
    expect(page.locator("#note-changed")).to_be_hidden()
    theirs.fill("theirs again")
    other.focus("#atom-title")
    other.get_by_text("take that one").click()
    expect(theirs).to_have_value("mine")
    other.close()
    assert [line for line in watched.troubles if "409" not in line] == []
    watched.troubles.clear()


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
    page.keyboard.press("Enter")
    page.locator("#atom[open]").wait_for()
    page.keyboard.press("Escape")
    page.uncheck("#map-bimodal")


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


def test_the_autoencoder_is_changed(watched: Watched) -> None:
    from playwright.sync_api import expect

    page = watched.page
    ask(page, caption_of(12))
    before = page.locator(".contribution .name").all_inner_texts()
    page.select_option("#sae", "first")
    expect(page.locator("#about")).to_contain_text("first:")
    page.locator(".contribution").first.wait_for()
    assert page.locator(".contribution .name").all_inner_texts() != before


def test_a_hostile_caption_is_words(watched: Watched) -> None:
    page = watched.page
    ask(page, HOSTILE)
    assert neighbours(page)[0] == f"caption: {HOSTILE}"
    assert page.locator("img[src='x']").count() == 0


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
