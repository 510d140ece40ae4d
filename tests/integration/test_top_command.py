"""`banyan top`, as somebody uses it: on logs that the real nginx wrote before the real shop, and of a running gateway on a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import ROOT, python
from demo.shop import start_shop
from recorded.access_log import read
from recorded.entry import Entry, Trouble
from recorded.lines import Lines
from recorded.log_format import Format
from tests.support.gateway import Gateway, Upstream, gateway
from tests.support.nginx import Nginx, nginx

pytestmark = pytest.mark.timeout(240)

TIMED = """log_format timed '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_time $upstream_response_time';"""
LABELLED = """log_format labelled '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for" rt=$request_time uct="$upstream_connect_time" urt="$upstream_response_time"';"""
JSON = """log_format json escape=json '{"at":"$msec","method":"$request_method","target":"$request_uri","status":$status,'
    '"bytes":$body_bytes_sent,"agent":"$http_user_agent","took":"$upstream_response_time","cache":"$sent_http_cache_control"}';"""
FORMATS = {"combined": "", "timed": TIMED, "labelled": LABELLED, "json": JSON}
ASKED: Counter[tuple[str, str, str]] = Counter()
"""Method, template by the shop's URLconf, and the one that is learned."""


def banyan(*arguments: str, folder: Path, stdin: bytes | None = None, status: int = 0) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment |= {"PYTHONPATH": str(ROOT), "BANYAN_SHOP_VAR": str(folder / "var")}
    done = subprocess.run(
        python("-m", "gateway.cli", *arguments), cwd=ROOT, env=environment, input=stdin, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stderr.decode()
    return done


def told(*arguments: str, folder: Path, stdin: bytes | None = None) -> dict[str, Any]:
    """What it says as JSON, endpoints by method and template."""
    done = banyan("top", *arguments, "--json", "--limit", "500", "--config", str(folder / "none.toml"), folder=folder, stdin=stdin)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"by_key": {(one["method"], one["template"]): one for one in found["endpoints"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("t")
    shop = start_shop(folder / "shop", 2)
    try:
        with nginx(folder / "n", shop.url, FORMATS) as running:
            ASKED.clear()
            for number in range(1, 41):
                _ask(running, "GET", f"/api/v1/reviews/?item={number % 5 + 1}", 200, "/api/v1/reviews/", "/api/v1/reviews/")
                _ask(running, "GET", f"/items/{number}/", 200, "/items/{item_id}/", "/items/{id}/")
            for number in range(1, 11):
                _ask(running, "GET", f"/api/v1/items/{number}", 200, "/api/v1/items/{item_id}", "/api/v1/items/{id}")
                _ask(running, "GET", "/api/v1/users/me", 401, "/api/v1/users/me", "/api/v1/users/me")
                _ask(running, "POST", "/api/v1/orders/", 403, "/api/v1/orders/", "/api/v1/orders/")
                _ask(running, "GET", "/exports/reviews.csv", 302, "/exports/reviews.csv", "/exports/reviews.csv")
            assert b"400 Bad Request" in running.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n")
            running.ask("GET", '/items/1/?q="quoted"%20\\', {"User-Agent": 'odd "agent" \\ caf\u00e9'.encode().decode("latin-1")})
            ASKED["GET", "/items/{item_id}/", "/items/{id}/"] += 1
            yield running
    finally:
        shop.stop()


def _ask(running: Nginx, method: str, target: str, status: int, declared: str, learned: str) -> None:
    assert running.ask(method, target, body="{}" if method == "POST" else None) == status, target
    ASKED[method, declared, learned] += 1


@pytest.mark.parametrize("name", ["combined", "timed", "labelled"])
def test_a_log_of_nginx_is_read_as_it_is(server: Nginx, name: str, tmp_path: Path) -> None:
    found = told(str(server.log(name)), folder=tmp_path)
    counted = {key: one["requests"] for key, one in found["by_key"].items()}
    assert counted == {(method, learned): count for (method, _, learned), count in ASKED.items()}
    assert found["lines"] == sum(ASKED.values()) + 1
    (trouble,) = found["troubles"]["kinds"]
    assert (trouble["lines"], trouble["why"]) == (1, "what was sent is no HTTP request (status 400)")
    assert trouble["first"] == [f"{server.log(name)}:{sum(ASKED.values())}"]
    assert found["timed"] == (0.0 if name == "combined" else 1.0)
    one = found["by_key"]["GET", "/api/v1/reviews/"]
    if name == "combined":
        assert (one["p95"], one["legacy_seconds"]) == (None, 0.0)
        assert found["order"] == "requests"
    else:
        assert 0 < one["p50"] <= one["p95"] <= one["p99"] < 30
        assert sum(each["legacy_share"] for each in found["endpoints"]) == pytest.approx(1.0, abs=0.01)
        assert list(found["durations"]) == ["upstream"]
    assert one["repeats"] == pytest.approx(35 / 40)
    assert found["by_key"]["GET", "/api/v1/users/me"]["login"] == "some"
    assert found["by_key"]["POST", "/api/v1/orders/"]["safe"] is False


def test_a_format_of_ones_own_is_named_by_its_text(server: Nginx, tmp_path: Path) -> None:
    found = told(str(server.log("json")), "--log-format", JSON, folder=tmp_path)
    assert found["timed"] == 1.0
    assert {key: one["requests"] for key, one in found["by_key"].items()} == {
        (method, learned): count for (method, _, learned), count in ASKED.items()
    }
    assert found["by_key"]["GET", "/items/{id}/"]["cacheable"] == 1.0, "Cache-Control is in this format"
    assert found["by_key"]["GET", "/api/v1/reviews/"]["cacheable"] is None
    done = banyan("top", str(server.log("json")), folder=tmp_path, status=2)
    assert b"lines can be read; of most, it is in none of the formats that are known (--log-format names another)" in done.stderr


def test_what_nginx_escapes_is_what_was_sent(server: Nginx) -> None:
    for name, form in (("combined", None), ("timed", None), ("json", Format.parse(JSON))):
        with server.log(name).open("rb") as file:
            entries = list(read(Lines(file), form))
        assert sum(isinstance(entry, Trouble) for entry in entries) == 1
        odd = next(entry for entry in entries if isinstance(entry, Entry) and "quoted" in entry.target)
        assert odd.target == '/items/1/?q="quoted"%20\\'
        assert (b"user-agent", 'odd "agent" \\ caf\u00e9'.encode()) in odd.fields
        assert odd.status == 200
        assert abs((odd.at or 0) - time.time()) < 3600


def test_several_logs_packed_or_on_standard_input_are_one(server: Nginx, tmp_path: Path) -> None:
    log = server.log("timed").read_bytes()
    (tmp_path / "old.gz").write_bytes(gzip.compress(log))
    found = told(str(server.log("timed")), str(tmp_path / "old.gz"), "-", folder=tmp_path, stdin=log)
    assert {key: one["requests"] for key, one in found["by_key"].items()} == {
        (method, learned): 3 * count for (method, _, learned), count in ASKED.items()
    }
    assert found["troubles"]["kinds"][0]["first"][1].startswith(f"{tmp_path / 'old.gz'}:")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(log)[:-40])
    cut = told(str(tmp_path / "cut.gz"), folder=tmp_path)
    (tmp_path / "one.gz").write_bytes(gzip.compress(log.partition(b"\n")[0] + b"\n")[:-2])
    assert told(str(tmp_path / "one.gz"), folder=tmp_path)["total"]["requests"] == 1, "as many troubles as lines, and one was read"
    assert cut["total"]["requests"] > 0
    assert any("cut off" in kind["why"] for kind in cut["troubles"]["kinds"])


def test_the_shops_urlconf_names_its_endpoints(server: Nginx, tmp_path: Path) -> None:
    found = told(str(server.log("timed")), "--urlconf", "legacy_django.urls", folder=tmp_path)
    assert {key: one["requests"] for key, one in found["by_key"].items()} == {
        (method, declared): count for (method, declared, _), count in ASKED.items()
    }
    export = found["by_key"]["GET", "/exports/reviews.csv"]
    assert (export["login"], export["login_why"]) == (
        "yes",
        "its view is decorated with login_required, permission_required or user_passes_test",
    )
    assert "/api/v1/recommendations/{user_id}" in found["unasked"]
    assert "/api/v1/reviews/" not in found["unasked"]


def test_what_is_suggested_passes_check(server: Nginx, tmp_path: Path) -> None:
    config = tmp_path / "banyan.toml"
    arguments = ["top", str(server.log("timed")), "--suggest", "--limit", "4", "--config", str(config)]
    whole = banyan(*arguments, folder=tmp_path).stdout.decode()
    config.write_text(whole)
    banyan("flags", "sync", "--config", str(config), folder=tmp_path)
    assert "fine. Routes: " in banyan("check", "--config", str(config), folder=tmp_path).stdout.decode()
    routes = re.findall(r'(?m)^match = "(.*)"$', whole)
    assert len(routes) >= 2
    assert "/api/v1/reviews/" in routes
    # What is there already is not suggested again, and what is new goes at its end.
    found = told(str(server.log("timed")), folder=tmp_path)
    more = banyan(*arguments[:-2], "--config", str(config), folder=tmp_path, status=1 if len(routes) >= len(found["migrate_next"]) else 0)
    added = more.stdout.decode()
    assert not set(re.findall(r'(?m)^match = "(.*)"$', added)) & set(routes)
    config.write_text(whole + added)
    banyan("flags", "sync", "--config", str(config), folder=tmp_path)
    banyan("check", "--config", str(config), folder=tmp_path)


def test_a_file_that_the_shell_has_just_made_is_none_yet(server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").touch()
    done = banyan("top", str(server.log("timed")), "--suggest", "--config", str(tmp_path / "banyan.toml"), folder=tmp_path)
    assert b'legacy = "http://' in done.stdout


def test_a_person_reads_it(server: Nginx, tmp_path: Path) -> None:
    done = banyan("top", str(server.log("combined")), "--config", str(tmp_path / "none.toml"), folder=tmp_path)
    text = done.stdout.decode()
    assert "There are no durations in it" in text
    assert "what was sent is no HTTP request (status 400)" in text
    assert re.search(r"(?m)^GET    /items/\{id\}/ .* 0\.0%", text)
    assert "migrate next:\n1. GET " in text
    assert "of all requests (what they cost is not known" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.log"], "nothing.log can't be read: No such file or directory"),
        (["."], "can't be read: Is a directory"),
        (["x.log", "--once"], "--once is about a running gateway"),
        (["x.log", "--log-format", "$nothing"], "it does not say what was asked for"),
        (["--log-format", "combined"], "--log-format is about access logs"),
        (["--every", "1ms"], "--every is from 200ms"),
        (["--limit", "-3"], "--limit is from 1"),
        (["--frobnicate"], "there is no option --frobnicate"),
        (["--once", "--admin", "127.0.0.1:1"], "no gateway answers at 127.0.0.1:1"),
        (["--urlconf", "a.urls", "--openapi", "b.json"], "one of them"),
    ],
)
def test_wrong_use_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "x.log").write_text("junk\n")
    arguments = [str(tmp_path / name) if name.endswith(".log") else name for name in arguments]
    done = banyan("top", *arguments, folder=tmp_path, status=2)
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_log_without_a_line_is_no_error(tmp_path: Path) -> None:
    found = told("-", folder=tmp_path, stdin=b"")
    assert (found["endpoints"], found["total"]["requests"], found["lines"]) == ([], 0, 0)


