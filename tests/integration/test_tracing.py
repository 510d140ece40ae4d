"""Traces over a running gateway: real upstreams, which see what they are told, and a real receiver of OTLP/HTTP."""

# ruff: noqa: ASYNC110 - what other processes have done has no event to wait for
from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok
from tests.support.otlp import Receiver, attributes, receiving

TOML = """
[gateway]
access_log = "access.log"
trusted_proxies = [{trusted}]
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[tracing]
endpoint = "{endpoint}"
sample = {sample}
timeout = "{timeout}"
{more}
"""
TRUSTED = '"127.0.0.1/32"'
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRET = "a-token-that-nobody-sees"


@dataclass
class World:
    gateway: Gateway
    legacy: Upstream
    new: Upstream
    receiver: Receiver

    async def get(self, path: str = "/reviews/4711?page=2", more: str = "", method: str = "GET") -> int:
        return (await self.gateway.request(f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\n{more}\r\n".encode())).status

    async def spans(self, number: int) -> list[Span]:
        """All, once there are so many."""
        found = await asyncio.to_thread(self.receiver.until, lambda spans: len(spans) >= number)
        assert len(found) == number, [(span.name, attributes(span)) for span in found]
        return found

    async def dropped(self, *reasons: str) -> dict[str, float]:
        """Spans by reason, once all of these have some."""
        found: dict[str, float] = {}
        for _ in range(400):
            text = await asyncio.to_thread(self.gateway.metrics)
            found = {name: float(count) for name, count in re.findall(r'banyan_trace_spans_dropped_total\{reason="(\w+)"\} (\S+)', text)}
            if set(reasons) <= found.keys():
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"nothing was dropped for {set(reasons) - found.keys()}: {found}")

    async def reload(self, old: str, new: str) -> None:
        path = self.gateway.folder / "banyan.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        request = urllib.request.Request(f"http://127.0.0.1:{self.gateway.admin}/reload", b"", method="POST")

        def ask() -> None:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own gateway
                assert json.loads(answer.read())["status"] == "ok"

        await asyncio.to_thread(ask)

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.gateway.folder / "access.log").read_text().splitlines()]


@asynccontextmanager
async def world(
    folder: Path, *, sample: float = 1.0, trusted: str = "", more: str = "", patience: str = "2s", tracing: bool = True, **flags: bool
) -> AsyncIterator[World]:
    with receiving() as receiver:
        legacy, new = Upstream(ok), Upstream(ok)
        await legacy.start()
        await new.start()
        endpoint = receiver.url if tracing else ""
        ports = {"legacy": legacy.port, "new": new.port}
        toml = TOML.format(**ports, endpoint=endpoint, sample=sample, trusted=trusted, timeout=patience, more=more)
        try:
            async with gateway(folder, toml, **flags) as running:
                yield World(running, legacy, new, receiver)
        finally:
            await legacy.stop()
            await new.stop()


def one(spans: list[Span], kind: Span.SpanKind.ValueType, **wanted: object) -> Span:
    """The one span of this kind that has these attributes; __ stands for a dot."""
    pairs = {name.replace("__", "."): value for name, value in wanted.items()}
    (found,) = [span for span in spans if span.kind == kind and pairs.items() <= attributes(span).items()]
    return found


