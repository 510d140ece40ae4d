"""Generated requests, whole or spoilt, cut up at random: what legacy gets is what h11 reads in the client's bytes, or nobody gets anything.

h11 is the judge on both sides: it reads what the client sent and what the gateway wrote. Where the gateway passes a request on, both
readings are the same method, target and body, and there is no second request hidden in it. Where it refuses, legacy saw no whole request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, currently_in_test_context, event, given, note, settings
from hypothesis import strategies as st

from tests.support.gateway import Client, Gateway, Response, gateway
from tests.support.recording import Recorder, pause

bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


class World:
    """A gateway before a recorder, on a loop of its own: hypothesis calls plain functions."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.legacy = Recorder()
        self.gateway: Gateway
        self.run(self._start(folder))

    def run[T](self, what: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(what)

    async def _start(self, folder: Path) -> None:
        await self.legacy.start()
        toml = f'[gateway]\naccess_log = ""\n[upstreams]\nlegacy = "http://127.0.0.1:{self.legacy.port}"\n'
        self.gateway = await self._stack.enter_async_context(gateway(folder, toml))

    async def _stop(self) -> None:
        await self._stack.aclose()
        await self.legacy.stop()

    def close(self) -> None:
        try:
            self.run(self._stop())
        finally:
            self._runner.close()

    async def ask(self, pieces: list[bytes]) -> list[Response]:
        """Every answer on one connection, whose client ends its side after what it sent.

        An answer to HEAD has no body. Which it is, is for the requests to say: the n-th answer is the n-th request's, as h11 reads them.
        """
        assert (await self.gateway.request(b"GET /warm HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        self.legacy.forget()
        client = await self.gateway.connect()
        sending = asyncio.create_task(self._send(client, pieces), name="client")
        answers = []
        try:
            raw = b"".join(pieces)
            heads = [method == b"HEAD" for method, _, _ in reference(raw)]
            first = raw.lstrip(b"\r\n").startswith(b"HEAD ")
            final = 0
            while not client.reader.at_eof():
                answer = await client.response(head_only=heads[final] if final < len(heads) else first and not final)
                final += answer.status >= 200
                answers.append(answer)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            await sending
            client.close()
            self.gateway.clients.clear()
        return answers

    async def _send(self, client: Client, pieces: list[bytes]) -> None:
        try:
            for piece in pieces:
                await client.send(piece)
                await pause()
            client.writer.write_eof()
        except (ConnectionError, OSError):
            pass  # refused already


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    started = World(tmp_path_factory.mktemp("smuggling"))
    yield started
    started.close()


@dataclass
class Meant:
    """A valid request: what it says, and how it is written."""

    method: bytes
    target: bytes
    body: bytes
    raw: bytes


def ascii_text(alphabet: str, low: int, high: int) -> st.SearchStrategy[bytes]:
    return st.text(alphabet, min_size=low, max_size=high).map(str.encode)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"PROPFIND", b"get"])
TARGETS = ascii_text(VISIBLE.replace("#", "").replace("\\", ""), 0, 30).map(lambda rest: b"/" + rest.replace(b"%00", b""))
FIELDS = st.lists(
    st.tuples(ascii_text(TOKEN, 1, 8).map(lambda name: b"X-" + name), ascii_text(VISIBLE + " \t", 0, 20)),
    max_size=3,
)
PARTS = st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.just(SMUGGLED), st.just(b"0\r\n\r\n")), max_size=4)
EXTENSIONS = st.one_of(st.just(b""), ascii_text(VISIBLE + " \t", 0, 10).map(lambda text: b";" + text))


TRAILERS = [
    b"",
    b"X-Trailer: y\r\n",
    b"Content-Length: 3\r\nHost: b\r\n",
    b"Content-Length: +1\r\n",
    b"Transfer-Encoding: x\r\nHost: b\r\nHost: c\r\n",
]


