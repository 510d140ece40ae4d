"""A thousand secrets go through a real gateway with its shadow on, and none of them is found in anything that it leaves or shows."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import socket
import sqlite3
import subprocess
import zlib
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote_plus

import brotli  # type: ignore[import-untyped]
import httpx
import zstandard
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from demo.processes import Running, python, start
from gateway.secret_patterns import luhn
from shadow.pack import counts
from tests.integration.test_reload import ROUTE, World, served
from tests.support.console import log_in, running_console
from tests.support.gateway import Exchange
from tests.support.nats import Nats, start_nats

ROUNDS = 100
"""Each brings ten secrets or more."""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CODINGS = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "deflate": zlib.compress,
    "": bytes,
}


class Seeds:
    """Makes secrets, and remembers every one."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        self._random = random.Random(7)

    def word(self, prefix: str = "") -> str:
        secret = prefix + "".join(self._random.choices("abcdefghijkmnpqrstuvwxyz23456789ABCDEFGHJKLM", k=24))
        self.all.add(secret)
        return secret

    def card(self) -> str:
        start = "4" + "".join(self._random.choices("0123456789", k=14))
        number = next(start + digit for digit in "0123456789" if luhn(start + digit))
        self.all.add(number)
        return number

    def jwt(self) -> str:
        secret = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{self.word()}.{self.word()}"
        self.all.add(secret)
        return secret


def spelt(card: str, number: int) -> str:
    """One of the ways in which a number is written."""
    grouped = [card[start : start + 4] for start in range(0, 16, 4)]
    return ("", " ", "-")[number % 3].join(grouped)


def document(seeds: Seeds, number: int) -> tuple[str, str]:
    """A body with secrets, and its media type: JSON, text, HTML, a form, a form in parts, or JSON that is none."""
    card, token, password = seeds.card(), seeds.word("ghp_"), seeds.word()
    match number % 6:
        case 0:
            nested = json.dumps({"password": seeds.word(), "card": spelt(card, number)})
            fields = {"user": {"email": seeds.word()}, "password": password, "note": f"paid by {spelt(seeds.card(), number)}"}
            return json.dumps({**fields, "number": int(seeds.card()), "inner": nested, "t": token, seeds.card(): 1}), JSON
        case 1:
            return f"Paid by {spelt(card, number)}, with {token}; see /a?token={password}&b=1", "text/plain"
        case 2:
            escaped = "".join(f"&#{ord(digit)};" for digit in card)
            return f"<p>{escaped} {spelt(seeds.card(), number)}</p><a href='/x?password={password}'>{token}</a>", "text/html"
        case 3:
            return f"card={quote_plus(spelt(card, number))}&user%5Bpassword%5D={password}&t={token}&jwt={seeds.jwt()}", FORM
        case 4:
            parts = {"password": password, "card": spelt(card, number), "t": token}
            body = "".join(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items())
            return body + "--x--\r\n", "multipart/form-data; boundary=x"
        case _:
            return f'{{"card": "{"".join(f"\\u00{ord(digit):02x}" for digit in card)}", "t": "{token}", "p": "Bearer {password}", }}', JSON


