"""Passwords that are looked at at once: a few, some wait, and the rest comes again. What waits takes nothing from the database."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import cast

import httpx
import psycopg
import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import AsyncRequestFactory

from console import crowd
from console.crowd import AT_ONCE, WAITING, Passwords
from demo.postgres import start_postgres
from demo.processes import StartError
from tests.support.console import running_console
from tests.support.required import missing

MANY = 150
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
[shadow]
database = "{database}"
"""


class Behind:
    """What comes after the middleware: it answers when it may."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = self.most = self.answered = 0

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.go.wait()
        finally:
            self.inside -= 1
        self.answered += 1
        return HttpResponse("ok")


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def door(behind: Behind) -> Passwords:
    return Passwords(behind.__call__)


def ask(door: Passwords, path: str = "/login/", method: str = "post", **headers: str) -> asyncio.Task[HttpResponseBase]:
    async def answer() -> HttpResponseBase:
        request = getattr(AsyncRequestFactory(), method)(path, headers=headers)
        return await cast("Awaitable[HttpResponseBase]", door(request))

    return asyncio.create_task(answer())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_whoever_leaves_ends_when_his_password_has_been_looked_at(door: Passwords, behind: Behind) -> None:
    """Before that his thread could only be waited for by all."""
    asked = [ask(door) for _ in range(AT_ONCE)]
    await settled()
    for each in asked:
        each.cancel()
    after = ask(door)
    await settled()
    assert not any(each.done() for each in asked)
    assert behind.inside == AT_ONCE, "and his place is his until then"
    behind.go.set()
    for each in asked:
        with pytest.raises(asyncio.CancelledError):
            await each
    assert (await after).status_code == 200
    assert behind.answered == AT_ONCE + 1


async def test_a_few_at_once_some_wait_and_the_rest_is_told_to_come_again(door: Passwords, behind: Behind) -> None:
    asked = [ask(door, "/account/password/" if number % 5 == 0 else "/login/") for number in range(AT_ONCE + WAITING + 7)]
    await settled()
    assert behind.inside == AT_ONCE
    refused = [(await each) for each in asked if each.done()]
    assert [(each.status_code, each["Retry-After"]) for each in refused] == [(503, "5")] * 7
    behind.go.set()
    answers = Counter([(await each).status_code for each in asked])
    assert answers == {200: AT_ONCE + WAITING, 503: 7}
    assert behind.most == AT_ONCE


async def test_only_who_shows_a_password_waits(door: Passwords, behind: Behind) -> None:
    first = [ask(door) for _ in range(AT_ONCE)]
    others = [ask(door, method="get"), ask(door, "/language/"), ask(door, "/login/", "head")]
    await settled()
    assert behind.inside == AT_ONCE + len(others)
    behind.go.set()
    await asyncio.gather(*first, *others)


async def test_who_waits_and_leaves_makes_room(door: Passwords, behind: Behind) -> None:
    inside = [ask(door) for _ in range(AT_ONCE)]
    waiting = [ask(door) for _ in range(WAITING)]
    await settled()
    waiting[0].cancel()
    waiting[-1].cancel()
    await asyncio.gather(waiting[0], waiting[-1], return_exceptions=True)
    await settled()
    assert behind.inside == AT_ONCE
    more = [ask(door) for _ in range(3)]
    await settled()
    assert [each.done() for each in more] == [False, False, True], "two left"
    behind.go.set()
    await asyncio.gather(*inside, *waiting[1:-1], *more)
    assert behind.answered == AT_ONCE + WAITING


async def test_nobody_waits_for_ever(door: Passwords, behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "WAIT_SECONDS", 0.05)
    inside = [ask(door) for _ in range(AT_ONCE)]
    late = await ask(door, **{"Accept-Language": "ko"})
    assert (late.status_code, late["Content-Type"]) == (503, "text/plain; charset=utf-8")
    assert re.search("[가-힣]", cast("HttpResponse", late).content.decode())
    behind.go.set()
    await asyncio.gather(*inside)
    assert (await ask(door)).status_code == 200


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    try:
        yield server.url
    finally:
        server.stop()


@pytest.mark.timeout(180)
async def test_a_crowd_takes_a_few_connections(database: str, tmp_path: Path) -> None:
    """A PostgreSQL has a hundred for everybody, the gateway's ledger among them."""
    config = tmp_path / "banyan.toml"
    config.write_text(TOML.format(database=database))
    over = asyncio.Event()

    async def count() -> int:
        """The most that there were at once."""
        most = 0
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            while not over.is_set():
                found = await connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
                row = await found.fetchone()
                assert row is not None
                most = max(most, row[0])
                await asyncio.sleep(0.01)
        return most - 1

    # Each from an address of its own: else there would be twenty, and the others would be told to wait for a minute.
    with running_console(config, BANYAN_CONSOLE_PROXIES="1", BANYAN_TEST_ITERATIONS="100000") as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=120, limits=httpx.Limits(max_connections=MANY)) as client:
            page = await client.get("/login/")
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert found is not None
            counting = asyncio.create_task(count())

            async def attempt(number: int) -> httpx.Response:
                form = {"username": f"name{number}", "password": "wrong", "csrfmiddlewaretoken": found[1]}
                origin = {"Referer": running.url, "X-Forwarded-For": f"2001:db8:{number:x}::1"}
                return await client.post("/login/", data=form, headers=origin)

            answers = await asyncio.gather(*(attempt(number) for number in range(MANY)))
            over.set()
            most = await counting
        statuses = Counter(answer.status_code for answer in answers)
        assert most <= AT_ONCE + 4, "its own threads have four"
        assert statuses[200] >= AT_ONCE + WAITING
        assert statuses[200] + statuses[503] == MANY
        assert {answer.headers["Retry-After"] for answer in answers if answer.status_code == 503} == {"5"}
