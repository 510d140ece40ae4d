"""The corpus (tests/corpus/) through a real gateway onto recording upstreams: what clients get, and what of it upstreams see.

Every case runs whole, in pieces of one byte, and with trailing data. The gateway's connections to its upstreams are warm, so whatever it
wants to pass on could go at once; and after every case it has to serve another client as if nothing had been.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.support.corpus import Case, cases
from tests.support.gateway import Client, Gateway, Response, gateway
from tests.support.recording import Recorder, Script, pause, pieces

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
access_log = ""
[gateway.limits]
header_timeout = "2s"
idle_timeout = "3s"
body_bytes = "1MiB"
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
response_timeout = "2s"
[upstreams.new]
url = "http://127.0.0.1:{new}"
response_timeout = "2s"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
rewrite = "/v2/*"
"""
AFTER = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n"
SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"
_HEAD = re.compile(
    rb"HTTP/1\.1 [1-5][0-9][0-9](?: [^\x00-\x1f\x7f]*)?\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n"
)


class World:
    def __init__(self, gateway: Gateway, legacy: Recorder, new: Recorder) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new

    async def alive(self, path: bytes) -> Response:
        """Somebody else's request."""
        return await self.gateway.request(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    legacy, new = Recorder(), Recorder()
    await legacy.start()
    await new.start()
    try:
        async with gateway(tmp_path_factory.mktemp("corpus"), TOML.format(legacy=legacy.port, new=new.port), moved=True) as started:
            yield World(started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    """Nothing recorded, and an idle connection to either upstream in the gateway's pools."""
    for path in (b"/warm", b"/moved/warm"):
        assert (await running.alive(path)).status == 200
    running.legacy.forget()
    running.new.forget()
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


@pytest.mark.parametrize(("case", "way"), [pytest.param(case, way, id=f"{case.id}-{way}") for case in cases() for way in case.ways])
async def test_corpus(world: World, case: Case, way: str) -> None:
    case = case.sent(way)
    upstream = world.new if case.candidate else world.legacy
    if case.answer:
        answer = case.answer + (SURPLUS if way == "trailing" else b"")
        upstream.script = Script(answer, early=case.early, step=1 if way == "pieces" else 0, hold=case.cut, end=case.then)
    client = await world.gateway.connect()
    trailing = way == "trailing" and not case.answer
    sending = asyncio.create_task(_send(client, case, way, AFTER if trailing else b""))
    try:
        answers = await _answers(client, case)
        if case.cut:
            assert _HEAD.fullmatch(await client.reader.readuntil(b"\r\n\r\n"))
            upstream.go.set()
        if case.answer:
            # What comes after an answer can be told from the next one only until the next request is on its way.
            async with asyncio.timeout(5):
                await upstream.answered.wait()
            await pause()
        await _ending(client, case, sent_after=trailing)
    finally:
        await sending
    if answers:
        _check_answer(answers[-1], case)
    elsewhere = await world.alive(b"/alive")
    assert (elsewhere.status, elsewhere.body) == (200, b"GET /alive "), "another client notices nothing"
    reused = case.reused and not (way == "trailing" and case.answer)
    await _check_upstreams(world, case, reused=reused)


async def _send(client: Client, case: Case, way: str, after: bytes) -> None:
    with suppress(ConnectionError):  # whoever is refused may be cut short
        if way == "pieces":
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces(case.send, 1):
                client.writer.write(piece)
                await pause()
        else:
            await client.send(case.send + after)
        if case.half_close:
            client.writer.write_eof()


async def _answers(client: Client, case: Case) -> list[Response]:
    answers = []
    for status in case.status:
        answer = await client.response(head_only=case.send.startswith(b"HEAD "))
        assert _HEAD.fullmatch(answer.head), "every line is a field (edge.md 24)"
        assert answer.status == status, answer
        answers.append(answer)
    return answers


async def _ending(client: Client, case: Case, *, sent_after: bool) -> None:
    if case.cut:
        with pytest.raises(ConnectionResetError):
            await client.rest()
    elif case.closes or case.half_close:
        assert await client.rest() == b"", "nothing follows the last answer"
    else:
        if not sent_after:
            await client.send(AFTER)
        following = await client.response()
        assert (following.status, following.body) == (200, b"GET /after "), "the connection goes on, with its own next answer"


def _check_answer(answer: Response, case: Case) -> None:
    assert (answer.header("Banyan-Error") or "") == case.error
    options = [option.strip() for value in _values(answer, "connection") for option in value.split(",")]
    if not case.half_close:  # its end may come before the answer or after it
        assert ("close" in options) == case.closes, answer.head
    if case.gets is not None:
        assert answer.body == case.gets
    for name, values in case.shows.items():
        assert _values(answer, name) == values, name


def _values(answer: Response, name: str) -> list[str]:
    lines = [line.partition(b":") for line in answer.head.split(b"\r\n")[1:]]
    return [value.strip(b" \t").decode("latin-1") for key, _, value in lines if key.decode("latin-1").lower() == name]


async def _check_upstreams(world: World, case: Case, *, reused: bool) -> None:
    upstream, other = (world.new, world.legacy) if case.candidate else (world.legacy, world.new)
    assert upstream.faults == other.faults == [], "h11 reads what the gateway writes"
    ours = [request for request in upstream.requests if request.target not in (b"/after", b"/alive")]
    assert [request for request in other.requests if request.target not in (b"/after", b"/alive")] == []
    if not case.candidate:
        assert other.raw == b"", "no byte of it reaches the candidate"
    followed = any(request.target == b"/after" for request in (*upstream.requests, *other.requests))
    assert followed != (case.closes or case.cut or case.half_close), "what comes after the end is nobody's request"
    if case.reaches == "nothing":
        assert ours == []
        assert upstream.raw.startswith(b"GET /a"), "U0: its first byte is another request's"
        return
    if case.reaches == "no end":
        assert not any(request.complete for request in ours)
        assert not {request.connection for request in ours} & {connection.number for connection in upstream.connections}, "UC"
        return
    assert all(request.complete for request in ours)
    if isinstance(case.reaches, int):
        assert len(ours) == case.reaches
    else:
        assert tuple(request.line for request in ours) == case.reaches
    if case.body is not None:
        assert ours[-1].body == case.body
    for name, values in case.fields.items():
        assert [value.decode("latin-1") for value in ours[-1].values(name.encode())] == values, name
    carried = {request.connection for request in ours}
    later = {request.connection for request in upstream.requests if request not in ours}
    if reused:
        assert case.candidate or carried & later, "the upstream's connection is kept"
    else:
        assert not carried & later, "UC: no other request goes over it"
        assert not carried & {connection.number for connection in upstream.connections}, "UC: it is closed"
