"""A report on S3 opens in a browser, from the server."""

from pathlib import Path

import pytest

from tests.browser import Watched, chromium
from tests.report.made_up_report import NAMES, write_made_up_report
from tests.s3.seaweedfs import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]


def test_a_report_on_s3_is_a_page_with_its_explorer(s3: S3Server, tmp_path: Path) -> None:
    place = write_made_up_report(tmp_path, 50, f"s3://{s3.bucket()}/run/report.html")
    url = s3.filesystem.sign(place)
    with chromium() as browser:
        watched = Watched(browser.new_page())
        watched.page.goto(url)
        watched.page.locator("#explorer").scroll_into_view_if_needed()
        watched.page.fill("#explorer-query", "atom 33")
        assert watched.page.locator(".explorer-open").first.inner_text() == "atom 33"
        watched.page.locator(".explorer-open").first.click()
        assert watched.page.locator("#explorer-dialog[open] h3").inner_text() == "Atom 33"
        assert watched.page.url.endswith(f"#{NAMES[1]}/atom-33")
    assert watched.troubles == []
    assert watched.requests_elsewhere == [url]
