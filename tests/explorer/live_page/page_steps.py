"""What a person does on the live page, and reads there."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def ask(page: "Page", text: str) -> None:
    page.fill("#ask-text", text)
    page.press("#ask-text", "Enter")
    page.locator(".way").first.wait_for()


def neighbours(page: "Page", way: str = "as they are") -> list[str]:
    found = page.locator(f".way[aria-label='{way}'] .tile")
    return [str(tile.get_attribute("aria-label")) for tile in found.all()]


def show(page: "Page", view: str) -> None:
    page.click(f"#views a[data-view='{view}']")
