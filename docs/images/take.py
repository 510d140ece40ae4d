#!/usr/bin/env python3
"""Takes docs/images/difference.png from a running console: the newest sample of a route's first signature, or of the one named.

BANYAN_CONSOLE_USER=… BANYAN_CONSOLE_PASSWORD=… .venv/bin/python docs/images/take.py http://127.0.0.1:PORT reviews --path '$.average'
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.chromium import ARGUMENTS, CHROMIUM  # found once the checkout is on the path


def take(page: Page, url: str, route: str, path: str, target: Path) -> None:
    """Logs in, opens the sample, and writes the picture to `target`."""
    page.goto(f"{url}/login/?next=/routes/{route}/")
    page.get_by_label("Name").fill(os.environ["BANYAN_CONSOLE_USER"])
    page.get_by_label("Password").fill(os.environ["BANYAN_CONSOLE_PASSWORD"])
    page.get_by_role("button", name="Log in").click()
    link = page.get_by_role("link", name=path, exact=True) if path else page.locator("#live table a.path")
    link.first.click()
    page.wait_for_selector(".differences")
    page.screenshot(path=target, animations="disabled")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="the console's address")
    parser.add_argument("route")
    parser.add_argument("--path", default="", help="the signature's path; default: the first of the route")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("difference.png"))
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--chromium", default=str(CHROMIUM))
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
        page = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme=options.scheme).new_page()
        take(page, options.url.rstrip("/"), options.route, options.path, options.out)
        browser.close()


if __name__ == "__main__":
    main()
