#!/usr/bin/env python3
"""Takes the console's pictures from the demo, which it starts for that: `make screenshots`.

With `--all FOLDER` it also puts every page there, wide and narrow, light and dark, to be looked at.

The demo's people ask for some time while both routes are compared and the new services have their faults; then one fault is found to be
expected by a rule, a tenth of one route is handed over, and Chromium looks at each page.
"""

from __future__ import annotations

import argparse
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
WIDE, NARROW = 1280, 390
HEIGHT = 860
COMPARED = 400
"""Comparisons of each route, without which there is too little to see."""


def say(line: str) -> None:
    """To whoever waits."""
    print(line, file=sys.stderr, flush=True)


def story(world: World, traffic: Traffic) -> int:
    """What there is to look at: some minutes of it. When it began, in Unix seconds."""
    figures, began = Figures(world.config), time.time()
    for route in ROUTES:
        world.steering.turn(f"{route}.shadow", True)
    traffic.resume()
    until = time.monotonic() + 180
    while any(each.compared < COMPARED for each in figures.reports(ROUTES, began)):
        if time.monotonic() > until:
            sys.exit(f"in three minutes no {COMPARED} answers of each route were compared: {traffic.counts.last_failure or 'too slow'}")
        time.sleep(1)
    _banyan(world, "mark", "reviews 1.4.2", "--route", "reviews")
    say("the new reviews come without their faults")
    world.start_services(["reviews"], ())
    time.sleep(60)
    world.steering.turn("recommendations", True, 10)
    time.sleep(30)
    return int(began)


def _banyan(world: World, *arguments: str) -> None:
    subprocess.run(python("-m", "gateway.cli", *arguments, "--config", str(world.config)), check=True, timeout=60)  # noqa: S603 - our own


def log_in(page: Page, world: World) -> None:
    """As the demo's operator."""
    page.goto(f"{world.console.url}/login/")
    page.get_by_label("Name").fill(CONSOLE_USER)
    page.get_by_label("Password").fill(world.console_password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{world.console.url}/")


def pictures(page: Page, world: World, began: int) -> None:
    """Each page as a person finds it."""
    url = world.console.url
    _take(page, f"{url}/?span=15m", FOLDER / "console-overview.png")
    _take(page, f"{url}/routes/reviews/?since={began - 15}", FOLDER / "console-route.png", settle=2.0, height=1180)
    _take(page, _signature(page, url), FOLDER / "console-signature.png", height=1000)
    _take(page, f"{url}/endpoints/", FOLDER / "console-endpoints.png")


def _signature(page: Page, url: str) -> str:
    """The page of the one whose values are told apart best."""
    page.goto(f"{url}/routes/reviews/?span=15m")
    page.locator("a.path[href^='/signatures/']").filter(has_text="$.average").first.click()
    page.wait_for_selector(".differences")
    return page.url


def everything(page: Page, world: World, folder: Path) -> None:
    """Whole pages, for whoever wants to see what is wrong with them."""
    folder.mkdir(parents=True, exist_ok=True)
    url = world.console.url
    places = {
        "overview": f"{url}/?span=15m",
        "route": f"{url}/routes/reviews/?span=15m",
        "rules": f"{url}/routes/reviews/rules/",
        "signature": _signature(page, url),
        "endpoints": f"{url}/endpoints/",
        "timeline": f"{url}/timeline/",
        "flags": f"{url}/flags/",
        "override": f"{url}/flags/reviews/override/",
        "audit": f"{url}/audit/",
    }
    places["expect"] = f"{places['signature'].partition('samples/')[0]}expect/"
    for width in (WIDE, NARROW):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for name, place in places.items():
                _take(page, place, folder / f"{name}-{width}-{scheme}.png", settle=2.0 if name == "route" else 0.5, width=width, whole=True)


def _take(page: Page, url: str, path: Path, *, settle: float = 0.5, width: int = WIDE, height: int = HEIGHT, whole: bool = False) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(url)
    page.wait_for_timeout(1000 * settle)  # charts are drawn
    page.mouse.move(0, 0)
    page.screenshot(path=path, animations="disabled", full_page=whole)
    size = path.stat().st_size
    say(f"{path.name}: {size} bytes")
    if size > LARGEST and not whole:
        sys.exit(f"{path.name} is larger than {LARGEST} bytes")


def main() -> None:
    """Starts the demo, lets it run, takes the pictures, and stops it."""
    parser = argparse.ArgumentParser(description="Takes the console's pictures from the demo.")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page too, wide and narrow, light and dark")
    given = parser.parse_args()
    world = World(say)
    traffic: Traffic | None = None
    try:
        world.start(faults=Fault)
        traffic = Traffic(world.gateway_port, USERS, PASSWORD, RATE)
        say("signing 50 people in")
        traffic.start()
        began = story(world, traffic)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
            page = browser.new_context(viewport={"width": WIDE, "height": HEIGHT}, color_scheme="light").new_page()
            log_in(page, world)
            pictures(page, world, began)
            if given.all is not None:
                everything(page, world, given.all)
            browser.close()
    finally:
        if traffic is not None:
            traffic.stop()
        world.close()


if __name__ == "__main__":
    main()
