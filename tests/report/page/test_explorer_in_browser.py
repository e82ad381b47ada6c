"""The report's explorer with 18 pictures an atom, in a real browser.

ISOENERGY_SCREENSHOTS=FOLDER keeps the pictures that the tests take.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser import Watched, chromium
from tests.report.made_up_report import HOSTILE, NAMES, PAIRS_PER_ATOM, made_up_atoms, write_made_up_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

ATOMS, MANY_ATOMS, A_PAGE = 1024, 4096, 24
MADE_UP = NAMES[1]
MOST_BYTES = 25e6
SERIOUS = ("serious", "critical")
LARGEST_NARROW = 460
"""Pixels: 4.5 inches and what is cut off at the edges."""


@dataclass(frozen=True)
class Opened:
    file: Path
    atoms: list[dict[str, Any]]
    browser: "Browser"
    watched: Watched

    @property
    def page(self) -> "Page":
        return self.watched.page

    @property
    def url(self) -> str:
        return self.file.as_uri()

    def choose(self, **values: str) -> None:
        for name, value in values.items():
            self.page.select_option(f"#explorer-{name}", value)

    def shown(self) -> list[int]:
        """The numbers of the atoms on this page of the list."""
        self.page.locator("#explorer-list[aria-busy=false]").wait_for(state="attached")
        return [int(text.removeprefix("atom ")) for text in self.page.locator(".explorer-open").all_inner_texts()]

    def count(self) -> str:
        return self.page.inner_text("#explorer-count")

    def dialog(self) -> "Locator":
        return self.page.locator("#explorer-dialog[open]")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("made-up")
    file = Path(write_made_up_report(folder, ATOMS))
    with chromium() as browser:
        watched = Watched(browser.new_page())
        watched.page.goto(file.as_uri())
        yield Opened(file, made_up_atoms(folder), browser, watched)


@pytest.fixture(autouse=True)
def anew(opened: Opened) -> Iterator[None]:
    """The explorer as it is when the page has been opened, and nothing said or asked for in the end."""
    page = opened.page
    opened.watched.troubles.clear()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.evaluate("location.hash = ''")
    page.locator("#explorer").scroll_into_view_if_needed()
    page.locator("#explorer-count:not(:empty)").wait_for()
    page.fill("#explorer-query", "")
    opened.choose(sae=MADE_UP, sort="energy", test="", meaning="", **{"class": ""})
    if page.get_attribute("#explorer-direction", "aria-pressed") == "false":
        page.click("#explorer-direction")
    yield
    assert opened.watched.troubles == []
    assert opened.watched.requests_elsewhere == []


def strongest(atoms: list[dict[str, Any]]) -> list[int]:
    return [row["atom"] for row in sorted(atoms, key=lambda row: -row["energy"])]


def best_match(row: dict[str, Any], words: tuple[str, ...]) -> float | None:
    """The largest coefficient of a caption of an atom with all words in it."""
    captions = [*zip(row["image_captions"], row["image_values"], strict=True)]
    captions += zip(row["text_captions"], row["text_values"], strict=True)
    return max((value for caption, value in captions if all(word in caption.lower() for word in words)), default=None)


@pytest.mark.slow
def test_many_atoms_are_under_25_mb(tmp_path: Path) -> None:
    file = Path(write_made_up_report(tmp_path, MANY_ATOMS))
    assert MOST_BYTES / 2 < file.stat().st_size < MOST_BYTES


def test_it_holds_all_pictures(opened: Opened) -> None:
    sizes = opened.page.evaluate(
        """async () => {
            const blocks = [...document.querySelectorAll(".explorer-strips")];
            const strips = blocks.flatMap((block) => block.textContent.split("\\n"));
            const some = strips.filter((strip, place) => strip && place % 97 === 0);
            const decoded = await Promise.all(some.map(async (strip) => {
                const image = new Image();
                image.src = `data:image/avif;base64,${strip}`;
                await image.decode();
                return image.naturalWidth / image.naturalHeight;
            }));
            return [strips.filter((strip) => strip).length, ...decoded];
        }"""
    )
    assert sizes[0] == ATOMS
    assert set(sizes[1:]) == {2 * PAIRS_PER_ATOM}
    assert opened.page.locator("*").count() < 4000


def test_a_strip_is_decoded_only_when_its_card_is_near(opened: Opened) -> None:
    from playwright.sync_api import expect

    page, drawn = opened.page, re.compile(r'^url\("data:image/avif')
    page.evaluate("document.getElementById('explorer').scrollIntoView()")
    first, last = (page.locator("#explorer-list .explorer-picture").nth(place) for place in (0, -1))
    expect(first).to_have_css("background-image", drawn)
    expect(last).not_to_have_css("background-image", drawn)
    last.scroll_into_view_if_needed()
    expect(last).to_have_css("background-image", drawn)
    strongest_first = next(row for row in opened.atoms if row["atom"] == opened.shown()[0])
    expect(first).to_have_attribute("aria-label", strongest_first["image_captions"][0])


def test_captions_are_searched(opened: Opened) -> None:
    assert opened.count() == f"{ATOMS:,} atoms, 1–{A_PAGE} shown"
    opened.page.fill("#explorer-query", "Lighthouse  STRIPED")
    found = {row["atom"]: best_match(row, ("lighthouse", "striped")) for row in opened.atoms}
    values = {atom: value for atom, value in found.items() if value is not None}
    assert A_PAGE < len(values) < ATOMS
    assert opened.count().startswith(f"{len(values):,} of {ATOMS:,} atoms")
    assert [values[atom] for atom in opened.shown()] == pytest.approx(
        sorted(values.values())[: -A_PAGE - 1 : -1], rel=1e-2
    )
    marked = opened.page.locator("#explorer-list mark").all_inner_texts()
    assert {text.lower() for text in marked} == {"lighthouse", "striped"}
    opened.page.fill("#explorer-query", "no such words")
    assert opened.count() == "No atom matches."
    assert opened.shown() == []


def test_whole_words_come_before_parts_of_words(opened: Opened) -> None:
    opened.page.fill("#explorer-query", "cat")
    assert opened.shown() == [opened.atoms[2]["atom"], opened.atoms[1]["atom"]]
    opened.page.fill("#explorer-query", "cat all")  # each stands in a caption, both in one alone
    assert opened.shown() == [opened.atoms[1]["atom"]]
    opened.page.fill("#explorer-query", "cat -all")
    assert opened.shown() == [opened.atoms[1]["atom"]]
    assert opened.count() == (
        f"1 of {ATOMS:,} atoms (a minus leaves nothing out here: “all” is looked for as the other words are)"
    )


@pytest.mark.parametrize("query", ['"cat"', "cat.", "(Cat) cat", "a cat, mat"])
def test_punctuation_is_not_searched_for_beside_words(opened: Opened, query: str) -> None:
    opened.page.fill("#explorer-query", query)
    assert opened.shown()[0] == opened.atoms[2]["atom"]
    assert "cat" in opened.page.locator("#explorer-list li").first.locator("mark").all_inner_texts()


def test_punctuation_alone_is(opened: Opened) -> None:
    opened.page.fill("#explorer-query", "><")
    assert len(opened.shown()) == 1


def test_each_word_is_found_in_a_word_of_its_own(opened: Opened) -> None:
    opened.page.fill("#explorer-query", "cat education")  # both in one word of one caption
    assert opened.shown() == []
    opened.page.fill("#explorer-query", "o educ")  # `o` leaves `education` to the other, and takes `for`
    assert opened.shown() == [opened.atoms[1]["atom"]]


@pytest.mark.parametrize("query", ["77", "atom 77", "#77"])
def test_an_atom_is_found_by_its_number(opened: Opened, query: str) -> None:
    opened.page.fill("#explorer-query", query)
    assert opened.shown()[0] == 77
    opened.page.press("#explorer-query", "Enter")
    assert opened.dialog().locator("h3").inner_text() == "Atom 77"


@pytest.mark.parametrize(
    "key", ["energy", "modality_score", "frequency", "sharedness", "correlation", "q_value", "atom"]
)
def test_atoms_are_sorted_both_ways(opened: Opened, key: str) -> None:
    opened.choose(sort=key)
    values = {row["atom"]: row[key] for row in opened.atoms}
    known = sorted(value for value in values.values() if value is not None)
    assert [values[atom] for atom in opened.shown()] == pytest.approx(known[::-1][:A_PAGE], rel=1e-3)
    opened.page.click("#explorer-direction")
    assert [values[atom] for atom in opened.shown()] == pytest.approx(known[:A_PAGE], rel=1e-3)


def test_atoms_are_filtered_by_class_test_and_sae(opened: Opened) -> None:
    opened.choose(**{"class": "text_only"}, test="rejected")
    expected = [
        row
        for row in opened.atoms
        if row["class"] == "text_only" and row["q_value"] is not None and row["q_value"] < 0.05
    ]
    assert opened.shown() == strongest(expected)[:A_PAGE]
    opened.choose(**{"class": ""}, test="untested")
    assert opened.count().startswith(f"{sum(row['q_value'] is None for row in opened.atoms):,} of")
    opened.choose(test="", sae=NAMES[0])
    few = int(opened.count().split()[0])
    assert 0 < few <= 20
    opened.choose(sae="")
    assert opened.count().startswith(f"{ATOMS + few:,} atoms")


def test_what_is_shared_in_meaning_is_a_filter_and_what_agrees_most_comes_first(opened: Opened) -> None:
    assert opened.page.locator("#explorer-sort option").first.get_attribute("value") == "agreement"
    opened.choose(sort="agreement")
    shared = [row for row in opened.atoms if row["class"] == "bimodal" and row["agrees"]]
    expected = sorted((row["correlation"] for row in shared), reverse=True)
    of = {row["atom"]: row["correlation"] for row in opened.atoms}
    assert [of[atom] for atom in opened.shown()] == pytest.approx(expected[:A_PAGE], rel=1e-3)
    opened.choose(meaning="shared")
    assert opened.count().startswith(f"{len(shared):,} of {ATOMS:,} atoms")
    opened.choose(meaning="other")
    assert opened.count().startswith(f"{ATOMS - len(shared):,} of {ATOMS:,} atoms")


def test_pages_turn(opened: Opened) -> None:
    expected = strongest(opened.atoms)
    opened.page.get_by_role("button", name="next →").first.click()
    assert opened.shown() == expected[A_PAGE : 2 * A_PAGE]
    assert opened.count().endswith("25–48 shown")
    opened.page.get_by_role("button", name="← previous").last.click()
    assert opened.shown() == expected[:A_PAGE]
    assert opened.page.get_by_role("button", name="← previous").first.is_disabled()


def test_a_link_opens_an_atom_and_the_back_button_closes_it(opened: Opened) -> None:
    page = opened.page
    row = next(row for row in opened.atoms if row["atom"] == 5)
    page.goto(f"{opened.url}#{MADE_UP}/atom-5")
    dialog = opened.dialog()
    said = dialog.inner_text()
    assert dialog.locator("h3").inner_text() == "Atom 5"
    for caption in row["text_captions"]:
        assert caption in said
    labels = [picture.get_attribute("aria-label") for picture in dialog.locator(".explorer-picture[role=img]").all()]
    assert labels[:PAIRS_PER_ATOM] == row["image_captions"]
    assert f"{sum(row['image_histogram']):,} images fire it" in said
    known = row["q_value"]
    verdict = "Too few pairs" if known is None else "is rejected" if known < 0.05 else "is not rejected"
    assert verdict in said
    partner = row["partners"][0]
    dialog.locator(".explorer-partners a").first.click()
    page.wait_for_url(f"**#{MADE_UP}/atom-{partner}")
    assert dialog.locator("h3").inner_text() == f"Atom {partner}"
    page.go_back()
    assert dialog.locator("h3").inner_text() == "Atom 5"
    page.go_back()
    dialog.wait_for(state="detached")


def comes_into_focus(page: "Page", name: str) -> None:
    """Wait for it: a dialog is gone before the page hears of its end."""
    page.wait_for_function("(name) => document.activeElement.textContent === name", arg=name)


def test_a_link_into_a_page_that_is_not_open_yet(opened: Opened) -> None:
    page = opened.browser.new_page()
    page.goto(f"{opened.url}#{MADE_UP}/atom-77")
    assert page.locator("#explorer-dialog[open] h3").inner_text() == "Atom 77"
    page.keyboard.press("Escape")
    page.locator("#explorer-dialog[open]").wait_for(state="detached")
    comes_into_focus(page, "atom 77")
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert 0 <= top < 900
    page.goto(f"{opened.url}#{MADE_UP}/atom-99999")
    assert f"{MADE_UP} has no atom of this number" in page.locator("#explorer-dialog[open]").inner_text()
    page.close()


def test_a_link_that_somebody_broke_is_no_trouble(opened: Opened) -> None:
    page = opened.browser.new_page()
    watched = Watched(page)
    page.goto(f"{opened.url}#%E0%A4%A")
    page.goto(f"{opened.url}#%E0%A4%A/atom-77")
    page.locator("#explorer-dialog[open]", has_text="This report has no autoencoder %E0%A4%A").wait_for()
    assert watched.troubles == []
    page.close()


def test_a_link_with_the_name_of_another_report_s_sae_shows_what_there_is(opened: Opened) -> None:
    page, dialog = opened.page, opened.dialog()
    page.goto(f"{opened.url}#nope/atom-77")
    dialog.get_by_text("This report has no autoencoder nope; it has:").wait_for()
    there = dialog.locator("li").all_inner_texts()
    assert sorted(line.split()[3] for line in there) == sorted(NAMES)
    dialog.locator("li", has_text=MADE_UP).get_by_role("link", name="atom 77").click()
    page.wait_for_url(f"**#{MADE_UP}/atom-77")
    assert dialog.locator("h3").inner_text() == "Atom 77"


def test_numbers_have_two_digits_and_intervals_stand_small_beside_them(opened: Opened) -> None:
    row = next(row for row in opened.atoms if row["atom"] == opened.shown()[0])
    span = f"[{row['correlation_low']:.2f}, {row['correlation_high']:.2f}]".replace("-", "−")
    numbers = opened.page.locator("#explorer-list .explorer-numbers").first
    title = numbers.get_attribute("title") or ""
    assert "over pairs: the test split" in title
    assert title.endswith(f"95% interval {span}")
    assert float(re.search(r"energy (\S+)", numbers.inner_text())[1]) == float(f"{row['energy']:.2g}")  # type: ignore[index]
    opened.page.locator(".explorer-open").first.click()
    facts = opened.dialog().locator(".explorer-facts > div")
    agreement = next(fact for fact in facts.all() if fact.locator("dt").inner_text() == "agreement, of the test split")
    assert agreement.locator(".bounds").inner_text().strip() == span
    energies = [fact.locator("dd").inner_text() for fact in facts.all()[:3]]
    expected = [row["energy"], row["image_energy"], row["text_energy"]]
    assert [float(energy) for energy in energies] == [float(f"{value:.2g}") for value in expected]
    values = opened.dialog().locator(".explorer-captions .quiet").all_inner_texts()
    assert values == [f"{value:#.2g}" for value in row["text_values"]]


def test_all_is_reached_by_keys(opened: Opened) -> None:
    page, expected = opened.page, strongest(opened.atoms)
    page.focus("#explorer-query")

    def after(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        return page.evaluate("document.activeElement.textContent")

    assert after("ArrowDown") == f"atom {expected[0]}"
    assert after("ArrowRight") == f"atom {expected[1]}"
    columns = page.evaluate(
        "(tops => tops.filter(top => top === tops[0]).length)"
        "([...document.querySelectorAll('#explorer-list > li')].map(item => item.offsetTop))"
    )
    assert columns == 3
    assert after("ArrowDown", "ArrowLeft") == f"atom {expected[columns]}"
    assert after("End", "ArrowRight") == f"atom {expected[A_PAGE]}"
    assert after("ArrowLeft") == f"atom {expected[A_PAGE - 1]}"
    after("Home", "Enter")
    dialog = opened.dialog()
    dialog.wait_for()
    assert page.evaluate("document.activeElement.textContent") == f"Atom {expected[0]}"
    after("ArrowRight")
    assert dialog.locator("h3").inner_text() == f"Atom {expected[1]}"
    assert page.url.endswith(f"#{MADE_UP}/atom-{expected[1]}")
    after("Escape")
    dialog.wait_for(state="detached")
    comes_into_focus(page, f"atom {expected[1]}")
    assert "#" not in page.url
    after("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "explorer-query"


def test_captions_are_text_whatever_they_hold(opened: Opened) -> None:
    opened.page.fill("#explorer-query", "onerror=alert(1)></script>")
    assert len(opened.shown()) == 1
    opened.page.locator(".explorer-open").click()
    opened.dialog().wait_for()
    labels = [each.get_attribute("aria-label") for each in opened.dialog().get_by_role("img").all()]
    assert HOSTILE in labels


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
def test_it_is_accessible_and_fits(
    opened: Opened, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = opened.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate("document.getElementById('explorer').scrollIntoView()")
    for name, open_it in (("atoms", False), ("atom", True)):
        if open_it:
            page.locator(".explorer-open").first.click()
            opened.dialog().wait_for()
        overflow = "e => e.scrollWidth - e.clientWidth"
        assert page.evaluate(f"({overflow})(document.documentElement)") <= 0
        assert page.locator("#explorer-dialog").evaluate(overflow) <= 0
        page.wait_for_timeout(300)  # pictures are decoded
        opened.watched.screenshot(f"explorer-{name}-{width}-{scheme}", tmp_path)
        found = Axe().run(page).response["violations"]
        assert [
            (each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS
        ] == []


def test_the_map_has_a_dot_an_atom_and_opens_one(opened: Opened, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = opened.page
    page.locator("#explorer-map > summary").click()
    canvas, tip = page.locator(".explorer-canvas"), page.locator(".explorer-tip")
    expect(canvas).to_have_attribute("data-dots", str(ATOMS))
    canvas.focus()
    canvas.press("ArrowRight")
    expect(tip).to_contain_text(re.compile(r"^atom \d+ "))
    opened.watched.screenshot("report-map", tmp_path)
    atom = tip.locator("strong").inner_text()
    row = next(row for row in opened.atoms if f"atom {row['atom']}" == atom)
    assert row["text_captions"][0] in tip.inner_text()
    canvas.press("Enter")
    assert opened.dialog().locator("h3").inner_text().lower() == atom
    page.keyboard.press("Escape")
    opened.choose(sae=NAMES[0])
    few = int(opened.count().split()[0])
    expect(canvas).to_have_attribute("data-dots", str(few))
    page.locator("#explorer-map > summary").click()


def test_on_a_phone_figures_are_drawn_for_it_in_what_is_collapsed_too(opened: Opened, tmp_path: Path) -> None:
    page = opened.browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(opened.url)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    figures = page.evaluate(
        """async () => {
            const shown = [...document.querySelectorAll("img.plot")].filter((each) => each.offsetWidth);
            await Promise.all(shown.map((each) => each.decode()));
            return shown.map((each) => [each.alt, each.naturalWidth, each.closest(".scroll") !== null]);
        }"""
    )
    assert len(figures) > 8
    assert [alt for alt, width, scrolls in figures if width > LARGEST_NARROW or scrolls] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#measures").scroll_into_view_if_needed()
    place = Path(os.environ.get("ISOENERGY_SCREENSHOTS") or tmp_path)
    page.screenshot(path=place / "report-390-whole.png", full_page=True)
    page.close()


def test_a_curated_atom_opens_and_escape_leads_back_to_it(opened: Opened) -> None:
    page = opened.page
    link = page.locator("article.atom a").first
    link.click()
    assert opened.dialog().locator("h3").inner_text().lower() == link.inner_text()
    page.keyboard.press("Escape")
    opened.dialog().wait_for(state="detached")
    assert page.evaluate("document.activeElement.closest('article') !== null")


def test_tabs_show_one_autoencoder_in_all_sections(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("tab", name="SAE (β = 0)").first.click()
    shown = page.locator("[role=tabpanel]:not([hidden])")
    assert {panel.get_attribute("data-label") for panel in shown.all()} == {"SAE (β = 0)"}
    assert shown.count() == 3
    page.get_by_role("tab", selected=True).first.press("ArrowLeft")
    assert {panel.get_attribute("data-label") for panel in shown.all()} == {"SAE-A (β = 0.0025)"}


def test_the_contents_stay_in_view_and_say_where_one_is(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.getElementById('rivals').scrollIntoView()")
    page.locator(".contents a[aria-current]", has_text="Rivals").wait_for()
    assert page.locator(".contents").bounding_box()["y"] == pytest.approx(0, abs=1)  # type: ignore[index]
    page.locator(".contents a", has_text="How it was made").click()
    page.locator("#made + details[open]").wait_for()


def test_it_can_be_looked_at_before_what_is_collapsed(opened: Opened) -> None:
    top = opened.page.evaluate("document.getElementById('measures').getBoundingClientRect().top + scrollY")
    assert top < 12 * 900


def test_without_scripts_the_strongest_atoms_are_there(opened: Opened) -> None:
    page = opened.browser.new_context(java_script_enabled=False).new_page()
    page.goto(opened.url)
    assert page.locator("article.atom").count() > 10
    assert not page.locator("#explorer-controls").is_visible()
    assert "With scripts allowed" in page.locator("#explorer").inner_text()
    page.context.close()


def test_the_histogram_s_bars_are_its_counts(opened: Opened) -> None:
    row = opened.atoms[0]
    opened.page.goto(f"{opened.url}#{MADE_UP}/atom-{row['atom']}")
    for modality in ("image", "text"):
        bars = opened.dialog().locator(f".explorer-histogram rect.{modality}").all()
        heights = [float(bar.get_attribute("height") or 0) for bar in bars]
        counts = row[f"{modality}_histogram"]
        filled = [place for place, count in enumerate(counts) if count]
        expected = [math.log10(1 + count) for count in counts[filled[0] : filled[-1] + 1]]
        scale = max(heights) / max(expected)
        assert heights == pytest.approx([scale * each for each in expected], abs=1e-6)
    assert re.search(
        r"\d images fire it; .*\d captions fire it", opened.dialog().locator("svg").get_attribute("aria-label") or ""
    )