async def test_a_request_is_a_span_and_each_upstream_that_was_asked_one_below_it(tmp_path: Path) -> None:
    async with world(tmp_path, reviews=True, reviews__shadow=True) as here:
        assert await here.get(f"/reviews/4711?token={SECRET}", "Cookie: sessionid=alice\r\n") == 200
        spans = await here.spans(3)
        served = one(spans, Span.SPAN_KIND_SERVER)
        asked = one(spans, Span.SPAN_KIND_CLIENT, banyan__side="candidate")
        beside = one(spans, Span.SPAN_KIND_CLIENT, banyan__side="legacy", banyan__shadow=True)
        (request,) = here.new.requests
        (mirrored,) = here.legacy.requests
        assert {span.trace_id for span in spans} == {served.trace_id}
        assert (len(served.trace_id), len(served.span_id), served.parent_span_id) == (16, 8, b"")
        assert (asked.parent_span_id, beside.parent_span_id) == (served.span_id, served.span_id)
        # Each upstream continues the span in which it was asked.
        assert request.header("traceparent") == [f"00-{served.trace_id.hex()}-{asked.span_id.hex()}-01"]
        assert mirrored.header("traceparent") == [f"00-{served.trace_id.hex()}-{beside.span_id.hex()}-01"]
        assert {span.name for span in spans} == {"GET /reviews/*"}
        assert attributes(served) == {
            "http.request.method": "GET",
            "http.route": "/reviews/*",
            "http.response.status_code": 200,
            "url.scheme": "http",
            "banyan.route": "reviews",
            "banyan.served_by": "candidate",
            "banyan.upstream": "new",
            "banyan.reason": "flag",
            "banyan.shadow": True,
            "banyan.request_id": request.header("x-request-id")[0],
        }
        assert attributes(asked) == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "url.template": "/reviews/*",
            "server.address": "127.0.0.1",
            "server.port": here.new.port,
            "banyan.route": "reviews",
            "banyan.upstream": "new",
            "banyan.side": "candidate",
        }
        assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}
        assert served.start_time_unix_nano <= asked.start_time_unix_nano <= asked.end_time_unix_nano <= served.end_time_unix_nano
        (resource,) = {
            (pair.key, pair.value.string_value)
            for each in here.receiver.requests
            for one_of in each.resource_spans
            for pair in one_of.resource.attributes
            if pair.key == "service.name"
        }
        assert resource == ("service.name", "banyan")
        sent = b"".join(here.receiver.raw)
        for what in (b"4711", SECRET.encode(), b"token", b"alice", b"sessionid", b"shop.test"):
            assert what not in sent, "no path with its ids, no query, no field is told"
        (line,) = here.logged()
        assert line["trace"] == served.trace_id.hex()
        assert line["id"] == attributes(served)["banyan.request_id"]


async def test_whoever_began_the_trace_has_decided(tmp_path: Path) -> None:
    async with world(tmp_path, sample=0.0, trusted=TRUSTED) as here:
        assert await here.get(more=f"traceparent: 00-{TRACE}-{PARENT}-00\r\ntracestate: v=1\r\n") == 200
        assert await here.get() == 200
        assert await here.get(more=f"traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: v=1\r\n") == 200
        spans = await here.spans(2)
        served, asked = one(spans, Span.SPAN_KIND_SERVER), one(spans, Span.SPAN_KIND_CLIENT)
        assert (served.trace_id.hex(), served.parent_span_id.hex()) == (TRACE, PARENT)
        first, second, third = here.legacy.requests
        assert (first.header("traceparent"), first.header("tracestate")) == ([f"00-{TRACE}-{PARENT}-00"], ["v=1"])
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", second.header("traceparent")[0]), "of ours, and not sampled"
        assert third.header("traceparent") == [f"00-{TRACE}-{asked.span_id.hex()}-01"], "one, and not the client's"
        assert third.header("tracestate") == ["v=1"]
        assert "trace" not in here.logged()[0]


