#!/usr/bin/env python3
"""Takes the console's pictures from the demo, which it starts for that: `make screenshots`.

The demo's people ask for some time while both routes are compared and the new services have their faults; then one fault is found to be
expected by a rule, a tenth of one route is handed over, and Chromium looks at each page.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from demo.configuration import ROUTES  # noqa: E402 - found once the checkout is on the path
from demo.figures import Figures  # noqa: E402 - as above
from demo.processes import python  # noqa: E402 - as above
from demo.shop import PASSWORD, USERS  # noqa: E402 - as above
from demo.traffic import Traffic  # noqa: E402 - as above
from demo.world import CONSOLE_USER, World  # noqa: E402 - as above
from services.faults import Fault  # noqa: E402 - as above
from tests.support.chromium import ARGUMENTS, CHROMIUM  # noqa: E402 - as above

FOLDER = Path(__file__).parent
LARGEST = 250_000
"""Bytes of a picture in the repository."""
RATE = 40.0
"""Requests a second."""
WIDE = (1280, 860)
NARROW = (390, 844)


def say(line: str) -> None:
    """To whoever waits."""
    print(line, file=sys.stderr, flush=True)


def story(world: World, traffic: Traffic) -> None:
    """What there is to look at: four minutes of it."""
    figures, began = Figures(world.config), time.time()
    for route in ROUTES:
        world.steering.turn(f"{route}.shadow", True)
    until = time.monotonic() + 120
    while any(each.compared < 400 for each in figures.reports(ROUTES, began)) and time.monotonic() < until:
        time.sleep(1)
    _banyan(world, "mark", "reviews 1.4.2", "--route", "reviews")
    say("the new reviews come without their faults")
    world.start_services(["reviews"], ())
    time.sleep(60)
    world.steering.turn("recommendations", True, 10)
    time.sleep(30)


def _banyan(world: World, *arguments: str) -> None:
    subprocess.run(python("-m", "gateway.cli", *arguments, "--config", str(world.config)), check=True, timeout=60)  # noqa: S603 - our own


def log_in(page: Page, world: World) -> None:
    """As the demo's operator."""
    page.goto(f"{world.console.url}/login/")
    page.get_by_label("Name").fill(CONSOLE_USER)
    page.get_by_label("Password").fill(world.console_password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{world.console.url}/")


def pictures(page: Page, world: World) -> None:
    """Each page as a person finds it."""
    url = world.console.url
    _take(page, f"{url}/?span=15m", "console-overview.png")
    _take(page, f"{url}/routes/reviews/?span=15m", "console-route.png", settle=2.0)
    page.locator("a.path[href^='/signatures/']").filter(has_text="$.average").first.click()
    page.wait_for_selector(".differences")
    _take(page, "", "console-signature.png")
    _take(page, f"{url}/endpoints/", "console-endpoints.png")
    _take(page, f"{url}/timeline/", "console-timeline.png")
    page.emulate_media(color_scheme="dark")
    _take(page, f"{url}/?span=15m", "console-dark.png")
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    _take(page, f"{url}/routes/reviews/?span=15m", "console-narrow.png", settle=2.0)


def _take(page: Page, url: str, name: str, settle: float = 0.5) -> None:
    if url:
        page.goto(url)
    page.wait_for_timeout(1000 * settle)  # charts are drawn
    page.mouse.move(0, 0)
    path = FOLDER / name
    page.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    say(f"{name}: {size} bytes")
    if size > LARGEST:
        sys.exit(f"{name} is larger than {LARGEST} bytes")


def main() -> None:
    """Starts the demo, lets it run, takes the pictures, and stops it."""
    world = World(say)
    traffic: Traffic | None = None
    try:
        world.start(faults=Fault)
        traffic = Traffic(world.gateway_port, USERS, PASSWORD, RATE)
        say("signing 50 people in")
        traffic.start()
        story(world, traffic)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
            page = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]}, color_scheme="light").new_page()
            log_in(page, world)
            pictures(page, world)
            browser.close()
    finally:
        if traffic is not None:
            traffic.stop()
        world.close()


if __name__ == "__main__":
    main()
