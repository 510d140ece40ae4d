"""What a sample says of who called: that there was a user or none, and never who."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli.run import ENGINES
from tests.support.gateway import Exchange, Upstream, gateway

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
{identity}
"""
ASKED = """
identity = "optional"
[identity]
source = "introspection"
path = "/who"
"""
JSON = b"Content-Type: application/json\r\n"


async def legacy(exchange: Exchange) -> None:
    if exchange.line.startswith(b"GET /who "):
        await exchange.answer(json.dumps({"authenticated": b"sessionid=alice" in exchange.head, "user_id": 700700}).encode(), extra=JSON)
    else:
        await exchange.answer(b'{"by": 1}', extra=JSON)


async def candidate(exchange: Exchange) -> None:
    await exchange.answer(b'{"by": 2}', extra=JSON)


def stored(folder: Path) -> dict[str, str]:
    """Target → caller."""
    path = folder / "var" / "banyan.sqlite3"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            rows = database.execute("SELECT target, request FROM shadow_sample").fetchall()
        except sqlite3.OperationalError:
            return {}  # not made yet
    assert "700700" not in str(rows)
    assert "alice" not in str(rows)
    return {target: json.loads(request)["caller"] for target, request in rows}


@pytest.mark.parametrize(
    ("engine", "identity", "expected"),
    [
        *((engine, ASKED, {"/reviews/1": "user", "/reviews/2": "nobody"}) for engine in ENGINES),
        ("edge", "", {"/reviews/1": "", "/reviews/2": ""}),
    ],
)
async def test_a_sample_says_whether_a_user_called(tmp_path: Path, engine: str, identity: str, expected: dict[str, str]) -> None:
    one, other = Upstream(legacy), Upstream(candidate)
    await one.start()
    await other.start()
    try:
        toml = TOML.format(legacy=one.port, new=other.port, identity=identity)
        async with gateway(tmp_path, toml, engine=engine, reviews=False, reviews__shadow=True) as running:
            asked = await running.request(b"GET /reviews/1 HTTP/1.1\r\nHost: a\r\nCookie: sessionid=alice\r\n\r\n")
            assert asked.status == 200
            assert (await running.request(b"GET /reviews/2 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            async with asyncio.timeout(30):
                while (found := await asyncio.to_thread(stored, tmp_path)) != expected:
                    assert len(found) < 2, found
                    await asyncio.sleep(0.1)
    finally:
        await one.stop()
        await other.stop()
