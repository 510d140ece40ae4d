#!/usr/bin/env python3
"""Takes docs/images/unleash-flag.png and unleash-rollout.png from the real Unleash, which it starts for that (demo/unleash.py).

.venv/bin/python docs/images/take_unleash.py        # in the checkout's folder
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import FloatRect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from demo.unleash import RunningUnleash, running_unleash  # noqa: E402 - found once the checkout is on the path
from tests.support.unleash_page import unleash_page  # noqa: E402 - as above

FOLDER = Path(__file__).parent
FLAG: FloatRect = {"x": 330, "y": 60, "width": 892, "height": 560}
"""What is shown of the page: without the menu at the left."""
FORM: FloatRect = {"x": 26, "y": 0, "width": 802, "height": 680}
"""The same of the strategy's form."""
LARGEST = 150_000
"""Bytes of a picture in the repository."""


async def take(unleash: RunningUnleash, workdir: Path) -> None:
    """Makes the flag reviews, on for a quarter of the users, and takes both pictures."""
    async with unleash_page(unleash, workdir) as ui:
        await ui.create_flag("reviews")
        await ui.flip("development", True)
        await ui.set_rollout("development", 25)
        await ui.page.get_by_role("button", name="Close").last.click()  # "Strategy updated"
        await ui.page.mouse.move(0, 0)
        await ui.page.screenshot(path=FOLDER / "unleash-flag.png", clip=FLAG, animations="disabled")
        await ui.page.get_by_role("link", name="Edit strategy").click()
        await ui.page.get_by_role("spinbutton").wait_for()
        await ui.page.screenshot(path=FOLDER / "unleash-rollout.png", clip=FORM, animations="disabled")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_unleash(Path(folder)) as unleash:
        asyncio.run(take(unleash, Path(folder)))
    for picture in ("unleash-flag.png", "unleash-rollout.png"):
        size = (FOLDER / picture).stat().st_size
        print(f"{picture}: {size} bytes")
        if size > LARGEST:
            sys.exit(f"{picture} is larger than {LARGEST} bytes")


if __name__ == "__main__":
    main()
