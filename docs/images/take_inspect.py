#!/usr/bin/env python3
"""Takes the picture of `banyan inspect` from the demo, which it starts for that: `make screenshots`.

Both routes are shadowed while the new services have their faults; half of the reviews' callers are handed over, and so is everybody of the
recommendations, whose service is then killed: so there is something of everything to be seen.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from demo.processes import python, start  # noqa: E402 - found once the checkout is on the path
from demo.shop import PASSWORD, USERS  # noqa: E402 - as above
from demo.traffic import Traffic  # noqa: E402 - as above
from demo.world import World  # noqa: E402 - as above
from services.faults import Fault  # noqa: E402 - as above
from tests.support.chromium import ARGUMENTS, CHROMIUM  # noqa: E402 - as above

PICTURE = Path(__file__).parent / "inspect.png"
LARGEST = 250_000
"""Bytes of a picture in the repository."""
RATE = 4.0
"""Requests a second: what one can read."""
SECONDS = 8.0
INSIDE = re.compile(r"serving on \S+?:(\d+)\b.*\n.*look inside at (\S+)")


def say(line: str) -> None:
    """To whoever waits."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Starts the demo and `banyan inspect` beside its gateway, takes the picture, and stops them."""
    world = World(say)
    try:
        world.start(faults=Fault)
        world.steering.turn("reviews", True, 50)
        for flag in ("reviews.shadow", "recommendations", "recommendations.shadow"):
            world.steering.turn(flag, True)
        command = python("-m", "gateway.cli", "inspect", "--config", str(world.config), "--port", "0")
        inside = start("inspect", command, log_dir=world.folder, ready=lambda running: INSIDE.search(running.log.read_text()) is not None)
        try:
            found = INSIDE.search(inside.log.read_text())
            assert found is not None  # noqa: S101 - it was there a moment ago
            traffic = Traffic(int(found[1]), USERS, PASSWORD, RATE)
            say("signing people in")
            traffic.start()
            traffic.resume()
            time.sleep(SECONDS)
            world.kill_service("recommendations")
            time.sleep(SECONDS)
            traffic.stop()
            _take(found[2])
        finally:
            inside.process.send_signal(2)
            try:
                inside.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            inside.stop()
    finally:
        world.close()


def _take(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light").new_page()
        page.goto(address)
        page.goto(address.partition("?")[0] + "#/flows")
        page.get_by_placeholder("Search").fill("~u /api/v1")
        page.locator("tr", has_text="mismatch").filter(has_text="candidate").last.click()
        page.get_by_text("Comment", exact=True).last.click()
        page.wait_for_timeout(1500)
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURE, animations="disabled")
        browser.close()
    size = PICTURE.stat().st_size
    say(f"{PICTURE.name}: {size} bytes")
    if size > LARGEST:
        sys.exit(f"{PICTURE.name} is larger than {LARGEST} bytes")


if __name__ == "__main__":
    main()
