"""Somebody logs in at the shop's own form, through the gateway, and is the same person to the new service, which never asks the shop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from demo.processes import Running
from demo.shop import PASSWORD, Shop, start_reviews, start_shop
from tests.support.chromium import ARGUMENTS, CHROMIUM, required
from tests.support.gateway import Gateway, gateway
from tests.support.stamp_keys import SECRET

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TOML = """
[gateway]
expose_decision = true
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{reviews}"
[identity]
source = "introspection"
claims = ["username"]
stamp = {{ key = "{secret}" }}
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    required()
    running = start_shop(tmp_path_factory.mktemp("shop"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[Running]:
    running = start_reviews(tmp_path_factory.mktemp("reviews"), shop, stamp_key=SECRET)
    yield running
    running.stop()


@pytest_asyncio.fixture
async def running(tmp_path: Path, shop: Shop, reviews: Running) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, TOML.format(legacy=shop.port, reviews=reviews.port, secret=SECRET), workers=2) as started:
        yield started


@pytest_asyncio.fixture
async def page(running: Gateway) -> AsyncIterator[Page]:
    """A browser with an empty cookie jar, at the gateway."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            context = await browser.new_context(base_url=f"http://127.0.0.1:{running.port}")
            context.set_default_timeout(45_000)
            yield await context.new_page()
        finally:
            await browser.close()


async def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    await page.goto("/login/")
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("Password", exact=False).first.fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(lambda url: "/login/" not in url)


async def write_review(page: Page, item: int, title: str) -> str:
    """What the page says of it then."""
    await page.goto(f"/items/{item}/")
    form = page.locator("#review")
    await form.get_by_label("Stars").fill("4")
    await form.get_by_label("Title").fill(title)
    await form.get_by_label("What is it like?").fill("It does what it says.")
    async with page.expect_response(lambda answer: answer.url.endswith("/api/v1/reviews/")):
        await form.get_by_role("button", name="Write a review").click()
    said = form.locator("output")
    await said.filter(has_text=" ").wait_for()
    return await said.inner_text()


async def ask(page: Page, path: str, **options: Any) -> tuple[int, dict[str, str], Any]:
    """Status, header fields and JSON of what the page's own script asks for, with the browser's cookies."""
    script = """async ([path, options]) => {
        const answer = await fetch(path, options);
        return [answer.status, Object.fromEntries(answer.headers), await answer.text()];
    }"""
    status, headers, text = await page.evaluate(script, [path, options])
    return status, headers, json.loads(text) if text.startswith(("{", "[")) else text


async def unreviewed(page: Page, user: int) -> list[int]:
    """Items that this user has not reviewed."""
    found = []
    for item in range(1, 60):
        mine, next_page = False, 1
        while next_page:
            _, _, listed = await ask(page, f"/api/v1/reviews/?item={item}&page={next_page}")
            mine = mine or any(each["user"]["id"] == user for each in listed["results"])
            next_page = listed["next"]
        if not mine:
            found.append(item)
        if len(found) == 3:
            return found
    raise AssertionError("he has reviewed everything")


async def test_one_person_to_the_shop_and_to_the_new_service(running: Gateway, page: Page) -> None:
    await log_in(page, "user17")
    _, _, me = await ask(page, "/api/v1/users/me")
    first, second, third = await unreviewed(page, me["id"])

    # Legacy's own API, through the gateway: it takes the form's token, and nothing without it.
    assert f"by {me['name']}" in await write_review(page, first, "From the shop")
    body = json.dumps({"item": second, "rating": 1, "title": "Forged", "body": "Not meant."})
    status, _, _ = await ask(page, "/api/v1/reviews/", method="POST", headers={"Content-Type": "application/json"}, body=body)
    assert status == 403

    # The new service takes the route over. It has no sessions; it knows him by the stamp.
    await running.current(reviews=True)
    assert f"by {me['name']}" in await write_review(page, second, "From the new service")
    status, headers, listed = await ask(page, f"/api/v1/reviews/?item={second}")
    assert (status, headers["banyan-route"].split("; ")[1]) == (200, "served-by=candidate")
    (mine,) = [each for each in listed["results"] if each["title"] == "From the new service"]
    assert mine["user"] == {"id": me["id"], "name": me["name"]}

    # A page of another site, in the same browser, with the same cookies: neither answers for it.
    other = await page.context.new_page()
    await other.goto(f"http://localhost:{running.port}/")
    statuses = []
    for number, kind in enumerate(("text/plain", "application/json")):
        script = """async ([url, kind, body]) => {
            try {
                await fetch(url, {method: "POST", mode: kind == "text/plain" ? "no-cors" : "cors", credentials: "include",
                                  headers: {"Content-Type": kind}, body});
                return "sent";
            } catch (error) { return "kept back"; }
        }"""
        forged = json.dumps({"item": third, "rating": 1, "title": f"Forged {number}", "body": "Not meant."})
        statuses.append(await other.evaluate(script, [f"http://127.0.0.1:{running.port}/api/v1/reviews/", kind, forged]))
    assert statuses == ["sent", "kept back"]
    _, _, listed = await ask(page, f"/api/v1/reviews/?item={third}")
    assert not [each for each in listed["results"] if each["title"].startswith("Forged")]

    # Logged out at the shop, he is nobody to the new service at once, whichever worker answers.
    await page.goto("/")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Sign out").click()
    for _ in range(6):
        answer = await ask(page, "/api/v1/reviews/", method="POST", headers={"Content-Type": "application/json"}, body=body)
        assert answer[0] == 401


async def test_a_new_password_ends_the_other_sessions(running: Gateway, page: Page) -> None:
    """Django's own PasswordChangeView: the session goes on under another key, every other one of the user's is over at legacy at once, and
    here as soon as what is remembered of it is too old. The old key is dropped on the way past."""
    await running.current(reviews=True)
    await log_in(page, "user18")
    old = next(cookie["value"] for cookie in await page.context.cookies() if cookie["name"] == "sessionid")
    body = json.dumps({"item": 10**6, "rating": 1, "title": "x", "body": "y"})
    head = f"POST /api/v1/reviews/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    stolen = f"{head}Cookie: sessionid={old}\r\n\r\n{body}".encode()
    for _ in range(8):  # both workers come to remember it
        assert (await running.request(stolen)).status == 404, "known: there is no such item"
    await page.goto("/password/")
    await page.locator("input[name=old_password]").fill(PASSWORD)
    await page.locator("input[name=new_password1]").fill("another long passphrase")
    await page.locator("input[name=new_password2]").fill("another long passphrase")
    async with page.expect_navigation():
        await page.locator("main form button, form button").last.click()
    now = next(cookie["value"] for cookie in await page.context.cookies() if cookie["name"] == "sessionid")
    assert now != old
    statuses = set()
    for _ in range(10):
        await asyncio.sleep(0.05)  # the other worker is told over the supervisor
        statuses = {(await running.request(stolen)).status for _ in range(4)}
        if statuses == {401}:
            break
    assert statuses == {401}
    assert (await ask(page, "/api/v1/reviews/", method="POST", headers={"Content-Type": "application/json"}, body=body))[0] == 404