def request(seeds: Seeds, number: int) -> bytes:
    path = f"/reviews/{number}/{seeds.card()}/{seeds.word('sk_live_')}"
    query = f"?password={seeds.word()}&email={seeds.word()}&c={quote_plus(spelt(seeds.card(), number))}&code={seeds.word()}"
    fields = {
        "Authorization": f"Bearer {seeds.word()}",
        "Cookie": f"sessionid={seeds.word()}",
        "X-Secret": seeds.word(),
        "X-Card": spelt(seeds.card(), number),
        "X-Token": seeds.jwt(),
        "X-Api-Key": seeds.word(),
        "X-CSRFToken": seeds.word(),
        "Referer": f"http://a/reset?code={seeds.word()}&email={seeds.word()}&card={spelt(seeds.card(), number)}",
    }
    # What differs in the answers keeps a sample, and with it the request: its body too.
    body, media = document(seeds, number + 3)
    coding = list(CODINGS)[number % len(CODINGS)]
    data = CODINGS[coding](body.encode())
    fields |= {"Content-Type": media, "Content-Length": str(len(data))} | ({"Content-Encoding": coding} if coding else {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path}{query} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode() + data


def everything(folder: Path) -> str:
    """Every file, and the database read as what it says."""
    texts = [path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "redact.key"]
    kept = folder / "var" / "banyan.sqlite3"
    if kept.exists():
        with closing(sqlite3.connect(kept)) as database:
            texts += database.iterdump()
    return "\n".join(texts)


def shown(text: str) -> str:
    """`text` with what is between digits taken out, so that no spelling of a number hides it."""
    return re.sub(r"(?<=\d)(?:[ +-]|%20|%2B)(?=\d)", "", text)


async def compared(world: World, count: int) -> None:
    path = world.gateway.folder / "var" / "banyan.sqlite3"
    rows: list[tuple[str, int]] = []
    for _ in range(300):
        if path.exists():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                try:
                    rows = database.execute("SELECT name, SUM(count) FROM shadow_tally GROUP BY name").fetchall()
                except sqlite3.OperationalError:
                    rows = []
            if sum(number for name, number in rows if name in ("matched", "mismatched")) >= count:
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{count} were not compared: {rows}\n{world.gateway.process.tail()}")


SHADOW = ROUTE + '[shadow]\nredact = ["authorization", "cookie", "set-cookie", "x-secret", "$..password", "$.user.email", "$..email"]\n'


async def traffic(world: World, seeds: Seeds) -> None:
    """A thousand secrets in a hundred requests and their answers, all of which differ."""
    bodies: dict[str, tuple[str, str, str]] = {}
    card, header = seeds.card(), seeds.word()

    async def answer(exchange: Exchange, who: str) -> None:
        number = exchange.line.split(b"/")[2].decode()
        body, media, coding = bodies[number]
        # What differs is no secret: so that a sample is kept.
        body = body.replace("}", f', "who": "{who}"}}', 1) if body.startswith('{"user') else body
        data = CODINGS[coding]((body + ("" if media == JSON else f" {who}")).encode())
        cookie = (
            f"Set-Cookie: sid={seeds.word()}; Path=/; HttpOnly{'; Secure' if who == 'legacy' else ''}\r\nSet-Cookie: {seeds.word()}\r\n"
        )
        fields = f"Content-Type: {media}\r\n{cookie}X-Card: {card}\r\nX-Who: {who}\r\nCache-Control: {who}\r\nX-Secret: {header}\r\n"
        await exchange.answer(data, extra=(fields + (f"Content-Encoding: {coding}\r\n" if coding else "")).encode())

    world.legacy.handler = lambda exchange: answer(exchange, "legacy")
    world.new.handler = lambda exchange: answer(exchange, "candidate")
    for number in range(ROUNDS):
        body, media = document(seeds, number)
        bodies[str(number)] = (body, media, list(CODINGS)[number % len(CODINGS)])
        assert (await world.gateway.request(request(seeds, number))).status == 200
    assert len(seeds.all) >= 1000


def found(seeds: Seeds, text: str) -> list[str]:
    """The secrets that are in `text`."""
    plain = shown(text)
    return [secret for secret in sorted(seeds.all) if secret in text or secret in plain]


async def test_no_secret_is_left_anywhere(tmp_path: Path) -> None:
    seeds = Seeds()
    async with served(tmp_path, rest=SHADOW, reviews=False, reviews__shadow=True) as world:
        await traffic(world, seeds)
        await compared(world, ROUNDS)
        admin = [world.gateway.metrics()]
        admin += [json.dumps(await asyncio.to_thread(world.gateway.get, path)) for path in ("/config", "/flags", "/flags/changes")]
        running = await asyncio.to_thread(everything, world.gateway.folder)  # with the database's WAL
        pages = await asyncio.to_thread(console_pages, world.file)
        pages += await asyncio.to_thread(printed, world.file)
    text = "\n".join((running, everything(tmp_path), *admin, *pages))
    assert len(pages) > 10
    assert "set-cookie: sid" in text
    assert "redacted:card:" in text
    assert "redacted:token:" in text
    assert '"target":"/reviews/1/*/*' in text
    assert "x-api-key: redacted:" in text
    assert "--data-raw" in text, "the requests' bodies are there, redacted"
    assert found(seeds, text) == []


async def stream(broker: Nats, exchanges: int) -> str:
    """Every message that waits in the stream, unpacked, once they hold that many exchanges."""

    async def read(jetstream: JetStreamContext) -> list[tuple[bytes, str]]:
        state = (await jetstream.stream_info("BANYAN_SHADOW")).state
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        messages = [await jetstream.get_msg("BANYAN_SHADOW", number) for number in numbers]
        return [(message.data or b"", json.dumps(message.headers)) for message in messages]

    async with asyncio.timeout(60):
        while True:
            with suppress(NotFoundError):  # the shipper has not made the stream yet
                texts, held = [], 0
                for data, headers in await asyncio.to_thread(broker.ask, read):
                    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                        texts += [reader.read().decode("latin-1"), headers]
                    held += sum(counts(json.loads(headers)).values())
                if held >= exchanges:
                    return "\n".join(texts)
            await asyncio.sleep(0.1)


async def test_no_secret_is_in_the_broker_nor_behind_it(tmp_path: Path) -> None:
    """What waits in NATS is unpacked and read, while nobody takes it away; and then what a shadow worker makes of it."""
    seeds = Seeds()
    broker = await asyncio.to_thread(start_nats, tmp_path / "nats")
    try:
        rest = f'{SHADOW}sink = "jetstream"\nnats = "{broker.url}"\n'
        async with served(tmp_path, rest=rest, reviews=False, reviews__shadow=True) as world:
            await traffic(world, seeds)
            sent = await stream(broker, ROUNDS)
            worker, told = await asyncio.to_thread(shadow_worker, world.file)
            try:
                await compared(world, ROUNDS)
                metrics = world.gateway.metrics() + (await asyncio.to_thread(httpx.get, told)).text
                running = await asyncio.to_thread(everything, tmp_path)
                pages = await asyncio.to_thread(console_pages, world.file)
                pages += await asyncio.to_thread(printed, world.file)
            finally:
                await asyncio.to_thread(worker.stop, 20)
    finally:
        await asyncio.to_thread(broker.stop)
    for sign in ("redacted:card:", "redacted:token:", "x-api-key", "set-cookie"):
        assert sign in sent, "it is what the exchanges hold, redacted"
    text = "\n".join((running, everything(tmp_path), *pages))  # with the worker's log, and the database
    for sign in ("redacted:card:", "set-cookie: sid", "x-api-key: redacted:", "--data-raw", "taking from BANYAN_SHADOW"):
        assert sign in text
    assert "banyan_shadow_worker_exchanges_total" in metrics
    assert found(seeds, "\n".join((sent, metrics, text))) == []


def shadow_worker(config: Path) -> tuple[Running, str]:
    """One that takes, and where its metrics are."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    command = python("-m", "gateway.cli", "shadow", "--config", str(config), "--metrics", address)
    running = start("worker", command, log_dir=config.parent, ready=lambda running: "taking from" in running.log.read_text())
    return running, f"http://{address}/metrics"


def console_pages(config: Path) -> list[str]:
    """Every page that the console leads to."""
    with running_console(config) as console, closing(log_in(console)) as client:
        pages: dict[str, str] = {}
        paths = ["/"]
        while paths and len(pages) < 60:
            path = paths.pop()
            if path not in pages:
                pages[path] = client.get(path).text
                paths += [link for link in re.findall(r'href="(/[^"#]*)"', pages[path]) if not link.startswith(("/static", "/logout"))]
        return list(pages.values())


def printed(config: Path) -> list[str]:
    """What the commands print."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}

    def banyan(*arguments: str) -> str:
        command = python("-m", "gateway.cli", *arguments, "--config", str(config))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    listed = banyan("signatures", "list", "reviews", "--json")
    numbers = [str(line["id"]) for line in json.loads(listed)]
    assert numbers
    reports = [banyan("report", "reviews", "--format", form) for form in ("text", "json", "html", "junit")]
    reports.append(banyan("gate", "reviews", "--json"))
    return [listed, *reports, *(banyan("signatures", "show", number) for number in numbers[:8])]


async def test_what_is_redacted_is_compared_all_the_same(tmp_path: Path) -> None:
    seeds = Seeds()
    card, other, token, password = seeds.card(), seeds.card(), seeds.word("ghp_"), seeds.word()

    def body(of: str) -> bytes:
        return json.dumps({"password": password, "card": of, "number": int(card), "token": token}).encode()

    async def legacy(exchange: Exchange) -> None:
        await exchange.answer(body(card), extra=b"Content-Type: application/json\r\n")

    async def candidate(exchange: Exchange) -> None:
        differs = b"/differs" in exchange.line
        # Other bytes, the same document: what is compared is what redaction left.
        await exchange.answer(b" " + body(other if differs else card), extra=b"Content-Type: application/json\r\n")

    async with served(tmp_path, reviews=False, reviews__shadow=True) as world:
        world.legacy.handler, world.new.handler = legacy, candidate
        for name in ("same", "same", "differs"):
            assert (await world.gateway.request(f"GET /reviews/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
        await compared(world, 3)
        with closing(sqlite3.connect(tmp_path / "var" / "banyan.sqlite3")) as database:
            tallies = dict(database.execute("SELECT name, SUM(count) FROM shadow_tally GROUP BY name"))
            signatures = database.execute("SELECT kind, path, count FROM shadow_signature").fetchall()
    assert (tallies["matched"], tallies["mismatched"]) == (2, 1)
    assert signatures == [("value", "$.card", 1)]