@st.composite
def requests(draw: st.DrawFn) -> Meant:
    method, target, parts = draw(METHODS), draw(TARGETS), draw(PARTS)
    lines = [b"%b %b HTTP/1.1" % (method, target), draw(st.sampled_from([b"Host: a", b"host:a", b"HOST: a:80"]))]
    lines += [b"%b:%b%b" % (name, draw(st.sampled_from([b"", b" ", b"\t"])), value) for name, value in draw(FIELDS)]
    body = b"".join(parts)
    framing = draw(st.sampled_from(["length", "chunked", "none"]))
    if framing == "none":
        body = written = b""
    elif framing == "length":
        written = body
        lines.insert(draw(st.integers(1, len(lines))), b"Content-Length: %d" % len(body))
    else:
        lines.insert(draw(st.integers(1, len(lines))), draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked"])))
        sizes = [draw(st.sampled_from([b"%x", b"%X", b"0%x", b"000%X"])) % len(part) for part in parts]
        chunks = [b"%b%b\r\n%b\r\n" % (size, draw(EXTENSIONS), part) for size, part in zip(sizes, parts, strict=True)]
        trailers = draw(st.sampled_from(TRAILERS))
        written = b"".join(chunks) + draw(st.sampled_from([b"0", b"000", b"0;last"])) + b"\r\n" + trailers + b"\r\n"
    return Meant(method, target, body, b"\r\n".join(lines) + b"\r\n\r\n" + written)


NASTY = [
    *(
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: +1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x\r\n",
    ),
    *(
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer_Encoding: chunked\r\n",
        b" chunked\r\n",
        b"Host: b\r\n",
        b"Connection: Content-Length\r\n",
    ),
    *(
        b"Connection: Transfer-Encoding, close\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"0\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b";", b":", b",", b"0x", b"+", b"-", b"_", b"\xff", b"HTTP/1.0", b"\r\n\r\n"),
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A valid request with one or two things done to it, mostly where lines end."""
    raw = draw(requests()).raw
    for _ in range(draw(st.integers(1, 2))):
        ends = [found.end() for found in re.finditer(rb"\r\n", raw)]
        at = draw(st.one_of(st.sampled_from(ends) if ends else st.just(0), st.integers(0, len(raw))))
        kind = draw(st.sampled_from(["insert", "cut", "replace", "double", "line-end"]))
        if kind == "insert":
            raw = raw[:at] + draw(st.sampled_from(NASTY)) + raw[at:]
        elif kind == "cut":
            raw = raw[:at] + raw[at + draw(st.integers(1, 4)) :]
        elif kind == "replace":
            raw = raw[:at] + draw(st.binary(min_size=1, max_size=1)) + raw[at + 1 :]
        elif kind == "double":
            end = raw.find(b"\r\n", at) + 2
            raw = raw[:end] + raw[at:end] + raw[end:] if end > 1 else raw
        elif ends:
            raw = raw[: at - 2] + draw(st.sampled_from([b"\n", b"\r", b"\r\r\n", b"\n\r\n"])) + raw[at:] if at >= 2 else raw
    return raw


@st.composite
def cut_up(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    edges = [0, *places, len(raw)]
    return [raw[low:high] for low, high in pairwise(edges) if low < high]


def reference(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The (method, target, body) of the requests that h11 reads in `raw`, up to the first that it refuses or that does not end."""
    found = []
    rest = raw
    while rest:
        # RFC 9112, 2.2: empty lines before a request are passed over; h11 does not know that.
        while rest.startswith(b"\r\n"):
            rest = rest[2:]
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
        request, body, trailers_cut = None, b"", False
        parser.receive_data(rest)
        try:
            while True:
                event = parser.next_event()
                if isinstance(event, h11.Request):
                    request = event
                    if not trailers_cut and any(name == b"transfer-encoding" for name, _ in event.headers):
                        trailers_cut = True
                        coded = parser.trailing_data[0]
                        head = rest[: len(rest) - len(coded)]
                        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
                        parser.receive_data(head + without_trailers(coded))
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    assert request is not None
                    found.append((request.method, request.target, body))
                    rest = parser.trailing_data[0]
                    break
                else:
                    return found
        except h11.RemoteProtocolError:
            return found
    return found


_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*(?=\r\n)")


def without_trailers(coded: bytes) -> bytes:
    """`coded`, which begins with a chunked body, without that body's trailers, if each is a field line.

    They are dropped whatever they mean (edge.md 11; RFC 9110, 6.5.1: a recipient may discard them), but h11 takes a Content-Length among
    them for the request's own. Where this finds no valid trailers, h11 has `coded` as it came.
    """
    at = 0
    while size := _SIZE.match(coded, at):
        at = size.end()
        if not int(size[1], 16):
            trailers = _TRAILERS.match(coded, at)
            return coded[:at] + coded[trailers.end() :] if trailers else coded
        at += int(size[1], 16) + 2
    return coded


CODED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("trailers", [b"", b"A: b\r\n", b"Content-Length: +1\r\n", b"Host: b\r\nHost: c\r\nTransfer-Encoding: x\r\n"])
def test_the_reference_drops_trailers_whatever_they_mean(trailers: bytes) -> None:
    assert reference(CODED + trailers + b"\r\n" + NEXT) == [(b"POST", b"/", b"abc"), (b"GET", b"/next", b"")]


@pytest.mark.parametrize("trailers", [b"A b\r\n", b" A: b\r\n", b"A : b\r\n", b"A: \x00\r\n", b": b\r\n"])
def test_the_reference_refuses_what_is_no_trailer(trailers: bytes) -> None:
    assert reference(CODED + trailers + b"\r\n" + NEXT) == []


def test_the_reference_judges_the_body_before_the_trailers() -> None:
    assert reference(CODED.replace(b"abc\r\n", b"abcd\r\n") + b"Content-Length: +1\r\n\r\n" + NEXT) == []


def origin(target: bytes) -> bytes:
    """In origin-form, as the gateway writes it."""
    absolute = re.fullmatch(rb"(?i)https?://[^/?]*(.*)", target, re.DOTALL)
    if absolute is None:
        return target
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


@bounded
@given(st.data(), requests())
def test_a_valid_request_arrives_as_it_was_meant(world: World, data: st.DataObject, meant: Meant) -> None:
    answers = world.run(world.ask(data.draw(cut_up(meant.raw))))
    assert [answer.status for answer in answers] == [200]
    assert world.legacy.faults == []
    assert [(request.method, request.target, request.body) for request in world.legacy.requests] == [
        (meant.method, meant.target, meant.body)
    ]
    assert reference(meant.raw) == [(meant.method, meant.target, meant.body)]


@bounded
@given(st.data(), st.lists(requests(), min_size=2, max_size=4))
def test_pipelined_requests_stay_apart(world: World, data: st.DataObject, several: list[Meant]) -> None:
    answers = world.run(world.ask(data.draw(cut_up(b"".join(meant.raw for meant in several if meant.method != b"HEAD")))))
    wanted = [(meant.method, meant.target, meant.body) for meant in several if meant.method != b"HEAD"]
    assert [(request.method, request.target, request.body) for request in world.legacy.requests] == wanted
    assert [answer.body for answer in answers] == [b"%b %b %b" % each for each in wanted]
    assert world.legacy.faults == []


@settings(bounded, max_examples=1000)
@given(st.data(), spoilt())
def test_a_spoilt_request_is_read_in_one_way_or_not_at_all(world: World, data: st.DataObject, raw: bytes) -> None:
    read_in_one_way(world, raw, data.draw(cut_up(raw)))


@pytest.mark.parametrize(
    "raw",
    [
        b"HEAD / HTTP/1.1\r\nontent-Length: 70\r\nHost: a\r\n\r\n" + 2 * SMUGGLED,
        SMUGGLED + b"HEAD / HTTP/1.1\r\nContent-Length: 0\r\nHost: a\r\n\r\n" + SMUGGLED,
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED + b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_methods_by_turns(world: World, raw: bytes) -> None:
    """What hypothesis found against this test itself, which took every answer on a connection for the first request's."""
    read_in_one_way(world, raw, [raw])


def read_in_one_way(world: World, raw: bytes, pieces: list[bytes]) -> None:
    answers = world.run(world.ask(pieces))
    whole = [(request.method, request.target, request.body) for request in world.legacy.requests if request.complete]
    if currently_in_test_context():
        note(f"answers: {answers!r}\nat legacy: {bytes(world.legacy.raw)!r}")
    assert world.legacy.faults == [], "what goes on is valid, whatever came"
    strict = [(method, origin(target), body) for method, target, body in reference(raw)]
    # A body that went on as it came is compared as far as both read it: h11 goes on reading where the gateway refuses.
    assert whole == strict[: len(whole)], "legacy and h11 read the same requests"
    refused = [answer for answer in answers if answer.header("Banyan-Error")]
    assert len([answer for answer in answers if answer.status >= 200]) - len(refused) == len(whole), "each is answered, once"
    if currently_in_test_context():
        event(f"{len(whole)} passed on, {'the rest refused' if refused else 'nothing refused'}")
    if refused:
        assert refused == answers[-1:], "nothing follows a refusal"
        assert refused[0].status in (400, 405, 408, 413, 414, 417, 431, 501, 505, 508)
    if not world.legacy.requests:
        assert world.legacy.raw == b"", "U0"
