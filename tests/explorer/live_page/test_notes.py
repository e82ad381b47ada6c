"""Notes on atoms: kept, and never lost to a reload, a limit or another tab."""

import re

import pytest

from isoenergy.explorer.serving import ServedPage
from tests.browser import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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
