"""One request's id leads through everything: its answer, what upstreams are told, the access log, and the gateway's own log, as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.gateway import Exchange, Upstream, gateway, ok

TOML = """
[gateway]
access_log = "access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


async def test_the_gateways_own_log_is_json_where_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_LOG_FORMAT", "json")
    async with gateway(tmp_path, TOML.format(legacy=1, new=1)) as running:
        async with asyncio.timeout(15):
            while "cannot be reached" not in running.process.log.read_text():  # noqa: ASYNC110 - another process' log has no event
                await asyncio.sleep(0.05)
    lines = [line for line in running.process.log.read_text().splitlines() if not line.startswith("banyan: serving")]
    found = [json.loads(line) for line in lines]
    assert any("legacy at http://127.0.0.1:1 cannot be reached" in each["message"] for each in found)
    assert {each["process"] for each in found} >= {"supervisor"}
    assert all({"time", "level", "logger", "process", "pid", "message"} <= each.keys() for each in found)


async def test_an_answer_an_upstream_and_the_access_log_name_the_same_request(tmp_path: Path) -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.reset()

    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=legacy.port, new=new.port), reviews=True, reviews__shadow=True) as running:
            assert (await running.request(b"GET /reviews/1 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            (first,) = new.requests[0].header("X-Request-ID")
            assert legacy.requests[0].header("X-Request-ID") == [first], "whoever is asked beside is told the same"
            legacy.handler = broken
            failed = await running.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            second = json.loads(failed.body)["request_id"]
            assert legacy.requests[-1].header("X-Request-ID") == [second]
            refused = await running.request(b"GET / HTTP/1.1\r\n\r\n")
            third = json.loads(refused.body)["request_id"]
        logged = [json.loads(line)["id"] for line in (tmp_path / "access.log").read_text().splitlines()]
        assert logged == [first, second, third]
        assert len(set(logged)) == 3
    finally:
        await legacy.stop()
        await new.stop()
