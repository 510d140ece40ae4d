"""`banyan inspect` as a real process: what it shows, to whom, and how much of it is kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.processes import python
from tests.inspecting.conftest import TOML, Inspected, inspected, says
from tests.support import http2, http3
from tests.support.certificates import Authority
from tests.support.gateway import Exchange, write_flags

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inspected]:
    async with inspected(tmp_path_factory.mktemp("inspect"), ["--body", "32KiB"], reviews=False) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def inside(running: Inspected) -> AsyncIterator[Inspected]:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    await running.gateway.current(reviews=False, reviews__shadow=False)
    yield running


# Who may look


async def test_nobody_looks_without_the_password(inside: Inspected) -> None:
    await inside.get("/seen")
    for path in ("/", "/flows", "/flows/dump", "/events", "/options", "/state", "/commands"):
        for wrong in ("", "wrong", inside.password[:-1]):
            status, body = await asyncio.to_thread(inside.ask, path, password=wrong)
            assert (status, b"/seen" in body) == (403, False), path
        assert (await asyncio.to_thread(inside.ask, path))[0] == 200, path


def listening(name: str) -> list[tuple[str, int]]:
    """(address, port) of every listening socket, as the kernel writes them."""
    lines = [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    places = [fields[1].rpartition(":") for fields in lines if fields[3] == "0A"]
    return [(address, int(port, 16)) for address, _, port in places]


async def test_the_page_is_on_this_machine_alone(inside: Inspected) -> None:
    assert [address for address, port in listening("tcp") if port == inside.port] == ["0100007F"]
    assert inside.port not in {port for _, port in listening("tcp6")}


def known_to(pid: int, name: str) -> bytes:
    """What anybody may read of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def test_the_password_is_said_once_and_nowhere_else(inside: Inspected) -> None:
    await asyncio.to_thread(inside.ask, f"/?token={inside.password}", password="")
    await asyncio.to_thread(inside.ask, "/?token=no", password="")
    said = inside.gateway.process.log.read_text()
    assert said.count(inside.password) == 1
    assert "token=no" not in said
    processes = [inside.gateway.process.pid, *inside.gateway.workers(), *inside.gateway.children("shadow")]
    assert len(processes) > 2
    for pid in processes:
        for name in ("cmdline", "environ"):
            assert inside.password.encode() not in known_to(pid, name)
    options = (await asyncio.to_thread(inside.ask, "/options"))[1]
    assert inside.password.encode() not in options
    assert inside.password.encode() not in (inside.gateway.folder / "access.log").read_bytes()


async def test_it_only_looks(inside: Inspected) -> None:
    await inside.get("/first")
    (flow,) = await inside.until("~u /first")
    tries = [
        ("PUT", f"/flows/{flow.id}", b'{"comment": "x"}'),
        ("DELETE", f"/flows/{flow.id}", None),
        ("POST", f"/flows/{flow.id}/replay", b""),
        ("POST", "/flows/kill", b""),
        ("POST", "/flows/dump", b"x"),
        ("PUT", "/options", b'{"scripts": ["/tmp/x.py"], "intercept": "~all", "mode": ["regular@0"]}'),
        ("POST", "/commands/replay.client", b"{}"),
    ]
    for method, path, data in tries:
        status, body = await asyncio.to_thread(inside.ask, path, method=method, data=data)
        assert (status, b"only looks" in body) == (403, True), path
    assert (await inside.get("/second")).status == 200
    assert len([each for each in inside.legacy.requests if b"/first" in each.line]) == 1


# What is shown


