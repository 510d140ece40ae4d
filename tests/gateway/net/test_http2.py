"""HTTP/2 clients of a worker's engine within this process: what each of them gets, and what is not put up with.

Over plain TCP, with prior knowledge: how a client comes to speak HTTP/2 is tested in tests/integration/test_http2.py.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from h2.errors import ErrorCodes
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flags.decisions import Decisions
from gateway import build
from gateway.access import AccessLog
from gateway.config import parse
from gateway.net import http2_frames as frames
from gateway.net import listener as listening
from gateway.net.downstream import Downstream
from gateway.net.edge import Edge
from gateway.net.http2 import Http2
from gateway.net.http2_frames import PREFACE, Patience, Resets
from gateway.net.http2_state import MAX_STREAMS, TABLE, WINDOW
from gateway.net.http2_stream import Stream
from gateway.net.listener import Listener
from gateway.net.relay import Relay
from tests.gateway.net.test_http2_fields import MALFORMED
from tests.support.gateway import Exchange, Held, Upstream, ok
from tests.support.http2 import Answer, Client, Fields, frame, get
from tests.support.recording import Recorder, Script

# So mypyc's compiled coroutines are told of a connect that failed.
pytestmark = pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature of throw:DeprecationWarning")

TOML = """
[gateway]
access_log = ""
trusted_proxies = [{trusted}]
[gateway.limits]
header_bytes = "8KiB"
headers = 50
body_bytes = "64MiB"
header_timeout = "{heading}"
idle_timeout = "{idle}"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
"""
PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CALM = 1, 2, 3, 7, 11


class World:
    """An edge whose clients speak HTTP/2 from the first byte."""

    def __init__(self, stack: AsyncExitStack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self._folder = folder
        self._monkeypatch = monkeypatch
        self.connections: list[Http2] = []
        self.legacy = Recorder()
        self.events: dict[str, int] = {}

    async def start(self, port: int = 0, *, heading: str = "10s", idle: str = "75s", trusted: str = "", **seconds: float) -> None:
        """`port`: of another upstream than the recorder. `seconds`: long patience, short here."""
        for name, value in seconds.items():
            assert isinstance(getattr(listening, name), float)
            self._monkeypatch.setattr(listening, name, value)
        await self.legacy.start()
        self._stack.push_async_callback(self.legacy.stop)
        toml = TOML.format(legacy=port or self.legacy.port, heading=heading, idle=idle, trusted=trusted)
        config = parse(self._folder / "banyan.toml", toml)
        loop = asyncio.get_running_loop()
        access = AccessLog("")
        policy = build.policy(config, Decisions(app_name="test", environment="test"))
        self.edge = Edge(loop, config, policy, access=access, shipper=None)
        self.listener = Listener(self.edge)
        self.edge.deadlines.start()
        self.server = await loop.create_server(self._made, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self._stack.push_async_callback(self._stop)
        self._stack.callback(access.close)

    async def _stop(self) -> None:
        self.server.close()
        self.edge.close()

    def _made(self) -> asyncio.BaseProtocol:
        made = self.listener.http2("127.0.0.1", secure=False)
        self.connections.append(made)
        return made  # type: ignore[return-value] # a Protocol in all but name

    async def client(self, *, acknowledge: bool = True, window: int = 0) -> Client:
        client = await Client.connect(self.port, acknowledge=acknowledge, window=window)
        self._stack.callback(client.close)
        return client

    def event(self, name: str) -> int:
        return self.edge.tally._events.get(name, 0)

    async def over(self) -> None:
        """Waits until nothing is left of any client."""
        await until(lambda: not self.edge.connections)
        assert self.edge.in_flight == 0
        for name in ("blocked", "heading", "idle", "leaving", "lingering", "slow"):
            assert len(getattr(self.listener, f"http2_{name}")) == 0, name
        for kind in (self.listener.idle, self.listener.heading, self.listener.stalled, self.listener.slow, self.listener.lingering):
            assert len(kind) == 0


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of the gateway's own state, which announces nothing
            await asyncio.sleep(0.01)


async def _still(client: Client, seconds: float) -> bool:
    """Did something come?"""
    try:
        return await client.read(seconds)
    except TimeoutError:
        return False


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack, tmp_path, monkeypatch)


async def upstream(world: World, handler: Callable[[Exchange], object]) -> Upstream:
    found = Upstream(handler)  # type: ignore[arg-type] # a coroutine function
    await found.start()
    world._stack.push_async_callback(found.stop)
    return found


# Requests and answers


async def test_one_after_the_other(world: World) -> None:
    await world.start()
    client = await world.client()
    answer = await client.request(get("/a?b=c", "GET", "host:1", ("x-a", "b"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")))
    assert (answer.status, answer.body, answer.ended) == (200, b"GET /a?b=c ", True)
    for body in (b"", b"hello", b"x" * 100_000):
        for more in ((), (("content-length", str(len(body))),)):
            answer = await client.request(get("/b", "POST", "a", *more), body)
            assert (answer.status, answer.body) == (200, b"POST /b " + body)
    assert not world.legacy.faults
    first = world.legacy.requests[0]
    assert first.values(b"host") == [b"host:1"]
    assert first.values(b"cookie") == [b"a=1; b=2"]
    assert first.values(b"x-a") == [b"b"]
    assert first.values(b"x-forwarded-host") == [b"host:1"]
    assert not {name for name, _ in first.fields} & {b"te", b"connection", b"transfer-encoding", b"content-length"}
    assert [bool(each.values(b"content-length")) for each in world.legacy.requests[1:]] == [True, True, False, True, False, True]
    client.close()
    await world.over()


async def test_answers_are_without_what_is_for_one_hop(world: World) -> None:
    await world.start()
    world.legacy.script = Script(
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nKeep-Alive: 5\r\nConnection: X-Own\r\nX-Own: 1\r\nTransfer-Encoding: chunked\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nBanyan-Route: forged\r\nX-Empty:\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    client = await world.client()
    answer = await client.request(get())
    assert answer.fields == [
        (b":status", b"200"),
        (b"content-type", b"a/b"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-empty", b""),
    ]
    assert answer.body == b"abc"


@pytest.mark.parametrize(
    ("method", "raw", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "5"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0"),
    ],
)
async def test_answers_without_a_body(world: World, method: str, raw: bytes, length: str | None) -> None:
    await world.start()
    world.legacy.script = Script(raw)
    client = await world.client()
    answer = await client.request(get("/x", method))
    assert (answer.ended, answer.body, answer.header("content-length")) == (True, b"", length)
    assert (await client.request(get())).status == 200


async def test_an_answer_that_ends_with_its_connection(world: World) -> None:
    await world.start()
    world.legacy.script = Script(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000, end="close")
    client = await world.client()
    answer = await client.request(get())
    assert (answer.status, len(answer.body), answer.ended) == (200, 200_000, True)


async def test_interim_answers(world: World) -> None:
    await world.start()
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    world.legacy.script = Script(early + early + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client = await world.client()
    answer = await client.request(get())
    assert answer.interim == [[(b":status", b"103"), (b"link", b"</a>")]] * 2
    assert (answer.status, answer.body) == (200, b"ok")


async def test_a_body_that_waits_for_100(world: World) -> None:
    async def expecting(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.body = await exchange.reader.readexactly(5)
        await exchange.answer(exchange.body)

    await world.start((await upstream(world, expecting)).port)
    client = await world.client()
    number = await client.send(get("/x", "POST", "a", ("expect", "100-continue"), ("content-length", "5")), end=False)
    answer = client.answers[number]
    await client.until(lambda: bool(answer.interim))
    assert answer.interim == [[(b":status", b"100")]]
    await client.upload(number, b"hello")
    await client.answer(number)
    assert (answer.status, answer.body) == (200, b"hello")


async def test_events_come_at_once(world: World) -> None:
    go = asyncio.Event()

    async def events(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await go.wait()
            go.clear()
            await exchange.send(b"6\r\ndata\n\n\r\n")
        await exchange.send(b"0\r\n\r\n")

    await world.start((await upstream(world, events)).port)
    client = await world.client()
    number = await client.send(get())
    answer = client.answers[number]
    await client.until(lambda: bool(answer.fields))
    for count in range(1, 4):
        assert not answer.ended
        go.set()
        began = asyncio.get_running_loop().time()
        await client.until(lambda count=count: len(answer.body) == 6 * count)  # type: ignore[misc] # bound now
        assert asyncio.get_running_loop().time() - began < 0.5
    assert (await client.answer(number)).ended


async def test_a_hundred_at_once_each_get_their_own(world: World) -> None:
    chance = random.Random(7)

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(chance.random() / 5)
        body = exchange.line + b"|" + exchange.body
        half = len(body) // 2
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:half])
        await asyncio.sleep(chance.random() / 50)
        await exchange.send(body[half:])

    await world.start((await upstream(world, slow)).port)
    client = await world.client()
    for turn in range(2):
        numbers = {}
        for each in range(MAX_STREAMS):
            path = f"/{turn}/{each}"
            body = f"{turn} {each} ".encode() * each
            numbers[await client.send(get(path, "POST", "a", ("x-number", path)), body)] = (path, body)
        for number, (path, body) in numbers.items():
            answer = await client.answer(number)
            assert answer.body == f"POST {path} HTTP/1.1|".encode() + body
    assert world.event("http2-request") == 2 * MAX_STREAMS
    client.close()
    await world.over()


# Requests that are refused


@pytest.mark.parametrize("fields", MALFORMED)
async def test_a_malformed_request_is_its_streams_end_and_reaches_nobody(world: World, fields: Fields) -> None:
    await world.start()
    client = await world.client()
    other = await client.send(get("/other", "POST"), end=False)
    number = await client.send(fields or [(b"x", b"y")])
    if (b":status", b"x") in fields or any(name == b"content-length" and not value.isdigit() for name, value in fields):
        # Of these h2 makes the connection's end.
        await client.until(lambda: bool(client.goaway) or client.answers[number].over)
    else:
        await client.answer(number)
        assert client.answers[number].reset == PROTOCOL_ERROR
        await client.upload(other, b"body")
        assert (await client.answer(other)).body == b"POST /other body"
        assert [each.target for each in world.legacy.requests] == [b"/other"]
        assert world.event("http2-malformed") == 1
    assert not client.answers[number].fields
    assert not [each for each in world.legacy.requests if each.target != b"/other"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (get("/x", "TRACE"), 405),
        ([(b":method", b"CONNECT"), (b":authority", b"a:443")], 405),
        (get("/x", "GET", "u@a"), 400),
        (get("/x", "GET", "a,b"), 400),
        (get("/x", "GET", "a/b"), 400),
        (get("/x", "GET", ""), 400),
        (get("*", "GET"), 400),
        (get("/%00", "GET"), 400),
        (get("/" + "x" * 8_192, "GET"), 414),
        (get("/x", "GET", "a", ("x-long", "x" * 8_192)), 431),
        (get("/x", "GET", "a", *[(f"x-{number}", "") for number in range(50)]), 431),
        (get("/x", "GET", "a", ("expect", "something")), 417),
        (get("/x", "GET", "a", ("via", "1.1 banyan")), 508),
        (get("/x", "POST", "a", ("content-length", str(64 * 2**20 + 1))), 413),
    ],
)
async def test_what_is_refused_as_in_http_1_is_answered(world: World, fields: Fields, status: int) -> None:
    await world.start()
    client = await world.client()
    answer = await client.request(fields, end=status != 413)
    assert (answer.status, answer.header("content-type")) == (status, "application/problem+json")
    assert answer.header("connection") is None
    assert answer.header("banyan-error")
    assert not world.legacy.raw
    assert (await client.request(get("/x", "GET", "a", *[(f"x-{number}", "") for number in range(49)]))).status == 200


async def test_a_list_that_is_far_too_long_ends_the_connection(world: World) -> None:
    await world.start()
    client = await world.client()
    # By what is remembered of fields, few bytes name many.
    field = (b"x-" + b"y" * 1000, b"z" * 1000)
    encoder = Encoder()
    block = encoder.encode([*get(), *[field] * 500])
    assert len(block) < 4_000
    await client.raw(frame(frames.HEADERS, frames.END_STREAM | frames.END_HEADERS, 1, block))
    await client.end()
    assert client.goaway[0][0] == CALM
    assert not world.legacy.raw


async def test_bodies_that_are_not_as_long_as_was_said(world: World) -> None:
    await world.start()
    client = await world.client()
    for said, sent, ends in (("5", b"1234", True), ("5", b"123456", True), ("5", b"123456", False), ("0", b"1", True), ("1", b"", True)):
        world.legacy.forget()
        fields = get("/said", "POST", "a", ("content-length", said))
        number = await client.send(fields, end=False)
        client.h2.send_data(number, sent, end_stream=ends)
        await client.flush()
        assert (await client.answer(number)).reset == PROTOCOL_ERROR, (said, sent)
        assert not any(each.complete for each in world.legacy.requests), (said, sent)
    # The last byte is there, and more comes: so it was not the last.
    number = await client.send(get("/said", "POST", "a", ("content-length", "5")), end=False)
    client.h2.send_data(number, b"12345")
    await client.flush()
    await asyncio.sleep(0.1)
    client.h2.send_data(number, b"6")
    await client.flush()
    assert (await client.answer(number)).reset == PROTOCOL_ERROR
    assert not any(each.complete for each in world.legacy.requests)
    number = await client.send(get("/said", "POST", "a", ("content-length", "5")), end=False)
    client.h2.send_data(number, b"12345")
    client.h2.send_data(number, b"", end_stream=True)
    await client.flush()
    assert (await client.answer(number)).body == b"POST /said 12345"
    number = await client.send(get("/said", "POST", "a", ("content-length", "0")), end=False)
    client.h2.send_data(number, b"", end_stream=True)
    await client.flush()
    assert (await client.answer(number)).body == b"POST /said "


async def test_trailers_are_judged_and_dropped(world: World) -> None:
    await world.start()
    client = await world.client()
    for said in ((), (("content-length", "5"),)):
        number = await client.send(get("/x", "POST", "a", *said), b"hello", end=False)
        client.h2.send_headers(number, [(b"x-trailer", b"1")], end_stream=True)
        await client.flush()
        assert (await client.answer(number)).body == b"POST /x hello"
    for wrong in ((b":path", b"/y"), (b"X", b"y"), (b"x", b"a\nb"), (b"connection", b"x")):
        number = await client.send(get("/wrong", "POST"), b"hello", end=False)
        client.h2.send_headers(number, [wrong], end_stream=True)
        await client.flush()
        assert (await client.answer(number)).reset == PROTOCOL_ERROR
    assert not any(each.complete for each in world.legacy.requests if each.target == b"/wrong")
    assert b"x-trailer" not in world.legacy.raw
    assert not world.legacy.faults or all(fault.startswith("h11") for fault in world.legacy.faults)


NAMES = st.sampled_from(["x-a", "x-b", "accept", "via", "cookie", "x_under", "x-forwarded-for", "banyan-identity", "te", "host", "range"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=12)
PATHS = st.text(st.sampled_from("/ab%2f?&=.~;:@!$'()*+,"), max_size=20).map(lambda text: "/" + text)


async def test_what_arrives_is_what_was_asked(world: World) -> None:
    await world.start()
    client = await world.client()
    runner = asyncio.get_running_loop()

    async def compare(path: str, fields: list[tuple[str, str]], body: bytes | None) -> None:
        world.legacy.forget()
        sent = get(path, "GET" if body is None else "PUT", "a", *fields)
        answer = await client.request(sent, body or b"") if body else await client.request(sent)
        received = world.legacy.requests
        if answer.status != 200:
            assert not received
            assert answer.reset == PROTOCOL_ERROR or answer.status in (400, 508)
            return
        assert len(received) == 1
        assert received[0].target == path.encode()
        assert received[0].body == (body or b"")
        crumbs = [value for name, value in fields if name == "cookie"]
        assert received[0].values(b"cookie") == ([("; ".join(crumbs)).encode("latin-1").strip()] if crumbs else [])
        for name in ("x-a", "x-b", "accept", "via", "range"):
            wanted = [value.encode("latin-1") for key, value in fields if key == name]
            assert [each for each in received[0].values(name.encode()) if each != b"1.1 banyan"] == wanted
        for name in (b"x_under", b"banyan-identity", b"te"):
            assert not received[0].values(name)
        assert received[0].values(b"x-forwarded-for") == [b"127.0.0.1"]

    examples: list[tuple[str, list[tuple[str, str]], bytes | None]] = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.none() | st.binary(max_size=50))
    def collect(path: str, fields: list[tuple[str, str]], body: bytes | None) -> None:
        examples.append((path, fields, body))

    await runner.run_in_executor(None, collect)
    passed = 0
    for path, fields, body in examples:
        await compare(path, fields, body)
        passed += bool(world.legacy.requests)
        if client.goaway:
            client = await world.client()  # h2's own judgement, or too many that were malformed
    assert passed > 20
    assert not world.legacy.faults


# Flow control


async def test_a_download_is_held_back_by_its_client(world: World) -> None:
    size = 20 * 2**20
    content = random.Random(1).randbytes(size)
    sent = 0

    async def big(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for at in range(0, size, 16_384):
            await exchange.send(content[at : at + 16_384])
            sent = at

    await world.start((await upstream(world, big)).port)
    client = await world.client(acknowledge=False)
    number = await client.send(get())
    answer = client.answers[number]
    await client.until(lambda: len(answer.body) == 65_535)
    before = 0
    while sent > before:  # until the upstream is held up as well
        before = sent
        await asyncio.sleep(0.3)
    connection = world.connections[0]
    held = connection._streams[number].held
    assert 64 * 1024 <= held <= 64 * 1024 + 256_000 + 1024, "what the gateway holds: its bound and what one read brought"
    assert sent < 12 * 2**20, "the rest is between the sockets"
    # Another stream's own window is open, but the connection's is not.
    other = await client.send(get("/other"))
    answer.acknowledge = client.answers[other].acknowledge = True
    client.h2.acknowledge_received_data(len(answer.body), number)
    await client.flush()
    assert (await client.answer(number, 60)).body == content
    assert (await client.answer(other, 60)).body == content
    client.close()
    await world.over()


async def test_an_upload_is_held_back_by_its_upstream(world: World) -> None:
    read = asyncio.Event()
    size = 20 * 2**20
    content = random.Random(2).randbytes(size)
    got = bytearray()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await reader.readuntil(b"\r\n\r\n")
        await read.wait()
        got.extend(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0, limit=65_536)
    world._stack.callback(server.close)
    await world.start(server.sockets[0].getsockname()[1])
    client = await world.client()
    number = await client.send(get("/x", "POST", "a", ("content-length", str(size))), end=False)
    uploading = asyncio.create_task(client.upload(number, content), name="upload")
    before, sent = -1, 0
    while sent > before:
        before = sent
        await asyncio.sleep(0.3)
        sent = size - world.connections[0]._streams[number]._ahead
    assert 0 < sent < 12 * 2**20, "it stops when the sockets are full"
    assert world.connections[0]._streams[number]._unacknowledged <= WINDOW
    read.set()
    async with asyncio.timeout(60):
        await uploading
    assert (await client.answer(number)).body == b"ok"
    assert got == content


async def test_a_stalled_upload_does_not_hold_up_the_others(world: World) -> None:
    stop = asyncio.Event()

    async def some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b" /hung " in head:
            await stop.wait()
        else:
            await reader.readexactly(1_000_000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(some, "127.0.0.1", 0, limit=65_536)
    world._stack.callback(server.close)
    await world.start(server.sockets[0].getsockname()[1])
    client = await world.client()
    hung = await client.send(get("/hung", "POST", "a", ("content-length", "60000000")), end=False)
    while client.h2.local_flow_control_window(hung) or await _still(client, 0.5):
        room = min(client.h2.local_flow_control_window(hung), 16_384)
        if room:
            client.h2.send_data(hung, bytes(room))
        await client.flush()
    answer = await client.request(get("/x", "POST", "a", ("content-length", "1000000")), bytes(1_000_000))
    assert answer.body == b"ok"
    assert not client.answers[hung].over
    client.close()
    stop.set()
    await world.over()


async def test_streams_take_turns(world: World) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 2_000_000)

    await world.start((await upstream(world, big)).port)
    client = await world.client(acknowledge=False, window=2**20)
    numbers = [await client.send(get(f"/{number}")) for number in range(4)]
    # The connection's window, of 65,535 bytes, is all that there is for them.
    await client.until(lambda: sum(len(client.answers[number].body) for number in numbers) == 65_535)
    client.h2.increment_flow_control_window(2**20)
    await client.flush()
    await client.until(lambda: sum(len(client.answers[number].body) for number in numbers) == 65_535 + 2**20)
    shares = [len(client.answers[number].body) for number in numbers]
    assert min(shares) > 100_000, shares


@pytest.mark.parametrize("size", [100, 500_000])
async def test_a_client_that_takes_nothing_is_cut_off(world: World, size: int) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(b"x" * size)

    await world.start((await upstream(world, big)).port, SLOW_READER_SECONDS=0.5)
    client = await world.client(acknowledge=False)
    client.h2.update_settings({4: 0})
    await client.flush()
    await asyncio.sleep(0.1)
    number = await client.send(get())
    answer = await client.answer(number)
    assert (answer.status, answer.body, answer.reset) == (200, b"", INTERNAL_ERROR)
    other = await client.send(get("/", "HEAD"))
    assert (await client.answer(other)).status == 200, "it was one stream's fault"
    await until(lambda: world.edge.in_flight == 0)
    client.close()
    await world.over()


async def test_one_that_takes_a_little_is_waited_for(world: World) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 40)

    await world.start((await upstream(world, big)).port, SLOW_READER_SECONDS=0.6)
    client = await world.client(acknowledge=False)
    client.h2.update_settings({4: 10})
    await client.flush()
    await asyncio.sleep(0.1)
    number = await client.send(get())
    for size in (10, 20, 30, 40):
        await client.until(lambda size=size: len(client.answers[number].body) == size)  # type: ignore[misc] # bound now
        if size < 40:
            await asyncio.sleep(0.35)
            client.h2.increment_flow_control_window(10, number)
            await client.flush()
    assert (await client.answer(number)).ended


async def test_a_client_that_does_not_read_its_socket_is_not_read_either(world: World) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 300_000)

    await world.start((await upstream(world, big)).port, SLOW_READER_SECONDS=1.0)
    client = await world.client(window=2**30)
    client.h2.increment_flow_control_window(2**30)
    number = await client.send(get())
    await client.answer(number)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a ReadTransport
    for _ in range(MAX_STREAMS):
        await client.send(get())
    connection = world.connections[0]
    await until(lambda: connection.out.paused)
    pending = connection._transport.get_write_buffer_size()
    await until(lambda: not world.edge.connections)
    assert pending < 2**20
    await world.over()


# Ends


async def test_a_reset_cancels_what_was_asked(world: World) -> None:
    cancelled = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        assert await exchange.reader.read() == b""
        cancelled.set()

    legacy = await upstream(world, hang)
    await world.start(legacy.port)
    client = await world.client()
    number = await client.send(get())
    await until(lambda: len(legacy.requests) == 1)
    client.reset(number)
    await client.flush()
    async with asyncio.timeout(1):
        await cancelled.wait()
    assert world.edge.in_flight == 0
    assert world.edge.connections, "the connection goes on"
    legacy.handler = ok
    assert (await client.request(get())).status == 200


async def test_a_client_that_is_gone_cancels_all(world: World) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.reader.read()

    legacy = await upstream(world, hang)
    await world.start(legacy.port)
    client = await world.client()
    for _ in range(5):
        await client.send(get())
    await client.send(get("/up", "POST"), b"x", end=False)
    await until(lambda: len(legacy.requests) == 5)
    client.close()
    await world.over()
    await until(lambda: not legacy.open)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_that_breaks_off_does_not_look_whole(world: World, chunked: bool) -> None:
    async def dying(exchange: Exchange) -> None:
        framing = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" if chunked else b"Content-Length: 1000000\r\n\r\nabc"
        await exchange.send(b"HTTP/1.1 200 OK\r\n" + framing)
        await asyncio.sleep(0.05)
        exchange.reset()

    legacy = await upstream(world, dying)
    await world.start(legacy.port)
    client = await world.client()
    answer = await client.request(get())
    assert (answer.status, answer.body, answer.ended, answer.reset) == (200, b"abc", False, INTERNAL_ERROR)
    legacy.handler = ok
    assert (await client.request(get())).status == 200


async def test_an_answer_before_the_body_is_there(world: World) -> None:
    await world.start()
    world.legacy.script = Script(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", early=True)
    client = await world.client()
    number = await client.send(get("/x", "POST"), b"begun", end=False)
    answer = await client.answer(number)
    assert (answer.status, answer.body) == (403, b"no")
    await client.until(lambda: answer.reset is not None)
    assert answer.reset == 0, "RFC 9113, 8.1: the rest is not wanted, and nothing is wrong"
    assert (await client.request(get("/x", "POST"), b"y" * 200_000)).status == 200


async def test_what_is_not_wanted_any_more_costs_no_window(world: World) -> None:
    await world.start()
    client = await world.client()
    await client.read()
    for _ in range(150):
        world.legacy.script = Script(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", early=True)
        number = await client.send(get("/x", "POST"), bytes(60_000), end=False)
        assert (await client.answer(number)).status == 403
    assert (await client.request(get("/x", "POST"), bytes(3_000_000))).status == 200
    assert client.h2.outbound_flow_control_window > MAX_STREAMS * WINDOW // 3


async def test_nothing_is_left_of_streams_without_the_garbage_collector(world: World) -> None:
    await world.start()
    gc.collect()
    gc.disable()
    try:
        client = await world.client()
        for _ in range(20):
            await client.request(get("/x", "POST"), b"x" * 1000)
            number = await client.send(get("/x", "POST"), b"x", end=False)
            client.reset(number)
            await client.flush()
        await client.request(get())
        await until(lambda: not world.connections[0]._streams)
        await asyncio.sleep(0.05)
        left = [found for found in gc.get_objects() if isinstance(found, Stream | Downstream | Relay)]
        assert not left
    finally:
        gc.enable()


async def test_a_body_that_stops(world: World) -> None:
    await world.start(BODY_STALL_SECONDS=0.3)
    client = await world.client()
    number = await client.send(get("/x", "POST"), b"begun", end=False)
    answer = await client.answer(number)
    assert (answer.status, answer.header("banyan-error")) == (408, "request-timeout")
    assert not any(each.complete for each in world.legacy.requests)


async def test_a_refused_upstream_is_a_502(world: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await world.start(closed.getsockname()[1])
        client = await world.client()
        answer = await client.request(get())
    assert (answer.status, answer.header("banyan-error")) == (502, "upstream-unreachable")


async def test_idle(world: World) -> None:
    await world.start(idle="300ms")
    client = await world.client()
    assert (await client.request(get())).status == 200
    await client.end()
    assert client.goaway == [(0, 1)]
    await world.over()
    silent = await world.client()  # no request ever
    await silent.end()
    assert silent.goaway == [(0, 0)]
    await world.over()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        PREFACE[:10],
        PREFACE,
        PREFACE + frame(4, 0, 0) + frame(frames.HEADERS, frames.END_STREAM, 1, Encoder().encode(get()[:2])),
        PREFACE + frame(4, 0, 0) + frame(frames.HEADERS, frames.END_STREAM, 1, b"abc")[:10],
        PREFACE + frame(4, 0, 0) + frame(frames.PING, 0, 0, b"12345678")[:4],
    ],
)
async def test_what_is_begun_and_not_finished(world: World, begun: bytes) -> None:
    await world.start(heading="300ms")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(begun)
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(8):
        while await reader.read(2**16):
            pass
    assert asyncio.get_running_loop().time() - began > 0.2
    assert world.event("http2-timeout") == 1
    writer.close()
    await world.over()


async def test_a_header_block_that_drips_has_one_time(world: World) -> None:
    await world.start(heading="500ms")
    client = await world.client()
    block = Encoder().encode(get())
    await client.request(get())
    await client.raw(frame(frames.HEADERS, frames.END_STREAM, 3, block[:1]))
    for at in range(1, 30):
        await client.raw(frame(frames.CONTINUATION, 0, 3, block[at : at + 1]))
        await _still(client, 0.1)
        if client.closed:
            break
    else:
        pytest.fail("it was waited for")
    assert world.event("http2-timeout") == 1


async def test_busy_connections_are_not_timed_out(world: World) -> None:
    """Reads that end within a frame, again and again, for longer than a frame may take."""
    await world.start(heading="400ms", idle="400ms")
    client = await world.client()
    ping = frame(frames.PING, 0, 0, b"12345678")
    number = await client.send(get("/x", "POST"), b"x", end=False)
    await client.raw(ping[:5])
    for _ in range(12):
        await asyncio.sleep(0.08)
        await client.raw(ping[5:] + ping[:5])
    await client.raw(ping[5:])
    await client.upload(number, b"y")
    assert (await client.answer(number)).body == b"POST /x xy"


async def test_draining(world: World) -> None:
    go = asyncio.Event()

    async def waiting(exchange: Exchange) -> None:
        await go.wait()
        await exchange.answer(exchange.line)

    legacy = await upstream(world, waiting)
    await world.start(legacy.port, GRACE_SECONDS=0.3)
    client, idle = await world.client(), await world.client()
    await idle.read()
    number = await client.send(get("/before"))
    await until(lambda: len(legacy.requests) == 1)
    world.server.close()
    draining = asyncio.create_task(world.listener.drain(5), name="drain")
    await client.until(lambda: bool(client.goaway))
    assert client.goaway == [(0, 2**31 - 1)], "what is on its way already is still looked at"
    late = await client.send(get("/late"))
    await until(lambda: len(legacy.requests) == 2)
    await idle.end()
    assert idle.goaway[-1] == (0, 0)
    go.set()
    await client.until(lambda: client.answers[number].over and client.answers[late].over)
    assert (client.answers[number].body, client.answers[late].body) == (b"GET /before HTTP/1.1", b"GET /late HTTP/1.1")
    await client.end()
    assert client.goaway[-1] == (0, late)
    assert await draining, "nothing was in flight any more"
    await world.over()


async def test_who_comes_while_draining_is_served_once(world: World) -> None:
    await world.start(GRACE_SECONDS=0.3)
    await (await world.client()).read()
    world.listener.refuse()
    client = await world.client()
    await asyncio.sleep(0.5)
    assert not client.goaway
    assert (await client.request(get())).status == 200
    assert client.goaway == [(0, 2**31 - 1)]
    await client.end()
    assert client.goaway[-1] == (0, 1)
    await world.over()


async def test_draining_waits_for_what_is_on_its_way_to_the_client(world: World) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 100_000)

    await world.start((await upstream(world, big)).port, GRACE_SECONDS=0.3)
    client = await world.client(acknowledge=False)
    number = await client.send(get())
    await client.until(lambda: len(client.answers[number].body) == 65_535)
    await until(lambda: world.edge.in_flight == 0)
    draining = asyncio.create_task(world.listener.drain(5), name="drain")
    await asyncio.sleep(0.6)
    client.h2.acknowledge_received_data(65_535, number)
    await client.flush()
    await client.until(lambda: client.answers[number].over)
    assert len(client.answers[number].body) == 100_000
    await draining
    await world.over()


async def test_a_client_that_says_goodbye_still_gets_its_answers(world: World) -> None:
    waiting = Held()
    await world.start((await upstream(world, waiting)).port)
    client = await world.client()
    number = await client.send(get())
    await client.raw(frame(frames.GOAWAY, 0, 0, bytes(8)))
    await asyncio.sleep(0.1)
    waiting.go.set()
    assert (await client.answer(number)).body == b"ok"
    await client.end()
    await world.over()


# What is not put up with


async def test_streams_at_once(world: World) -> None:
    waiting = Held()
    legacy = await upstream(world, waiting)
    await world.start(legacy.port)
    client = await world.client()
    await client.until(lambda: client.h2.remote_settings.max_concurrent_streams == MAX_STREAMS)
    assert client.h2.remote_settings.max_header_list_size == 8 * 1024
    client.h2.remote_settings[3] = 1000
    client.h2.remote_settings.acknowledge()
    numbers = [await client.send(get()) for _ in range(MAX_STREAMS + 5)]
    for number in numbers[MAX_STREAMS:]:
        assert (await client.answer(number)).reset == REFUSED_STREAM
    await until(lambda: len(legacy.requests) == MAX_STREAMS)
    assert world.event("http2-refused-stream") == 5
    waiting.go.set()
    for number in numbers[:MAX_STREAMS]:
        assert (await client.answer(number)).status == 200
    assert (await client.request(get())).status == 200


async def test_further_streams_take_the_place_of_connections(world: World) -> None:
    waiting = Held()
    legacy = await upstream(world, waiting)
    await world.start(legacy.port)
    world.listener.share = 5
    client, other = await world.client(), await world.client()
    first = await other.send(get())
    numbers = [await client.send(get()) for _ in range(6)]
    for number in numbers[4:]:
        assert (await client.answer(number)).reset == REFUSED_STREAM
    await until(lambda: len(legacy.requests) == 5)
    assert world.event("http2-stream-over-limit") == 2
    third = await world.client()
    assert (await third.request(get())).status == 503, "nor is there room for a connection"
    third.close()
    await until(lambda: len(world.edge.connections) == 2)
    waiting.go.set()
    assert [(await client.answer(number)).status for number in numbers[:4]] == [200] * 4
    assert (await other.answer(first)).status == 200
    assert world.listener.further == 0
    many = [await client.send(get()) for _ in range(4)]
    assert [(await client.answer(number)).status for number in many] == [200] * 4
    waiting.go.clear()
    many = [await client.send(get()) for _ in range(4)]
    await until(lambda: world.edge.in_flight == 4)
    client.close()
    await until(lambda: len(world.edge.connections) == 1)
    assert world.listener.further == 0, "nor is anything left of who is gone"


async def test_an_idle_connection_makes_room_for_a_stream(world: World) -> None:
    waiting = Held()
    legacy = await upstream(world, waiting)
    await world.start(legacy.port)
    world.listener.share = 2
    idle, client = await world.client(), await world.client()
    await asyncio.sleep(1.2)
    numbers = [await client.send(get()) for _ in range(3)]
    assert (await client.answer(numbers[2])).reset == REFUSED_STREAM
    await until(lambda: len(world.edge.connections) == 1 and len(legacy.requests) == 2)
    assert world.event("idle-connection-made-room") == 1
    waiting.go.set()
    assert [(await client.answer(number)).status for number in numbers[:2]] == [200] * 2
    idle.close()


async def test_rapid_reset(world: World) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.reader.read()

    legacy = await upstream(world, hang)
    await world.start(legacy.port)
    client = await world.client()
    for _ in range(Resets.MOST + 50):
        number = client.h2.get_next_available_stream_id()
        client.answers[number] = Answer()
        client.h2.send_headers(number, get(), end_stream=True)
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
    await client.flush()
    await client.end()
    assert [code for code, _ in client.goaway] == [CALM]
    assert world.event("http2-rapid-reset") == 1
    assert world.event("http2-request") == Resets.MOST + 1
    await world.over()


async def test_resets_that_a_client_makes_the_gateway_send_are_counted_too(world: World) -> None:
    await world.start()
    client = await world.client()
    overflow = frame(frames.WINDOW_UPDATE, 0, 1, (2**31 - 1).to_bytes(4))
    for _ in range(Resets.MOST + 50):
        number = client.h2.get_next_available_stream_id()
        client.answers[number] = Answer()
        client.h2.send_headers(number, get("/x", "POST"))
        await client.raw(overflow[:5] + number.to_bytes(4) + overflow[9:])
    await client.end()
    assert [code for code, _ in client.goaway] == [CALM]
    assert world.event("http2-rapid-reset") == 1
    await world.over()


FLOODS = {
    "ping": frame(frames.PING, 0, 0, bytes(8)),
    "settings": frame(frames.SETTINGS, 0, 0, bytes([0, 4, 0, 0, 255, 255])),
    "priority": frame(frames.PRIORITY, 0, 3, bytes(5)),
    "empty data": frame(frames.DATA, 0, 1),
    "padded data": frame(frames.DATA, 8, 1, b"\x03\0\0\0"),
    "window": frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
    "unknown": frame(77, 0, 0, b"x"),
    "reset": frame(frames.RST_STREAM, 0, 3, bytes(4)),
    "settings acknowledged": frame(frames.SETTINGS, frames.ACK, 0),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_floods(world: World, kind: str) -> None:
    await world.start()
    client = await world.client()
    await client.send(get("/x", "POST"), b"x", end=False)
    done = await client.request(get())
    assert done.status == 200
    most = int(Patience.DROPS)
    await client.raw(FLOODS[kind] * (most - 100))  # much, and still nothing to say about
    assert (await client.request(get())).status == 200
    await client.raw(FLOODS[kind] * most)
    await client.end()
    assert [code for code, _ in client.goaway] == [CALM]
    assert world.event("http2-flood") == 1
    await world.over()


async def test_a_flood_that_is_not_read_about(world: World) -> None:
    """Answers to pings, and nobody reads them."""
    await world.start(SLOW_READER_SECONDS=0.5)
    client = await world.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a ReadTransport
    async with asyncio.timeout(10):
        while world.edge.connections:
            await client.raw(FLOODS["ping"] * 100)
            await asyncio.sleep(0.01)
    await world.over()


async def test_heads_of_very_many_fields(world: World) -> None:
    await world.start()
    client = await world.client()
    cookies = get("/x", "GET", "a", *[("cookie", f"{number}=1") for number in range(200)])
    for _ in range(20):
        assert (await client.request(cookies)).status == 200
    assert world.legacy.requests[-1].values(b"cookie")[0].count(b"; ") == 199
    # By what is remembered, a byte is a field.
    for _ in range(10):
        await client.send([*get(), *[(b"x", b"y")] * 600])
    await client.until(lambda: bool(client.goaway))
    assert [code for code, _ in client.goaway] == [CALM]
    assert len(world.legacy.requests) == 20


@pytest.mark.parametrize("size", [0, 1, 16_384])
async def test_continuations(world: World, size: int) -> None:
    await world.start()
    client = await world.client()
    await client.raw(frame(frames.HEADERS, frames.END_STREAM, 1, b"x" * size))
    await client.raw(frame(frames.CONTINUATION, 0, 1, b"x" * size) * 100)
    await client.end()
    assert client.goaway[0][0] in (PROTOCOL_ERROR, CALM)
    assert not world.legacy.raw
    await world.over()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (frame(frames.DATA, 0, 1, b"x"), PROTOCOL_ERROR),  # of a stream that was not opened
        (frame(frames.RST_STREAM, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), PROTOCOL_ERROR),
        (frame(frames.HEADERS, 5, 2, Encoder().encode(get())), PROTOCOL_ERROR),
        (frame(frames.HEADERS, 5, 0, Encoder().encode(get())), PROTOCOL_ERROR),
        (frame(frames.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), PROTOCOL_ERROR),
        (frame(frames.CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
        (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(frames.HEADERS, 1, 1, b"") + frame(frames.PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (frame(frames.HEADERS, 1, 1, b"") + frame(frames.GOAWAY, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 0, (2**31 - 1).to_bytes(4)), FLOW_CONTROL_ERROR),
        (frame(frames.PING, 0, 0, bytes(7)), 6),
        (frame(frames.DATA, 8, 1, b"\x05x"), PROTOCOL_ERROR),
        (frame(frames.SETTINGS, 0, 0, bytes([0, 4, 255, 255, 255, 255])), FLOW_CONTROL_ERROR),
        (frame(frames.SETTINGS, 0, 0, bytes([0, 5, 0, 0, 0, 1])), PROTOCOL_ERROR),
        (bytes([255, 255, 255, 0, 0, 0, 0, 0, 1]), 6),
    ],
)
async def test_errors_of_the_connection(world: World, raw: bytes, code: int) -> None:
    await world.start()
    client = await world.client()
    await client.raw(raw)
    await client.end()
    assert [found for found, _ in client.goaway] == [code]
    assert world.event("http2-error") == 1
    assert not world.legacy.raw
    await world.over()


async def test_more_after_the_end_of_a_stream(world: World) -> None:
    waiting = Held()
    legacy = await upstream(world, waiting)
    await world.start(legacy.port)
    client = await world.client()
    other = await client.send(get())
    for more in (frame(frames.DATA, 0, 0, b"x"), frame(frames.HEADERS, 5, 0, b"\x88")):
        for body in (b"", b"hello"):
            number = await client.send(get("/x", "POST"), body)
            await until(lambda: len(legacy.requests) > 1)
            await client.raw(more[:5] + number.to_bytes(4) + more[9:])
            assert (await client.answer(number)).reset in (PROTOCOL_ERROR, 5), "STREAM_CLOSED is what RFC 9113, 5.1 asks for"
    waiting.go.set()
    assert (await client.answer(other)).status == 200
    client.close()
    await world.over()


async def test_a_proxy_that_is_trusted(world: World) -> None:
    await world.start(trusted='"127.0.0.0/8"')
    client = await world.client()
    for name in ("9.9.9.9", "8.8.8.8"):
        fields = (("x-forwarded-for", name), ("x-forwarded-proto", "https"), ("x-request-id", "id" + name.replace(".", "")))
        answer = await client.request(get("/x", "GET", "a", *fields))
        assert answer.header("banyan-route")
        request = world.legacy.requests[-1]
        assert request.values(b"x-forwarded-for") == [name.encode(), b"127.0.0.1"]
        assert request.values(b"x-forwarded-proto") == [b"https"]
        assert request.values(b"x-request-id") == [b"id" + name.replace(".", "").encode()]
    assert world.edge.terms.trusts("127.0.0.1")


@pytest.mark.parametrize("first", [frame(frames.PING, 0, 0, bytes(8)), frame(4, frames.ACK, 0), b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_wrong_beginning(world: World, first: bytes) -> None:
    await world.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(first if first.startswith(b"GET") else PREFACE + first)
    async with asyncio.timeout(5):
        said = await reader.read()
    assert said.endswith(frame(frames.GOAWAY, 0, 0, bytes(4) + bytes([0, 0, 0, PROTOCOL_ERROR])))
    writer.close()
    await world.over()


async def test_a_clients_large_table_is_not_filled(world: World) -> None:
    await world.start()
    client = await world.client()
    client.h2.update_settings({1: 2**20})
    await client.flush()
    for number in range(50):
        world.legacy.script = Script(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: " + b"%d" % number * 200 + b"\r\n\r\n")
        answer = await client.request(get())
        assert answer.header("x-long") == str(number) * 200
    table = world.connections[0]._state.encoder.header_table
    assert table.maxsize == TABLE
    assert sum(len(name) + len(value) + 32 for name, value in table.dynamic_entries) <= TABLE


async def test_garbage(world: World) -> None:
    """Nothing that a client sends is more than its connection's end: no error is left to the event loop."""
    await world.start()
    failed: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
    chance = random.Random(3)
    good = [*FLOODS.values(), frame(frames.HEADERS, 5, 1, Encoder().encode(get())), frame(frames.HEADERS, 4, 3, Encoder().encode(get()))]
    for _ in range(300):
        data = bytearray(PREFACE + frame(4, 0, 0))
        for _ in range(chance.randrange(1, 12)):
            if chance.random() < 0.4:
                size = chance.choice((0, 1, 4, 5, 8, 30))
                data += frame(chance.randrange(11), chance.randrange(256), chance.choice((0, 1, 2, 3, 5)), chance.randbytes(size))
            else:
                data += chance.choice(good)
        if chance.random() < 0.3:
            data[chance.randrange(len(data))] = chance.randrange(256)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(bytes(data))
        writer.write_eof()
        try:
            async with asyncio.timeout(5):
                while await reader.read(2**16):
                    pass
        except ConnectionError:
            pass
        writer.close()
    await world.over()
    assert failed == []
    assert {each.target for each in world.legacy.requests} <= {b"/x"}