async def test_an_untrusted_client_begins_no_trace(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.get(more=f"traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: v=1\r\n") == 200
        spans = await here.spans(2)
        assert one(spans, Span.SPAN_KIND_SERVER).parent_span_id == b""
        assert {span.trace_id.hex() for span in spans} & {TRACE} == set()
        assert here.legacy.requests[0].header("tracestate") == []


async def test_a_share_of_the_requests_is_sampled(tmp_path: Path) -> None:
    async with world(tmp_path, sample=0.5) as here:
        client = await here.gateway.connect()
        for _ in range(200):
            assert (await client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        flags = [each.header("traceparent")[0][-2:] for each in here.legacy.requests]
        sampled = flags.count("01")
        assert flags.count("00") == 200 - sampled
        assert 50 < sampled < 150, "less likely to fail by chance than one in 10^12"
        spans = await here.spans(2 * sampled)
        assert {span.name for span in spans} == {"GET"}, "no route matched: a path is no name"


async def test_every_try_has_a_span_and_says_what_went_wrong(tmp_path: Path) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    async with world(tmp_path, reviews=True) as here:
        here.new.handler = broken
        assert await here.get() == 200
        spans = await here.spans(3)
        served = one(spans, Span.SPAN_KIND_SERVER)
        assert attributes(served)["banyan.fallback"] == "status-500"
        assert attributes(served)["banyan.served_by"] == "legacy"
        assert served.status.code == Status.STATUS_CODE_UNSET, "its client has a good answer"
        first = one(spans, Span.SPAN_KIND_CLIENT, banyan__upstream="new")
        second = one(spans, Span.SPAN_KIND_CLIENT, banyan__upstream="legacy")
        assert attributes(first)["error.type"] == "status-500"
        assert attributes(first)["http.response.status_code"] == 500
        assert first.status.code == Status.STATUS_CODE_ERROR
        assert attributes(second)["http.request.resend_count"] == 1
        assert first.end_time_unix_nano <= second.start_time_unix_nano
        assert {request.header("traceparent")[0][36:52] for request in (*here.new.requests, *here.legacy.requests)} == {
            first.span_id.hex(),
            second.span_id.hex(),
        }


async def test_what_nobody_answers_is_an_error_with_its_code(tmp_path: Path) -> None:
    async with world(tmp_path, reviews=True) as here:
        await here.legacy.stop()
        await here.new.stop()
        assert await here.get() == 502
        spans = await here.spans(3)
        served = one(spans, Span.SPAN_KIND_SERVER)
        told = attributes(served)
        assert (told["banyan.served_by"], told["banyan.error"], told["error.type"]) == (
            "gateway",
            "upstream-unreachable",
            "upstream-unreachable",
        )
        assert (told["http.response.status_code"], served.status.code) == (502, Status.STATUS_CODE_ERROR)
        for name in ("new", "legacy"):
            tried = one(spans, Span.SPAN_KIND_CLIENT, banyan__upstream=name)
            assert attributes(tried)["error.type"] == "refused"
            assert "server.port" not in attributes(tried), "no connection was had"


async def test_a_client_that_leaves_is_no_error_and_one_that_is_cut_off_is(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        arrived.set()
        await asyncio.sleep(60)

    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        exchange.reset()

    async with world(tmp_path) as here:
        here.legacy.handler = hang
        client = await here.gateway.connect()
        await client.send(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(arrived.wait(), 10)
        client.reset()
        spans = await here.spans(2)
        served, asked = one(spans, Span.SPAN_KIND_SERVER), one(spans, Span.SPAN_KIND_CLIENT)
        for span in (served, asked):
            assert attributes(span)["error.type"] == "client-gone"
            assert span.status.code == Status.STATUS_CODE_UNSET
            assert "http.response.status_code" not in attributes(span)
        here.legacy.handler = half
        other = await here.gateway.connect()
        await other.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await other.reader.readexactly(10_000)
        spans = (await here.spans(4))[2:]
        assert {span.status.code for span in spans} == {Status.STATUS_CODE_ERROR}
        assert {attributes(span)["error.type"] for span in spans} == {"reset"}


async def test_a_receiver_that_is_away_costs_spans_and_no_request(tmp_path: Path) -> None:
    async with world(tmp_path, more="queue = 4\n") as here:
        port = here.receiver.port
        here.receiver.stop()
        client = await here.gateway.connect()
        for _ in range(300):
            assert (await client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        dropped = await here.dropped("not_taken")
        assert sum(dropped.values()) > 0
        for _ in range(300):
            assert (await client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        lost = await here.dropped("exporter_full")
        assert lost["exporter_full"] + lost.get("queue_full", 0) + lost["not_taken"] <= 1200, "two spans a request, and none twice"
        here.receiver.start(port)
        log = here.gateway.process.log
        async with asyncio.timeout(30):
            while "takes spans again" not in log.read_text():
                assert await here.get("/") == 200
                await asyncio.sleep(0.1)
        assert here.receiver.spans
        assert log.read_text().count("spans cannot be sent") == 1, "it is said once"


@pytest.mark.parametrize("status", [302, 307, 304])
async def test_a_receiver_that_redirects_has_not_taken_them(tmp_path: Path, status: int) -> None:
    async with world(tmp_path) as here:
        here.receiver.status = status
        assert await here.get() == 200
        assert (await here.dropped("not_taken"))["not_taken"] == 2
        assert "banyan_trace_spans_exported_total 0.0" in await asyncio.to_thread(here.gateway.metrics)
        assert f"it redirects ({status})" in here.gateway.process.log.read_text()


async def test_an_exporter_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.get() == 200
        await here.spans(2)
        (pid,) = here.gateway.children("exporter of spans")
        os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            assert await here.get() == 200
        async with asyncio.timeout(30):
            while here.gateway.children("exporter of spans") in ([], [pid]):
                await asyncio.sleep(0.05)
        before = len(here.receiver.spans)
        async with asyncio.timeout(30):
            while len(here.receiver.spans) <= before:
                assert await here.get() == 200
                await asyncio.sleep(0.05)
        assert 'banyan_child_restarts_total{child="exporter"} 1.0' in await asyncio.to_thread(here.gateway.metrics)


async def test_what_waits_at_the_end_is_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for _ in range(5):
            assert await here.get() == 200
        receiver = here.receiver
        status = await asyncio.to_thread(here.gateway.process.stop, 30)
        assert status == 0
        assert len(receiver.spans) == 10


async def test_a_receiver_that_hangs_holds_up_no_end(tmp_path: Path) -> None:
    async with world(tmp_path, patience="60s") as here:
        here.receiver.go.clear()
        for _ in range(5):
            assert await here.get() == 200
        assert await asyncio.to_thread(here.gateway.process.stop, 30) == 0
        assert "ended before every span could be sent" in here.gateway.process.log.read_text()
        assert "did not end within" not in here.gateway.process.log.read_text()


async def test_off_by_default_and_turned_on_by_a_reload(tmp_path: Path) -> None:
    async with world(tmp_path, tracing=False) as here:
        assert await here.get() == 200
        assert here.gateway.children("exporter of spans") == []
        assert here.legacy.requests[0].header("traceparent")[0].endswith("-00")
        assert "banyan_trace" not in await asyncio.to_thread(here.gateway.metrics)
        await here.reload('endpoint = ""', f'endpoint = "{here.receiver.url}"\nheaders = {{ Authorization = "Bearer {SECRET}" }}')
        assert await here.get() == 200
        await here.spans(2)
        assert here.receiver.fields[0]["authorization"] == f"Bearer {SECRET}"
        assert here.receiver.fields[0]["content-type"] == "application/x-protobuf"
        (before,) = here.gateway.children("exporter of spans")
        await here.reload("sample = 1.0", "sample = 0.0")
        assert await here.get() == 200
        assert here.legacy.requests[-1].header("traceparent")[0].endswith("-00")
        assert here.gateway.children("exporter of spans") == [before], "the share is the workers' matter"
        shown = json.dumps(await asyncio.to_thread(here.gateway.get, "/config"))
        assert '"sample": 0.0' in shown
        assert SECRET not in shown
        await here.reload(here.receiver.url, "")
        async with asyncio.timeout(30):
            while here.gateway.children("exporter of spans"):
                await asyncio.sleep(0.05)
        assert SECRET not in here.gateway.process.log.read_text()