async def test_who_served_and_why(inside: Inspected) -> None:
    await inside.get("/reviews/a1")
    await inside.gateway.current(reviews=True)
    await inside.get("/reviews/a2")

    async def failing(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    inside.new.handler = failing
    await inside.get("/reviews/a3")
    await inside.gateway.request(b"GET /reviews/a4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n")
    await inside.get("/elsewhere/a5")
    for filter_, path, comment in (
        (":white_circle:", "/reviews/a1", "reviews · legacy (flag-off)"),
        (":black_circle:", "/reviews/a2", "reviews · candidate (flag)"),
        (":leftwards_arrow_with_hook:", "/reviews/a3", "reviews · legacy (fallback-status-500)"),
        (":white_circle:", "/elsewhere/a5", "no route · legacy (unrouted)"),
    ):
        (flow,) = await inside.until(f"~marker {filter_} & ~u {path}$")
        assert flow.comment == f"{comment} · id {flow.metadata['request-id']}"
        assert flow.response is not None
        assert flow.response.status_code == 200
    (flow,) = await inside.until("~meta 'served-by: candidate' & ~u /a2")
    assert flow.server_conn.address == ("127.0.0.1", inside.new.port)
    assert {"route", "served-by", "upstream", "reason", "request-id"} <= set(flow.metadata)
    assert len(await inside.until(r"~comment fallback-status-\d+ & ~u /a3")) == 1
    shown = {each["request"]["path"]: each["marked"] for each in await asyncio.to_thread(inside.flows)}
    assert shown["/reviews/a2"] == "⚫"


async def test_what_the_gateway_answers_itself(inside: Inspected) -> None:
    await inside.gateway.request(b"GET /own HTTP/1.1\r\nHost: a\r\nVia: 1.1 banyan\r\n\r\n")
    (flow,) = await inside.until("~marker warning & ~u /own")
    assert flow.response is not None
    assert flow.response.status_code == 508
    assert json.loads(flow.response.text or "")["type"] == "urn:banyan:problem:loop"
    assert flow.metadata["served-by"] == "gateway"
    await inside.legacy.stop()
    await inside.get("/gone")
    (flow,) = await inside.until("~marker warning & ~u /gone")
    assert "upstream-unreachable" in flow.comment


async def test_what_the_shadow_was_told_and_what_comparing_comes_to(inside: Inspected) -> None:
    inside.legacy.handler = says({"stars": 4, "at": 1})
    inside.new.handler = says({"stars": 5, "at": 2})
    await inside.gateway.current(reviews=False, reviews__shadow=True)
    await inside.get("/reviews/b1")
    served, beside = sorted(await inside.until("~meta 'verdict: mismatch' & ~u /b1", 2), key=lambda flow: flow.metadata["shadow"] == "this")
    assert served.metadata["shadow"] == "new"
    known = served.metadata["request-id"]
    assert served.comment == f"reviews · legacy (flag-off) · shadow new · mismatch: value $.stars · id {known}"
    assert beside.comment == f"reviews · new asked beside · mismatch: value $.stars · id {known}"
    assert served.marked == beside.marked == ":heavy_multiplication_x:"
    assert served.metadata["request-id"] == beside.metadata["request-id"]
    assert served.response is not None
    assert beside.response is not None
    assert json.loads(served.response.text or "") == {"stars": 4, "at": 1}
    assert json.loads(beside.response.text or "") == {"stars": 5, "at": 2}
    inside.new.handler = says({"stars": 4, "at": 3})
    await inside.get("/reviews/b2")
    (served,) = await inside.until("~meta 'verdict: match' & ~marker white_circle & ~u /b2")
    await inside.until("~meta 'verdict: match' & ~marker left_right_arrow & ~u /b2")
    await inside.new.stop()
    await inside.get("/reviews/b3")
    (beside,) = await inside.until("~marker multiplication & ~e & ~u /b3")
    assert beside.error is not None
    assert beside.error.msg == "refused"


async def test_a_reviewed_rule_is_known_here_too(inside: Inspected) -> None:
    inside.legacy.handler = says({"stars": 4})
    inside.new.handler = says({"stars": 5})
    config = inside.gateway.folder / "banyan.toml"
    add = python("-m", "gateway.cli", "rules", "add", "reviews", "ignore", "$.stars", "--reason", "rounded", "--config", str(config))
    await asyncio.to_thread(subprocess.run, add, check=True, capture_output=True, timeout=60)
    await inside.gateway.current(reviews=False, reviews__shadow=True)
    for number in range(40):
        await inside.get(f"/reviews/c{number}")
        await asyncio.sleep(0.2)
        found = await asyncio.to_thread(inside.filtered, f"~meta 'verdict: match' & ~u /c{number}$")
        if found:
            return
    raise AssertionError("the rule is not known")


async def test_credentials_are_left_out(inside: Inspected) -> None:
    async def sign_in(exchange: Exchange) -> None:
        away = b"Location: https://a/cb?code=verysecret&state=1#access_token=verysecret\r\nLink: </x?token=verysecret>; rel=next\r\n"
        await exchange.answer(b"ok", extra=b"Set-Cookie: sessionid=verysecret; Path=/\r\n" + away)

    inside.legacy.handler = inside.new.handler = sign_in
    await inside.gateway.current(reviews=False, reviews__shadow=True)
    lines = ("Cookie: sessionid=verysecret", "Authorization: Bearer verysecret", "X-Secret: verysecret", "X-Plain: plain")
    lines = (*lines, "Referer: https://a/reset?token=verysecret")
    response = await inside.get("/reviews/d1?password=verysecret", *lines)
    assert "verysecret" in response.head.decode()
    (flow,) = await inside.until("~u /d1 & !~meta 'shadow: this'")
    (beside,) = await inside.until("~u /d1 & ~meta 'shadow: this'")
    for each in (flow, beside):
        assert each.request.headers["Referer"] == "https://a/reset?token=*"
        assert each.response is not None
        assert each.response.headers["Location"] == "https://a/cb?code=*&state=1#access_token=*"
    assert flow.request.headers["X-Plain"] == "plain"
    assert flow.request.headers["Cookie"] == flow.request.headers["Authorization"] == flow.request.headers["X-Secret"] == "(hidden)"
    assert flow.response is not None
    assert flow.response.headers["Set-Cookie"] == "sessionid=*; Path=/"
    assert b"verysecret" not in (await asyncio.to_thread(inside.ask, "/flows/dump"))[1]


async def test_credentials_where_they_are_asked_for(tmp_path: Path) -> None:
    async with inspected(tmp_path, ["--credentials"]) as inside:
        await inside.get("/reviews/1", "Cookie: sessionid=verysecret")
        (flow,) = await inside.until("~u /reviews/1")
        assert flow.request.headers["Cookie"] == "sessionid=verysecret"


async def test_a_websocket_s_messages(inside: Inspected) -> None:
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import Request, TextMessage

    from tests.support.websocket import websocket_server

    async def relay(exchange: Exchange) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    target.write(data)
            finally:
                target.close()

        writer.write(exchange.head)
        await asyncio.gather(copy(reader, exchange.writer), copy(exchange.reader, writer))

    with websocket_server() as port:
        inside.legacy.handler = relay
        client = await inside.gateway.connect()
        speaker = WSConnection(ConnectionType.CLIENT)
        await client.send(speaker.send(Request(host="a", target="/ws", subprotocols=["chat"])))
        speaker.receive_data(await client.reader.readuntil(b"\r\n\r\n"))
        for number in range(300):
            await client.send(speaker.send(TextMessage(f"hello {number}")))
        heard: list[str] = []
        async with asyncio.timeout(10):
            while len(heard) < 300:
                speaker.receive_data(await client.reader.read(65536))
                heard += [event.data for event in speaker.events() if isinstance(event, TextMessage)]
        assert heard[-1] == "HELLO 299"
        (flow,) = await inside.until("~u /ws")
        assert flow.websocket is not None
        assert len(flow.websocket.messages) == 200
        assert flow.websocket.messages[-1].text == "HELLO 299"
        client.close()


async def test_http_2_and_3(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("shop", "shop.test")
    more = 'http2 = true\nhttp3 = true\ntls = {{ certificate = "shop.pem", key = "shop.key" }}\n[upstreams]\n'
    async with inspected(tmp_path, toml=TOML.replace("[upstreams]\n", more), reviews=True) as inside:
        tls = authority.client()
        tls.set_alpn_protocols(["h2"])
        two = await http2.Client.connect(inside.gateway.port, tls, server_name="shop.test")
        assert (await two.request(http2.get("/reviews/two", "POST", "shop.test"), b"hello")).status == 200
        two.close()
        async with http3.client(inside.gateway.port, authority.ca) as three:
            assert (await three.request(http2.get("/reviews/three", "POST", "shop.test"), b"hello")).status == 200
        for name, version in (("two", "HTTP/2.0"), ("three", "HTTP/3")):
            (flow,) = await inside.until(f"~marker black_circle & ~u /reviews/{name}")
            assert (flow.request.http_version, flow.request.content) == (version, b"hello")


# How much is kept


async def test_bodies_are_cut_short_for_whoever_looks_and_for_nobody_else(inside: Inspected) -> None:
    async def large(exchange: Exchange) -> None:
        await exchange.answer(b"y" * 3_000_000)

    inside.legacy.handler = inside.new.handler = large
    client = await inside.gateway.connect()
    for flag in (False, True):
        await inside.gateway.current(reviews=flag)
        head = f"POST /reviews/e{flag:d} HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n".encode()
        assert len((await client.request(head + b"x" * 500_000)).body) == 3_000_000
        assert len((await client.request(f"GET /reviews/f{flag:d} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).body) == 3_000_000
    for path in ("e0", "e1", "f0", "f1"):
        (flow,) = await inside.until(f"~u /{path} & ~comment 'response: 32768 of 3000000 bytes'")
        assert flow.response is not None
        assert flow.response.raw_content == b"y" * 32768
        assert ("request: 32768 of 500000 bytes" in flow.comment) == path.startswith("e")
        assert flow.request.raw_content == (b"x" * 32768 if path.startswith("e") else b"")
    assert [len(each.body) for each in (*inside.legacy.requests, *inside.new.requests) if b"POST" in each.line] == [500_000, 500_000]


async def test_the_oldest_flow_goes_first_and_memory_stays(tmp_path: Path) -> None:
    async def large(exchange: Exchange) -> None:
        await exchange.answer(b"z" * 200_000)

    async with inspected(tmp_path, ["--keep", "40", "--body", "100KiB"], reviews=50, reviews__shadow=True) as inside:
        inside.legacy.handler = inside.new.handler = large

        async def carry(name: str, count: int) -> None:
            client = await inside.gateway.connect()
            for number in range(count):
                assert len((await client.request(f"GET /reviews/{name}-{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).body) == 200_000

        await asyncio.gather(*(carry(f"warm{each}", 15) for each in range(4)))
        await asyncio.sleep(1)
        before = inside.resident()
        await asyncio.gather(*(carry(f"more{each}", 100) for each in range(4)))
        await asyncio.sleep(1)
        flows = await asyncio.to_thread(inside.flows)
        assert len(flows) == 40
        assert not [each for each in flows if "warm" in each["request"]["path"]]
        # 400 requests with two answers of 200 kB are 160 MB; of them 80 MB would be kept.
        assert inside.resident() - before < 40 * 2**20


async def test_a_page_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with inspected(tmp_path, ["--keep", "50"]) as inside:
        reader, writer = await asyncio.open_connection("127.0.0.1", inside.port, limit=1024)
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        place, key = f"127.0.0.1:{inside.port}", "dGhlIHNhbXBsZSBub25jZQ=="
        head = f"GET /updates?token={inside.password} HTTP/1.1\r\nHost: {place}\r\nOrigin: http://{place}\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined] # it reads no more
        client = await inside.gateway.connect()

        def connected() -> bool:
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return any(fields[1].endswith(f":{inside.port:04X}") and fields[3] == "01" for fields in lines)

        assert connected()
        for number in range(4000):
            await client.request(f"GET /{'p' * 900}/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            if number % 500 == 0 and not connected():
                break
        for _ in range(40):
            if not connected():
                break
            await asyncio.sleep(0.1)
        assert not connected()
        assert (await client.request(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        writer.transport.abort()


async def test_a_reload_and_a_worker_that_dies(tmp_path: Path) -> None:
    """The page stays where it is, under the same password."""
    async with inspected(tmp_path) as inside:
        await inside.get("/before", "X-Plain: plain")
        (flow,) = await inside.until("~u /before")
        assert flow.request.headers["X-Plain"] == "plain"
        config = tmp_path / "banyan.toml"
        config.write_text(config.read_text().replace('"x-secret"', '"x-plain"'))
        for _ in range(100):
            if (await asyncio.to_thread(inside.gateway.get, "/config"))["number"] == 1:
                break
            await asyncio.sleep(0.1)
        await inside.get("/between", "X-Plain: plain")
        (flow,) = await inside.until("~u /between")
        assert flow.request.headers["X-Plain"] == "(hidden)"
        (pid,) = inside.gateway.workers()
        os.kill(pid, 9)
        for _ in range(100):
            try:
                if (await inside.get("/after")).status == 200:
                    break
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.1)
        await inside.until("~u /after")
        assert inside.gateway.process.log.read_text().count(inside.password) == 1


# The command


def refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(python("-m", "gateway.cli", "inspect", *arguments), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


async def test_what_the_command_refuses(tmp_path: Path) -> None:
    write_flags(tmp_path / "flags.json", {})
    config = tmp_path / "banyan.toml"
    config.write_text('[gateway]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = await asyncio.to_thread(refused, "--config", str(config), "--port", str(port))
        assert status == 1
        assert said == f"banyan: 127.0.0.1:{port} cannot be had for the page: Address already in use. Choose another with --port\n"
    for options in (["--body", "5"], ["--body", "1GiB"], ["--keep", "0"], ["--port", "99999"]):
        status, said = await asyncio.to_thread(refused, "--config", str(config), *options)
        assert status == 2, options
        assert options[0] in said
    status, said = await asyncio.to_thread(refused, "--config", str(tmp_path / "none.toml"))
    assert status == 2
    assert "none.toml" in said
    config.write_text(config.read_text() + '[upstreams.x]\nurl = "http://127.0.0.1:1"\nhealth = { path = "/up" }\n')
    status, said = await asyncio.to_thread(refused, "--config", str(config), "--port", "0")
    assert status == 2
    assert "upstreams.x.health: the mitmproxy engine does not ask for it" in said


async def test_help_has_an_example() -> None:
    done = await asyncio.to_thread(
        subprocess.run, python("-m", "gateway.cli", "inspect", "--help"), capture_output=True, text=True, timeout=60, check=True
    )
    assert re.search(r"banyan inspect --config banyan.toml --keep 500", done.stdout)
