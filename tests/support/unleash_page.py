"""Unleash's UI as somebody uses it: signs in, makes a flag, flips it, edits its rollout. Selectors are those of Unleash 8.2.

Chromium reaches nothing but that Unleash: its fonts and the user's picture come from elsewhere, and the UI has to do without.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.unleash import RunningUnleash
from tests.support.chromium import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Response, Route

PROJECT = "/projects/default"
PATIENCE = 45_000
"""Milliseconds for whatever is looked for: both cores may be busy with other tests."""


@dataclass(frozen=True)
class Change:
    """What the UI asked of Unleash for a click, by the browser's clock: seconds since 1970, as time.time()."""

    sent: float
    answered: float
    """When the answer's head was there."""
    body: dict[str, Any]
    """What it sent."""


@dataclass
class UnleashPage:
    """One signed-in person's page."""

    page: Page
    url: str
    log: list[str] = field(default_factory=list)
    """What the page wrote to its console, and what it was kept from loading."""

    async def sign_in(self, username: str, password: str) -> None:
        await self.page.goto(self.url)
        await self.page.get_by_role("textbox", name="Email").fill(username)
        await self.page.get_by_role("textbox", name="Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("link", name="Flags overview").wait_for()

    async def create_flag(self, name: str) -> None:
        """In the project Default; leaves the flag's own page open."""
        await self.page.get_by_role("link", name="Projects", exact=True).click()
        await self.page.locator(f'a[href="{PROJECT}"]').first.click()
        # A new project shows the button twice: in its setup's first step, and above the list of flags.
        await self.page.get_by_role("button", name="New feature flag").last.click()
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_role("textbox", name="feature flag name").fill(name)
        await self._change(dialog.get_by_role("button", name="Create feature flag"), "POST", f"{PROJECT}/features")
        # The UI opens the flag's page by itself. But the list of flags writes its query into the address late, and on a machine that is
        # slow enough (Chromium throttled to an eighth) this takes the page back to the list, for good.
        await self.page.goto(f"{self.url}{PROJECT}/features/{name}")
        await self.page.get_by_role("heading", name=name, level=1, exact=True).wait_for()

    async def flip(self, environment: str, enabled: bool) -> Change:
        """The switch of an environment on the flag's own page."""
        switch = self.page.get_by_role("switch", name=environment, exact=True)
        assert await switch.is_checked() is not enabled
        change = await self._change(switch, "POST", f"/environments/{environment}/{'on' if enabled else 'off'}")
        await self.page.get_by_text(f"{'Enabled' if enabled else 'Disabled'} in {environment}").last.wait_for()
        return change

    async def set_rollout(self, environment: str, percent: int) -> Change:
        """Edits the one strategy that the flag has in the environment."""
        from playwright.async_api import expect

        section = self.page.get_by_role("button", name=f"Environment {environment}")
        if await section.get_attribute("aria-expanded") != "true":
            await section.click()
        await self.page.get_by_role("link", name="Edit strategy").click()
        number = self.page.get_by_role("spinbutton")
        await number.fill(str(percent))
        await number.press("Tab")  # it counts when the field is left
        await expect(self.page.get_by_role("slider", name="Rollout")).to_have_value(str(percent), timeout=PATIENCE)
        save = self.page.get_by_role("button", name="Save strategy")
        change = await self._change(save, "PUT", f"/environments/{environment}/strategies/")
        assert change.body["parameters"]["rollout"] == str(percent)
        await save.wait_for(state="detached")
        await self.page.get_by_text(f"{percent}%", exact=True).first.wait_for()
        return change

    async def _change(self, button: Locator, method: str, place: str) -> Change:
        def meant(response: Response) -> bool:
            return response.request.method == method and place in response.url

        async with self.page.expect_response(meant) as waited:
            await button.click()
        response = await waited.value
        assert response.ok, f"Unleash answered {response.status} to {method} {response.url}"
        timing, body = response.request.timing, response.request.post_data_json
        return Change(timing["startTime"] / 1000, (timing["startTime"] + timing["responseStart"]) / 1000, body or {})


@asynccontextmanager
async def unleash_page(unleash: RunningUnleash, folder: Path) -> AsyncIterator[UnleashPage]:
    """A page that is signed in. What went wrong is left in `folder`: a picture, and the page's console."""
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        context = await browser.new_context(viewport={"width": 1280, "height": 900}, service_workers="block")
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        opened = UnleashPage(page, unleash.url)

        async def keep_from(route: Route) -> None:
            opened.log.append(f"kept from {route.request.url}")
            await route.abort()

        await context.route(re.compile(f"^(?!{re.escape(unleash.url)}/)"), keep_from)  # what is allowed need not be asked about here
        page.on("console", lambda message: opened.log.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.log.append(f"error: {error}"))
        try:
            await opened.sign_in(unleash.username, unleash.password)
            yield opened
        except BaseException:
            (folder / "unleash-console.log").write_text("\n".join(opened.log) + "\n")
            print(f"Unleash's page as it was: {folder}/unleash.png, its console: {folder}/unleash-console.log; its address: {page.url}")
            with suppress(Error):  # what went wrong before is the news
                await page.screenshot(path=folder / "unleash.png")
            raise
        finally:
            await context.unroute_all(behavior="ignoreErrors")
            await browser.close()
