"""The edge engine on real sockets: what clients get, what upstreams see."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = "access.log"
[gateway.limits]
header_timeout = "1s"
body_bytes = "1MiB"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
[upstreams.new]
url = "http://127.0.0.1:{new}"
connect_timeout = "500ms"
response_timeout = "700ms"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
rewrite = "/v2/*"
host = "new.internal"
"""

GET = b"GET /reviews/3?page=2 HTTP/1.1\r\nHost: shop.test\r\n\r\n"


class World:
    """A gateway between two upstreams of ours."""

    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("edge")
    async with _world(folder) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    """The one gateway of this module, with nothing left of the test before."""
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    await running.gateway.current(reviews=False, moved=False)
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


@asynccontextmanager
async def _world(folder: Path) -> AsyncIterator[World]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = TOML.replace("{legacy}", str(legacy.port)).replace("{new}", str(new.port)).replace("access.log", str(folder / "access.log"))
    try:
        async with gateway(folder, toml) as running:
            yield World(running, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


async def test_headers_bodies_and_keep_alive(world: World) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.answer(b"seen: " + exchange.body, extra=b"X-Own: kept\r\nKeep-Alive: timeout=9\r\nBanyan-Error: forged\r\n")

    world.legacy.handler = echo
    client = await world.gateway.connect()
    first = await client.request(
        b"POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nBanyan-Identity: forged\r\nCookie: a=b\r\n\r\nhello"
    )
    assert (first.status, first.body) == (200, b"seen: hello")
    assert first.header("X-Own") == "kept"
    assert first.header("Keep-Alive") is first.header("Banyan-Error") is None
    assert first.header("Banyan-Route") == "-; served-by=legacy; reason=unrouted"
    second = await client.request(
        b"POST /x HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n"
    )
    assert second.body == b"seen: abcde"
    third = await client.request(b"HEAD /x HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    assert (third.status, third.header("Content-Length")) == (200, "6")
    client.close()
    seen = world.legacy.requests[0]
    assert seen.line == b"POST /orders HTTP/1.1"
    assert seen.header("Host") == ["shop.test"]
    assert seen.header("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.header("X-Forwarded-Proto") == ["http"]
    assert seen.header("X-Forwarded-Host") == ["shop.test"]
    assert seen.header("Via") == ["1.1 banyan"]
    assert seen.header("Cookie") == ["a=b"]
    assert seen.header("Connection") == seen.header("X-Hop") == seen.header("Banyan-Identity") == []
    assert len({exchange.header("X-Request-ID")[0] for exchange in world.legacy.requests}) == 3
    assert world.legacy.connections == 1  # all three went over one


async def test_pipelined_requests_are_answered_in_order_and_a_bad_one_ends_it(world: World) -> None:
    async def name(exchange: Exchange) -> None:
        await asyncio.sleep(0.02 if b"/1 " in exchange.line else 0)
        await exchange.answer(exchange.line.split()[1])

    world.legacy.handler = name
    client = await world.gateway.connect()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(1, 6)) + b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n")
    assert [(await client.response()).body for _ in range(5)] == [b"/1", b"/2", b"/3", b"/4", b"/5"]
    last = await client.response()
    assert (last.status, last.header("Banyan-Error"), last.header("Connection")) == (400, "framing", "close")
    assert await client.rest() == b""
    assert [exchange.line for exchange in world.legacy.requests] == [b"GET /%d HTTP/1.1" % n for n in range(1, 6)]


async def test_bodies_stream_both_ways_without_waiting_for_their_end(world: World) -> None:
    async def talk(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await asyncio.sleep(0.3)
        await exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    world.legacy.handler = talk
    client = await world.gateway.connect()
    began = asyncio.get_running_loop().time()
    await client.send(GET)
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert await client.reader.readexactly(8) == b"3\r\none\r\n"
    assert asyncio.get_running_loop().time() - began < 0.25
    assert await client.reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"
    client.close()


async def test_a_large_body_both_ways(world: World) -> None:
    sent = bytes(range(256)) * 4000

    async def echo(exchange: Exchange) -> None:
        await exchange.answer(exchange.body)

    world.legacy.handler = echo
    response = await world.gateway.request(b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
    assert response.body == sent
    refused = await world.gateway.request(b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    assert (refused.status, refused.header("Banyan-Error")) == (413, "body-too-large")


async def test_a_response_that_ends_with_the_connection(world: World) -> None:
    async def old(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nuntil the end")
        exchange.writer.close()

    world.legacy.handler = old
    assert (await world.gateway.request(GET)).body == b"until the end"
    old_client = await world.gateway.connect()
    await old_client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert (await old_client.rest()).endswith(b"Connection: close\r\n\r\nuntil the end")


async def test_interim_answers_and_expect(world: World) -> None:
    async def patient(exchange: Exchange) -> None:
        assert exchange.header("Expect") == ["100-continue"]
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await exchange.reader.readexactly(5)
        await exchange.answer(body)

    world.legacy.handler = patient
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.response()).status == 100
    await client.send(b"hello")
    assert (await client.response()).body == b"hello"
    client.close()


async def test_a_request_that_is_answered_before_its_body_came_is_counted_as_skipped(tmp_path: Path) -> None:
    async def no(exchange: Exchange) -> None:
        await exchange.answer(b"too large", status="413 Content Too Large")

    async with _world(tmp_path) as world:
        world.legacy.handler = no
        await world.gateway.current(reviews=False, reviews__shadow=True)
        client = await world.gateway.connect()
        await client.send(b"GET /reviews/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        answer = await client.response()
        assert (answer.status, answer.header("Connection")) == (413, "close")
        expected = 'banyan_shadow_skipped_total{reason="body_incomplete",route="reviews"} 1.0'
        for _ in range(200):  # a worker reports once a second
            metrics = await asyncio.to_thread(world.gateway.metrics)
            if expected in metrics:
                break
            await asyncio.sleep(0.05)
        assert expected in metrics
        assert 'banyan_shadow_eligible_total{route="reviews"} 1.0' in metrics
        assert world.new.requests == []


async def test_the_flag_decides_and_a_flip_is_seen_by_the_next_request(world: World) -> None:
    client = await world.gateway.connect()
    assert (await client.request(GET)).header("Banyan-Route") == "reviews; served-by=legacy; reason=flag-off"
    await world.gateway.current(reviews=True)
    answered = await client.request(GET)
    assert answered.header("Banyan-Route") == "reviews; served-by=candidate; reason=flag"
    assert world.new.requests[-1].line == b"GET /reviews/3?page=2 HTTP/1.1"
    await world.gateway.current(reviews=False)
    assert (await client.request(GET)).header("Banyan-Route") == "reviews; served-by=legacy; reason=flag-off"
    client.close()


async def test_rewrite_and_host(world: World) -> None:
    await world.gateway.current(moved=True)
    await world.gateway.request(b"GET /moved/a/b?c=d HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    seen = world.new.requests[-1]
    assert (seen.line, seen.header("Host"), seen.header("X-Forwarded-Host")) == (
        b"GET /v2/a/b?c=d HTTP/1.1",
        ["new.internal"],
        ["shop.test"],
    )


@pytest.mark.parametrize("fault", ["refused", "reset", "hang", "500", "garbage", "half-a-body"])
async def test_a_failing_candidate_costs_a_get_nothing(world: World, fault: str) -> None:
    async def fail(exchange: Exchange) -> None:
        if fault == "reset":
            exchange.reset()
        elif fault == "hang":
            await asyncio.sleep(5)
        elif fault == "500":
            await exchange.answer(b"oops", "500 Internal Server Error")
        elif fault == "garbage":
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
        else:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
            exchange.reset()

    world.new.handler = fail
    await world.gateway.current(reviews=True)
    if fault == "refused":
        await world.new.stop()
    response = await world.gateway.request(GET)
    assert (response.status, response.body) == (200, b"ok")
    reason = {"hang": "timeout", "500": "status-500", "garbage": "bad-answer", "half-a-body": "reset"}.get(fault, fault)
    assert response.header("Banyan-Route") == f"reviews; served-by=legacy; reason=fallback-{reason}"
    assert [exchange.line for exchange in world.legacy.requests] == [b"GET /reviews/3?page=2 HTTP/1.1"]


POST = b"POST /reviews/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


async def test_a_post_falls_back_only_when_nothing_was_sent(world: World) -> None:
    async def charge_and_die(exchange: Exchange) -> None:
        exchange.reset()

    world.new.handler = charge_and_die
    await world.gateway.current(reviews=True)
    response = await world.gateway.request(POST)
    assert (response.status, response.header("Banyan-Error")) == (502, "outcome-unknown")
    assert json.loads(response.body)["title"] == "The upstream failed and the request's outcome is unknown"
    assert world.legacy.requests == []
    await world.new.stop()
    response = await world.gateway.request(POST)
    assert (response.status, response.body) == (200, b"ok")
    assert world.legacy.requests[-1].body == b"hello"


async def test_a_candidates_5xx_to_a_post_is_the_answer(world: World) -> None:
    async def fail(exchange: Exchange) -> None:
        await exchange.answer(b"its own words", "500 Internal Server Error")

    world.new.handler = fail
    await world.gateway.current(reviews=True)
    response = await world.gateway.request(POST)
    assert (response.status, response.body) == (500, b"its own words")
    assert world.legacy.requests == []


async def test_legacys_failures_are_problems(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        exchange.reset()

    world.legacy.handler = die
    response = await world.gateway.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (response.status, response.header("Banyan-Error")) == (502, "upstream-reset")
    assert response.header("Content-Type") == "application/problem+json"
    await world.legacy.stop()
    response = await world.gateway.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (response.status, response.header("Banyan-Error")) == (502, "upstream-unreachable")
    assert json.loads(response.body)["status"] == 502


async def test_death_in_the_middle_of_a_body_is_never_a_clean_end(world: World) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await asyncio.sleep(0.05)
        exchange.reset()

    world.legacy.handler = half
    client = await world.gateway.connect()
    await client.send(GET)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.response()


async def test_a_stale_pooled_connection_costs_a_get_nothing(world: World) -> None:
    await world.gateway.request(GET)
    world.legacy.handler = ok
    for exchange in world.legacy.requests:
        exchange.reset()
    responses = await asyncio.gather(*(world.gateway.request(GET) for _ in range(5)))
    assert {response.status for response in responses} == {200}


async def test_surplus_bytes_never_become_the_next_answer(world: World) -> None:
    async def too_much(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    world.legacy.handler = too_much
    client = await world.gateway.connect()
    for _ in range(3):
        assert (await client.request(GET)).body == b"ok"
    client.close()
    assert world.legacy.connections >= 3


async def test_a_bad_request_reaches_nobody(world: World) -> None:
    response = await world.gateway.request(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert (response.status, response.header("Connection")) == (400, "close")
    late = await world.gateway.request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
    assert late.status == 400
    assert not [exchange for exchange in world.legacy.requests if exchange.body]
    assert b"0\r\n\r\n" not in world.legacy.raw


async def test_a_head_that_never_ends_is_given_up(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    response = await client.response()
    assert (response.status, response.header("Banyan-Error")) == (408, "request-timeout")
    big = await world.gateway.request(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000)
    assert (big.status, big.header("Banyan-Error")) == (431, "head-too-large")


@pytest.mark.parametrize("answered_before", [False, True])
async def test_empty_lines_that_drip_do_not_begin_the_heads_time_anew(world: World, answered_before: bool) -> None:
    client = await world.gateway.connect()
    if answered_before:
        assert (await client.request(GET)).status == 200
    ended = asyncio.create_task(client.rest())
    began = time.monotonic()
    with suppress(ConnectionError):
        while not ended.done() and time.monotonic() - began < 6:
            for byte in (b"\r", b"\n"):
                await client.send(byte)
                await asyncio.sleep(0.1)
    answer = await ended
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 3.5, "header_timeout is 1 s"


async def test_a_half_closed_client_gets_every_answer_that_it_asked_for(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(GET * 3)
    client.writer.write_eof()
    for _ in range(3):
        assert (await client.response()).body == b"ok"
    assert await client.rest() == b""


async def test_an_answer_cut_off_never_looks_whole_to_an_old_client(world: World) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.2)
        exchange.reset()

    world.legacy.handler = half
    client = await world.gateway.connect()
    await client.send(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_no_content_has_no_coding(world: World) -> None:
    async def odd(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    world.legacy.handler = odd
    response = await world.gateway.request(GET)
    assert (response.status, response.header("Transfer-Encoding")) == (204, None)


async def test_a_half_closed_client_still_gets_its_answer(world: World) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.answer(b"late")

    world.legacy.handler = slow
    client = await world.gateway.connect()
    await client.send(GET)
    client.writer.write_eof()
    assert (await client.response()).body == b"late"
    assert await client.rest() == b""


async def test_a_client_that_resets_cancels_its_upstream_request(world: World) -> None:
    gone = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        try:
            await exchange.reader.readexactly(1)
        except (asyncio.IncompleteReadError, ConnectionError):
            gone.set()
            raise

    world.legacy.handler = wait
    client = await world.gateway.connect()
    await client.send(GET)
    await asyncio.sleep(0.1)
    client.reset()
    async with asyncio.timeout(1):
        await gone.wait()


async def test_ambiguous_paths_stay_with_legacy(world: World) -> None:
    await world.gateway.current(reviews=True)
    response = await world.gateway.request(b"GET /reviews/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.header("Banyan-Route") == "-; served-by=legacy; reason=ambiguous-path"
    assert world.legacy.requests[-1].line == b"GET /reviews/%2e%2e/admin HTTP/1.1"
    assert world.new.requests == []


async def test_compressed_bytes_pass_unchanged(world: World) -> None:
    packed = gzip.compress(b"hello" * 100)

    async def zipped(exchange: Exchange) -> None:
        await exchange.answer(packed, extra=b"Content-Encoding: gzip\r\n")

    world.legacy.handler = zipped
    response = await world.gateway.request(GET)
    assert (response.body, response.header("Content-Encoding")) == (packed, "gzip")


async def test_one_access_log_line_a_request_and_metrics_that_add_up(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        await _check_accounts(world, tmp_path)


async def _check_accounts(world: World, tmp_path: Path) -> None:
    for _ in range(5):
        await world.gateway.request(GET)
    await world.gateway.request(b"BAD\r\n\r\n")
    await asyncio.sleep(1.6)
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["status"] for line in lines] == [200] * 5 + [400]
    assert lines[0]["route"] == "reviews"
    assert lines[0]["served_by"] == "legacy"
    assert lines[0]["target"] == "/reviews/3?page=2"
    assert lines[0]["id"] == world.legacy.requests[0].header("X-Request-ID")[0]
    assert ((tmp_path / "access.log").stat().st_mode & 0o777) == 0o600
    metrics = world.gateway.metrics()
    assert 'banyan_requests_total{route="reviews",served_by="legacy",status="200"} 5.0' in metrics
    assert 'banyan_problems_total{code="framing"} 1.0' in metrics
    assert 'banyan_request_duration_seconds_count{route="reviews",served_by="legacy"} 5.0' in metrics
    assert world.gateway.get("/routes")["routes"][0]["answered"] == {"legacy 200": 5}


async def test_the_admin_port_answers_only_to_its_own_name(world: World) -> None:
    def ask(name: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", world.gateway.admin, timeout=5)
        connection.request("GET", "/flags", headers={"Host": name})
        status = connection.getresponse().status
        connection.close()
        return status

    port = world.gateway.admin
    names = ["evil.test", f"evil.test:{port}", "127.0.0.1.evil.test", f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"]
    assert [await asyncio.to_thread(ask, name) for name in names] == [421, 421, 421, 200, 200, 200]
