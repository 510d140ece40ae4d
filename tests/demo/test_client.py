"""The demo's client, on which "no failed request" rests: what is not a whole answer must be a failure, and what is one must not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from demo.client import Client, ClientError, SignInError
from demo.traffic import Traffic, TrafficError


@asynccontextmanager
async def server(*answers: bytes, hang_up: bool = True) -> AsyncIterator[tuple[Client, list[bytes]]]:
    """Gives one of `answers` to each request, then hangs up or falls silent. Yields a client of it, and the requests' heads."""
    left = list(answers)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(left.pop(0))
                await writer.drain()
            if not hang_up:
                await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    client = Client(listening.sockets[0].getsockname()[1])
    try:
        yield client, heads
    finally:
        client.close()
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
async def test_whole_answers(answer: bytes, body: bytes) -> None:
    async with server(answer) as (client, _):
        assert (await client.request("GET", "/")).body == body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "ValueError"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "cut off"),
        (b"", "closed unanswered"),
        (b"rubbish\r\n\r\n", "ValueError"),
    ],
)
async def test_anything_less_is_a_failure(answer: bytes, why: str) -> None:
    async with server(answer) as (client, _):
        with pytest.raises(ClientError, match=why):
            await client.request("GET", "/")


async def test_nobody_listening_is_a_failure() -> None:
    async with server() as (client, _):
        pass
    with pytest.raises(ClientError, match="ConnectionRefusedError"):
        await client.request("GET", "/")


async def test_no_answer_in_time_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.client.ANSWER_SECONDS", 0.1)
    async with server(b"", hang_up=False) as (client, _):
        with pytest.raises(ClientError, match=r"within 0\.1 s"):
            await client.request("GET", "/")


async def test_one_connection_and_its_cookies_are_kept() -> None:
    first = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    second = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=3\r\nContent-Length: 0\r\n\r\n"
    async with server(first, second, second) as (client, heads):
        for _ in range(3):
            await client.request("GET", "/")
    assert [b"Cookie:" in head for head in heads] == [False, True, True]
    assert b"\r\nCookie: a=1; b=2\r\n" in heads[1]
    assert b"\r\nCookie: a=3; b=2\r\n" in heads[2]


async def test_signing_in_says_why_it_failed() -> None:
    form = b'<input name="csrfmiddlewaretoken" value="t">'
    page = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(form), form)
    async with server(page, page) as (client, _):
        with pytest.raises(SignInError, match="user01 was not signed in: /login/ answered 200"):
            await client.sign_in("user01", "wrong")
    async with server(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as (client, _):
        with pytest.raises(SignInError, match="502 without a form"):
            await client.sign_in("user01", "wrong")


ANSWER = b"HTTP/1.1 200 OK\r\nBanyan-Route: -; served-by=legacy; reason=unrouted\r\nSet-Cookie: sessionid=s\r\nContent-Length: %d\r\n\r\n%s"
FORM = b'<input name="csrfmiddlewaretoken" value="t">'


@asynccontextmanager
async def shop(fails: Callable[[], bool]) -> AsyncIterator[int]:
    """Signs everybody in, and answers everything else, or hangs up where `fails` says so. Yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST /login/"):
                    writer.write(b"HTTP/1.1 302 Found\r\nSet-Cookie: sessionid=s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                if fails():
                    return
                writer.write(ANSWER % (len(FORM), FORM))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


async def test_traffic_keeps_its_rate_counts_failures_and_pauses() -> None:
    broken = False
    async with shop(lambda: broken) as port:
        traffic = Traffic(port, ["ann", "bob", "cid", "dot"], "secret", rate=100)
        try:
            await asyncio.to_thread(traffic.start)
            began = time.monotonic()
            traffic.resume()
            await asyncio.sleep(1)
            await asyncio.to_thread(traffic.pause)
            answers = traffic.answers(began)
            assert 50 <= len(answers) <= 115
            assert {answer.user for answer in answers} == {"ann", "bob", "cid", "dot"}
            assert {(answer.served, answer.reason, answer.failure) for answer in answers} == {("legacy", "unrouted", "")}
            assert traffic.counts.failed == 0
            await asyncio.sleep(0.1)
            assert len(traffic.answers(began)) == len(answers)
            broken, began = True, time.monotonic()
            traffic.resume()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(traffic.pause)
            assert {answer.failure for answer in traffic.answers(began)} == {"the connection was closed unanswered"}
            assert traffic.counts.failed == len(traffic.answers(began)) > 0
        finally:
            await asyncio.to_thread(traffic.stop)


async def test_traffic_that_cannot_sign_in_says_so() -> None:
    async with server() as (client, _):
        traffic = Traffic(client._port, ["ann"], "secret", rate=100)
        try:
            with pytest.raises(TrafficError, match="signing in through the gateway failed"):
                await asyncio.to_thread(traffic.start)
        finally:
            await asyncio.to_thread(traffic.stop)