def test_what_is_packed_another_way_is_refused(tmp_path: Path) -> None:
    done = banyan("top", "-", folder=tmp_path, stdin=b"\xfd7zXZ" + bytes(100), status=2)
    assert b"it is packed with xz: unpack it first" in done.stderr


def test_junk_is_named_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(os.urandom(300_000))
    done = banyan("top", str(tmp_path / "x.log"), folder=tmp_path, status=2)
    assert b"lines can be read" in done.stderr
    assert b"Traceback" not in done.stderr


# Of a running gateway

TOML = '[upstreams]\nlegacy = "http://127.0.0.1:{port}"\n'


async def _answer(exchange: Any) -> None:
    await exchange.answer(status="401 Unauthorized" if b"/me" in exchange.line else "200 OK")


async def _asked(running: Gateway, upstream: Upstream) -> None:
    for number in range(30):
        for path in (f"/api/v1/items/{number}", "/api/v1/users/me"):
            await running.request(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n".encode())
    deadline = time.monotonic() + 20
    while (await asyncio.to_thread(running.get, "/top"))["total"]["requests"] < 60:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_gateway_is_asked_once(tmp_path: Path) -> None:
    upstream = Upstream(_answer)
    await upstream.start()
    try:
        async with gateway(tmp_path, TOML.format(port=upstream.port)) as running:
            await _asked(running, upstream)
            admin, config = f"127.0.0.1:{running.admin}", str(running.folder / "banyan.toml")
            arguments = ["top", "--once", "--admin", admin, "--config", config]
            done = await asyncio.to_thread(banyan, *arguments, "--json", folder=tmp_path)
            found = json.loads(done.stdout)
            by_key = {(one["method"], one["template"]): one for one in found["endpoints"]}
            assert by_key["GET", "/api/v1/items/{id}"]["requests"] >= 28
            assert by_key["GET", "/api/v1/items/{id}"]["p99"] > 0
            assert by_key["GET", "/api/v1/users/me"]["login"] == "some"
            assert "/api/v1/items/{id}" in {one["template"] for one in found["migrate_next"]}
            (tmp_path / "api.json").write_text('{"paths": {"/api/v1/users/me": {"get": {"security": [{"bearer": []}]}}}}')
            done = await asyncio.to_thread(banyan, *arguments, "--json", "--openapi", str(tmp_path / "api.json"), folder=tmp_path)
            logins = {one["template"]: (one["login"], one["declared"]) for one in json.loads(done.stdout)["endpoints"]}
            assert (logins["/api/v1/users/me"], logins["/api/v1/items/{id}"]) == (("yes", True), ("unknown", False))
            text = (await asyncio.to_thread(banyan, *arguments, folder=tmp_path)).stdout.decode()
            assert text.startswith(f"{admin}: 60 requests of the last ")
            assert "/api/v1/items/{id}" in text
            suggested = (await asyncio.to_thread(banyan, *arguments, "--suggest", folder=tmp_path)).stdout.decode()
            assert 'match = "/api/v1/items/{id}"' in suggested
            with (running.folder / "banyan.toml").open("a") as file:
                file.write("\n" + suggested)
            checked = await asyncio.to_thread(banyan, "check", "--config", config, folder=tmp_path)
            assert re.search(r"fine\. Routes: .*\bitems-detail\b", checked.stdout.decode())
    finally:
        await upstream.stop()


class Screen:
    """`banyan top` on a terminal of its own."""

    def __init__(self, admin: str, folder: Path) -> None:
        self.controller, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
        self.before = termios.tcgetattr(self.terminal)
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        environment.pop("NO_COLOR", None)
        command = python("-m", "gateway.cli", "top", "--admin", admin, "--every", "200ms", "--config", str(folder / "banyan.toml"))
        self.process = subprocess.Popen(
            command, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, env=environment, start_new_session=True
        )
        self.seen = b""

    def until(self, wanted: bytes) -> None:
        """Reads until it is shown."""
        deadline = time.monotonic() + 30
        while wanted not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.controller], [], [], 0.2)[0]:
                self.seen += os.read(self.controller, 65536)

    def end(self, number: signal.Signals) -> int:
        """Its exit status once it got that signal; all that it wrote meanwhile is read."""
        self.process.send_signal(number)
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.controller], [], [], 0.1)[0]:
                self.seen += os.read(self.controller, 65536)
        while select.select([self.controller], [], [], 0)[0]:
            self.seen += os.read(self.controller, 65536)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.controller)
        os.close(self.terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_watched_on_a_terminal_that_is_sane_afterwards(tmp_path: Path, number: signal.Signals) -> None:
    upstream = Upstream(_answer)
    await upstream.start()
    try:
        async with gateway(tmp_path, TOML.format(port=upstream.port)) as running:
            await _asked(running, upstream)
            screen = Screen(f"127.0.0.1:{running.admin}", running.folder)
            try:
                await asyncio.to_thread(screen.until, b"/api/v1/items/{id}")
                for _ in range(10):
                    await running.request(b"GET /api/v1/items/1 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
                await asyncio.to_thread(screen.until, b": 70 requests of the last ")
                assert await asyncio.to_thread(screen.end, number) == 0
                assert b"\x1b[?1049h" in screen.seen
                assert screen.seen.rindex(b"\x1b[?1049l") > screen.seen.rindex(b"\x1b[?1049h"), "the screen of before is back"
                assert screen.seen.rindex(b"\x1b[?25h") > screen.seen.rindex(b"\x1b[?25l"), "so is the cursor"
                assert termios.tcgetattr(screen.terminal) == screen.before
                assert b"Traceback" not in screen.seen
            finally:
                screen.close()
    finally:
        await upstream.stop()


async def test_a_gateway_that_goes_away_is_said_and_asked_again(tmp_path: Path) -> None:
    upstream = Upstream(_answer)
    await upstream.start()
    try:
        async with gateway(tmp_path, TOML.format(port=upstream.port)) as running:
            await _asked(running, upstream)
            screen = Screen(f"127.0.0.1:{running.admin}", running.folder)
            await asyncio.to_thread(screen.until, b"/api/v1/items/{id}")
        try:
            await asyncio.to_thread(screen.until, b"no gateway answers at")
            assert await asyncio.to_thread(screen.end, signal.SIGINT) == 0
        finally:
            screen.close()
    finally:
        await upstream.stop()
