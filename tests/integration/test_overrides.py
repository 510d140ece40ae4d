"""An override holds on every worker, until its end, through a worker's death and a restart; and who set it stays known."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.support.gateway import Gateway, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n"
TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the gateway has its files."""
    return tmp_path


async def until(happened: Callable[[], bool], seconds: float = 5) -> None:
    """Waits for it; `happened` may block for a moment."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(happened):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(home: Path, **flags: bool) -> AsyncIterator[Gateway]:
    (home / "log" / "gateway.log").unlink(missing_ok=True)  # of the life before
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(home, TOML.format(folder=home, legacy=legacy.port, new=new.port), workers=2, **flags) as started:
            yield started
    finally:
        await legacy.stop()
        await new.stop()


async def ask(started: Gateway, method: str, path: str, body: object = None) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started.admin}", timeout=10) as client:
        answer = await client.request(method, path, content=data)
    return answer.status_code, answer.json()


async def override(started: Gateway, enabled: bool, seconds: float = 60) -> Any:
    body = {"enabled": enabled, "seconds": seconds, "by": "ana", "why": "Unleash is down"}
    status, said = await ask(started, "PUT", "/flags/overrides/reviews", body)
    assert status == 200, said
    return said


async def served(started: Gateway, times: int = 8) -> set[str]:
    """By whom and why, on connections that both workers take."""
    answers = [await started.request(GET) for _ in range(times)]
    return {(answer.header("Banyan-Route") or "").partition("; ")[2] for answer in answers}


async def test_it_wins_over_the_flag_on_every_worker_and_everybody_can_see_it(home: Path) -> None:
    async with running(home, reviews=True, reviews__shadow=False) as started:
        assert await served(started) == {"served-by=candidate; reason=flag"}
        said = await override(started, False)
        assert said["workers"] == {"0": True, "1": True}
        assert said["warning"] == ""
        assert await served(started) == {"served-by=legacy; reason=override"}
        state = started.get("/flags")
        assert state["flags"]["reviews"] is True
        shown = state["overrides"]["reviews"]
        assert (shown["enabled"], shown["by"], shown["why"]) == (False, "ana", "Unleash is down")
        assert shown["until"] == pytest.approx(time.time() + 60, abs=10)
        assert 'banyan_flag_override_end_timestamp_seconds{enabled="false",flag="reviews"} 1.' in started.metrics()
        await started.current(reviews=False)  # what the flag is meanwhile does not matter …
        await started.current(reviews=True)
        assert await served(started) == {"served-by=legacy; reason=override"}
        status, said = await ask(started, "DELETE", "/flags/overrides/reviews", {"by": "bo", "why": "over"})
        assert (status, said["workers"]) == (200, {"0": True, "1": True})
        assert await served(started) == {"served-by=candidate; reason=flag"}  # … until it ends
        await asyncio.sleep(0.5)
        logged = [json.loads(line)["reason"] for line in (home / "access.log").read_text().splitlines()]
        assert logged.count("override") == 16
        changes = started.get("/flags/changes?after=0")["changes"]
        mine = [(change["old"], change["new"], change["by"], change["why"]) for change in changes if change["kind"] == "override"]
        until = shown["until"]
        assert mine == [
            (None, {"enabled": False, "until": until}, "ana", "Unleash is down"),
            ({"enabled": False, "until": until}, None, "bo", "over"),
        ]
        assert [change["number"] for change in changes] == list(range(1, len(changes) + 1))
        assert started.get(f"/flags/changes?after={len(changes)}")["changes"] == []


async def test_it_ends_by_itself(home: Path) -> None:
    async with running(home, reviews=False) as started:
        await override(started, True, seconds=1.0)
        assert await served(started) == {"served-by=candidate; reason=override"}
        await until(lambda: (state := started.get("/flags"))["overrides"] == {} and all(state["workers"].values()))
        assert await served(started) == {"served-by=legacy; reason=flag-off"}
        assert started.get("/flags/changes")["changes"][-1]["why"] == "its time was over"


async def test_a_worker_that_dies_comes_back_with_it(home: Path) -> None:
    async with running(home, reviews=True) as started:
        await override(started, False)
        before = started.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not set(started.workers()) & set(before) and all(started.get("/flags")["workers"].values()), 20)
        assert await served(started) == {"served-by=legacy; reason=override"}


async def test_a_restart_does_not_forget_it_and_what_has_ended_meanwhile_is_over(home: Path) -> None:
    async with running(home, reviews=True) as started:
        await override(started, False)
    kept = home / "var" / "flag-overrides.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    async with running(home, reviews=True) as started:
        assert await served(started) == {"served-by=legacy; reason=override"}
        assert "flags: reviews is still overridden off" in started.process.log.read_text()
    document = json.loads(kept.read_text())
    document["reviews"]["until"] = time.time() - 1
    kept.write_text(json.dumps(document))
    async with running(home, reviews=True) as started:
        assert await served(started) == {"served-by=candidate; reason=flag"}


async def test_a_record_that_cannot_be_read_or_written_is_said_and_stops_nothing(home: Path) -> None:
    (home / "var").mkdir()
    kept = home / "var" / "flag-overrides.json"
    kept.write_text("nonsense")
    async with running(home, reviews=True) as started:
        assert "flag-overrides.json: not a record of overrides" in started.process.log.read_text()
        assert await served(started) == {"served-by=candidate; reason=flag"}
        kept.unlink()
        kept.mkdir()  # a file cannot take its place
        said = await override(started, False)
        assert "is not written yet" in said["warning"]
        assert said["workers"] == {"0": True, "1": True}
        assert await served(started) == {"served-by=legacy; reason=override"}


async def test_what_is_no_override_is_refused_with_what_would_be_right(home: Path) -> None:
    async with running(home, reviews=True) as started:
        good = {"enabled": False, "seconds": 60}
        for body, says in (
            (b"", "not JSON"),
            ([], '"enabled"'),
            ({"enabled": "off", "seconds": 5}, '"enabled"'),
            ({"enabled": False}, '"seconds"'),
            ({"enabled": False, "seconds": 0}, '"seconds"'),
            ({"enabled": False, "seconds": True}, '"seconds"'),
            ({"enabled": False, "seconds": 8 * 86400}, "a week"),
            ({**good, "by": 7}, '"by"'),
            ({**good, "why": "two\nlines"}, '"why"'),
            ({**good, "why": "x" * 501}, '"why"'),
            (b"x" * 70_000, "longer than"),
        ):
            status, said = await ask(started, "PUT", "/flags/overrides/reviews", body)
            assert (status, says in said["detail"]) == (422, True), (body, said)
        status, said = await ask(started, "PUT", "/flags/overrides/revews", good)
        assert (status, "reviews, reviews.shadow" in said["detail"]) == (404, True)
        assert (await ask(started, "DELETE", "/flags/overrides/reviews"))[0] == 404
        assert (await ask(started, "DELETE", "/flags/overrides/reviews", b"{"))[0] == 422
        assert (await ask(started, "GET", "/flags/changes?after=x"))[0] == 422
        assert started.get("/flags")["overrides"] == {}
        assert await served(started) == {"served-by=candidate; reason=flag"}


async def test_what_is_wrong_with_a_flag_is_said_once_and_shown(home: Path) -> None:
    async with running(home, reviews=True) as started:
        await until(lambda: started.get("/flags")["problems"] != [])
        (shown,) = started.get("/flags")["problems"]
        assert shown["flag"] == "reviews.shadow"
        assert "there is no such flag" in shown["problem"]
        for _ in range(50):
            await started.request(GET)
        shadow = {"name": "reviews.shadow", "enabled": False, "strategies": []}
        features = [{"name": "reviews", "enabled": True, "strategies": [{"name": "ours"}]}, shadow]
        started.flags.write_text(json.dumps({"version": 1, "features": features}))
        await until(lambda: [each["flag"] for each in started.get("/flags")["problems"]] == ["reviews"])
        assert await served(started) == {"served-by=legacy; reason=flag-off"}
        assert 'banyan_flag_problems{flag="reviews"} 1.0' in started.metrics()
        log = started.process.log.read_text()
        assert log.count("reviews.shadow: there is no such flag") == 1
        assert log.count("the strategy 'ours' is not one of Unleash's own") == 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """For tests that leave it as it was."""
    async with running(tmp_path_factory.mktemp("shared"), reviews=True) as gateway:
        yield gateway


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "odd",
    [
        {"features": [], "segments": [{}]},
        {"features": [], "segments": [{"id": []}]},
        {"features": [{"name": "reviews", "enabled": True, "strategies": []}], "segments": [[1, []]]},
        {
            "features": [
                {"name": f"f{number}", "enabled": True, "strategies": [], "dependencies": [{"feature": f"f{number + 1}"}]}
                for number in range(1200)
            ]
        },
    ],
    ids=["segment without id", "id that is a list", "segment as a list", "a long line of parents"],
)
async def test_no_document_stops_the_traffic_or_what_comes_after_it(started: Gateway, odd: dict[str, Any]) -> None:
    before = started.workers()
    started.flags.write_text(json.dumps({"version": 1, **odd}))
    await asyncio.sleep(1.0)
    async with asyncio.timeout(20):  # until both workers have compiled it
        while len(await served(started)) > 1:  # noqa: ASYNC110 - what workers decide by has no event
            await asyncio.sleep(0.1)
    assert started.workers() == before
    await started.current(reviews=False)
    assert await served(started) == {"served-by=legacy; reason=flag-off"}
    await started.current(reviews=True)
    assert await served(started) == {"served-by=candidate; reason=flag"}
