"""A request can be asked again from a shell: real bash and real curl send to a real server what the sample holds, and nothing of it is the
shell's, curl's or a file's."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.secret_patterns import KINDS
from shadow.compare import Rules
from shadow.curl import GATEWAY, line, notes, quote
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
from tests.support.required import missing

JUDGE = Judge(Redactor(["authorization", "cookie", "$..password"], b"k" * 32, KINDS), {"r": Rules()})


@dataclass
class Arrived:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Echo:
    """Keeps what arrives."""

    url: str
    arrived: list[Arrived] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            missing(f"{program} is not there", module=True)

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            method, target, _ = self.requestline.split(" ")
            echo.arrived.append(Arrived(method, target, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = do_DELETE = handle_one  # noqa: N815 - what http.server calls

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    echo = Echo(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, name="echo")
    thread.start()
    yield echo
    httpd.shutdown()
    thread.join(10)
    httpd.server_close()


def request_of(method: str, target: str, head: bytes, body: bytes) -> tuple[str, dict[str, Any]]:
    """Target and request of a sample, by way of the judge."""
    one, other = (Answer(side, side, 200, b"", text, 0.0) for side, text in (("legacy", b"a"), ("candidate", b"b")))  # type: ignore[arg-type]
    judgement = JUDGE.judge(Exchange("r", "q", 1.0, method, target, head, body, one, other))
    assert judgement is not None
    assert judgement.sample is not None
    assert judgement.sample.request is not None
    return judgement.sample.target, json.loads(json.dumps(judgement.sample.request))  # as a database gives it back


def run(server: Echo, text: str, folder: Path) -> Arrived:
    """The line in bash, which may not print anything but the answer."""
    assert text.isprintable(), "one line, without anything that does not show"
    before = len(server.arrived)
    (folder / "file").write_text("a file's content")
    # As a script, since a command's argument has its limit too; without a .curlrc, and in a locale that knows nothing but ASCII.
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), "LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "--norc"], input=text.replace(GATEWAY, server.url) + "\n", cwd=folder, env=environment, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not found" not in done.stderr
    assert done.stdout.startswith("HTTP/1.0 200 OK"), done.stdout
    (arrived,) = server.arrived[before:]
    assert sorted(path.name for path in folder.iterdir()) == ["file"], "nothing was written"
    return arrived


HOSTILE = [
    'it\'s "quoted" `id` $(id) ${HOME} $HOME !! \\ \\\\ \\n',
    "two\nlines\r\nand\ttabs\n",
    "ünïcode ☃ \U0001f600 \u202e backwards \u2028 \ufeff",
    "@file",
    "@-",
    "-X DELETE",
    "--data @file",
    "; rm -rf . #",
    "a&b=c&d=%00%41",
    "\x1b[31m red \x07 \x7f",
    "'",
    "\\",
    "{a,b}[1-3]*?~",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_body_arrives_as_it_was(server: Echo, tmp_path: Path, value: str) -> None:
    target, request = request_of("POST", "/a", b"Host: shop.test\r\nContent-Type: text/plain\r\n", value.encode())
    arrived = run(server, line("POST", target, request), tmp_path)
    assert (arrived.method, arrived.target, arrived.body) == ("POST", "/a", value.encode())
    assert arrived.headers == {"host": "shop.test", "content-type": "text/plain", "content-length": str(len(value.encode()))}


@pytest.mark.parametrize("value", [text for text in HOSTILE if "\n" not in text and "\x1b" not in text])
def test_hostile_headers_arrive_as_they_were(server: Echo, tmp_path: Path, value: str) -> None:
    raw = value.strip().encode()
    head = b"Host: shop.test\r\nX-One: " + raw + b"\r\nAccept: a/b\r\nUser-Agent: " + raw + b"\r\nX-Empty:\r\nX-Latin: caf\xe9\r\n"
    target, request = request_of("GET", "/a", head, b"")
    arrived = run(server, line("GET", target, request), tmp_path)
    assert arrived.headers == {
        "host": "shop.test", "x-one": raw.decode("latin-1"), "accept": "a/b", "user-agent": raw.decode("latin-1"), "x-empty": "",
        "x-latin": "caf\xe9",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/../b/./c?d=[1-3]{x,y}&e='$(id)`\"<>|^", None),
        ("//other.test/a?b=c&d", None),
        ("/%2e%2e/%00?q=%27", None),
        ("/caf\xc3\xa9?q=\xff", "/caf%C3%A9?q=%FF"),
        ("/a b#c\n", "/a%20b%23c%0A"),
        ("/-o?--data=@file;x", None),
    ],
)
def test_hostile_targets_arrive_as_they_were(server: Echo, tmp_path: Path, target: str, expected: str | None) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        arrived = run(server, line(method, target, request_of(method, "/", b"", b"")[1]), tmp_path)
        assert (arrived.method, arrived.target) == (method, expected or target)


def test_a_target_that_is_no_path(server: Echo, tmp_path: Path) -> None:
    assert run(server, line("OPTIONS", "*"), tmp_path).target == "*"


def test_curl_adds_nothing_of_its_own(server: Echo, tmp_path: Path) -> None:
    for method, body in (("GET", b""), ("HEAD", b""), ("GET", b"x"), ("PUT", b"x"), ("POST", b"")):
        target, request = request_of(method, "/a", b"Host: h\r\n", body)
        arrived = run(server, line(method, target, request), tmp_path)
        assert (arrived.method, arrived.body) == (method, body)
        assert set(arrived.headers) == ({"host", "content-length"} if body else {"host"})


def test_fields_of_one_hop_and_of_one_caller_are_left_out(server: Echo, tmp_path: Path) -> None:
    head = (
        b"Host: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nUpgrade: x\r\nExpect: 100-continue\r\n"
        b"X-Forwarded-For: 10.1.2.3\r\nX-Real-IP: 10.1.2.3\r\nForwarded: for=10.1.2.3\r\ntraceparent: 00-1-2-01\r\nX-Request-ID: r\r\n"
        b"Content-Length: 1\r\nAccept: */*\r\nUser-Agent: u\r\nX-Kept: yes\r\nContent-Type: text/plain\r\nBanyan-Shadow: 1\r\n"
    )
    target, request = request_of("POST", "/a", head, b"abc")
    assert "10.1.2.3" not in json.dumps(request)
    arrived = run(server, line("POST", target, request), tmp_path)
    expected = {"host": "h", "accept": "*/*", "user-agent": "u", "x-kept": "yes", "content-type": "text/plain", "content-length": "3"}
    assert arrived.headers == expected


def test_a_long_body_goes_by_standard_input(server: Echo, tmp_path: Path) -> None:
    body = "".join(f"--{number} 'é'\n" for number in range(16_000)).encode()
    assert 180_000 < len(body) < 256 * 1024
    target, request = request_of("POST", "/a", b"Host: h\r\nContent-Type: text/plain\r\n", body)
    text = line("POST", target, request)
    assert text.startswith("printf %s ")
    assert run(server, text, tmp_path).body == body


def test_a_compressed_body_is_sent_as_it_was_read(server: Echo, tmp_path: Path) -> None:
    head = b"Host: h\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nAccept-Encoding: gzip, br\r\n"
    target, request = request_of("POST", "/a", head, gzip.compress(b'{"a": "\xc3\xa9"}'))
    arrived = run(server, line("POST", target, request), tmp_path)
    assert arrived.body == b'{"a": "\xc3\xa9"}'
    assert "content-encoding" not in arrived.headers
    assert arrived.headers["accept-encoding"] == "gzip, br"


def test_a_body_in_another_charset_arrives_in_that(server: Echo, tmp_path: Path) -> None:
    target, request = request_of("POST", "/a", b"Host: h\r\nContent-Type: text/plain; charset=latin-1\r\n", b"caf\xe9")
    assert run(server, line("POST", target, request), tmp_path).body == b"caf\xe9"


@pytest.mark.parametrize("charset", ["idna", "zlib", "nothing", "utf-7", "punycode", "ascii"])
def test_a_charset_that_is_none_breaks_nothing(server: Echo, tmp_path: Path, charset: str) -> None:
    body = json.dumps({"a": "é." * 500}, ensure_ascii=False).encode()
    head = b"Host: h\r\nContent-Type: application/json; charset=" + charset.encode() + b"\r\n"
    target, request = request_of("POST", "/a", head, body)
    assert run(server, line("POST", target, request), tmp_path).body == body


def test_a_hash_that_somebody_sends_is_a_value_like_any_other() -> None:
    _, request = request_of("GET", "/a", b"X-Api-Key: redacted:hunter2\r\n", b"")
    assert "hunter2" not in json.dumps(request)


def test_redacted_values_are_shown_as_what_they_are(server: Echo, tmp_path: Path) -> None:
    head = (
        b"Host: h\r\nContent-Type: application/json\r\nX-Api-Key: hunter2\r\nX-CSRFToken: hunter2\r\nAuthorization: Basic hunter2\r\n"
        b"X-User-Password-Hint: hunter2\r\nReferer: http://h/?password=hunter2&a=1\r\nX-Note: card 4111 1111 1111 1111\r\n"
        b"Cookie: a=hunter2\r\n"
    )
    target, request = request_of("POST", "/a?password=hunter2", head, b'{"password": "hunter2", "card": "4111111111111111", "b": "kept"}')
    text = line("POST", target, request)
    assert "hunter2" not in text + json.dumps(request)
    assert "1111" not in text + json.dumps(request)
    assert "Who called is not in it" in notes("POST", request)[0]
    assert "taken out before anything was stored" in notes("POST", request)[1]
    arrived = run(server, text, tmp_path)
    sent = json.loads(arrived.body)
    assert sent["b"] == "kept"
    assert sent["password"].startswith("redacted:")
    assert sent["card"].startswith("redacted:card:")
    for name in ("x-api-key", "x-csrftoken", "authorization", "cookie", "x-user-password-hint"):
        assert arrived.headers[name].startswith("redacted:")
    assert arrived.headers["referer"].startswith("http://h/?password=redacted:")
    assert arrived.headers["referer"].endswith("&a=1")


@pytest.mark.parametrize(
    ("head", "body", "says"),
    [
        (b"Content-Type: application/octet-stream\r\n", b"\0\1\2", "3 bytes, withheld, digest "),
        (b"Content-Type: text/html\r\n", b"<p>password: hunter2</p>", "24 bytes, withheld, digest "),
        (b"Content-Type: text/plain\r\n", b"a\0b", "3 bytes, no text, digest "),
        (b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"no gzip", "7 bytes, bad_encoding, digest "),
        (b"Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", gzip.compress(b"x" * 10_000_000), "bytes, over_limit, digest "),
    ],
)
def test_a_body_that_was_not_kept_is_a_file_to_be_made(head: bytes, body: bytes, says: str) -> None:
    _, request = request_of("POST", "/a", head, body)
    assert request["text"] is None
    assert len(request["digest"]) == 32
    assert line("POST", "/a", request).endswith(f" --data-binary @BODY {GATEWAY}/a")
    assert says in notes("POST", request)[-1]
    assert "hunter2" not in json.dumps(request)


def test_a_sample_of_before_has_method_and_target_alone() -> None:
    assert line("GET", "/a") == "curl --globoff --include http://GATEWAY/a"
    assert shlex.split(line("POST", "/a?b='$(x)`&c=\n"))[1:] == [
        "--globoff",
        "--include",
        "--request",
        "POST",
        "http://GATEWAY/a?b='$(x)`&c=%0A",
    ]
    assert "--head" in line("HEAD", "/a")
    assert notes("GET", None) == ["Headers and body of this request were not kept."]


def test_a_head_has_no_body() -> None:
    _, request = request_of("HEAD", "/a", b"", b"x")
    assert "--data" not in line("HEAD", "/a", request)
    assert "curl sends no body with HEAD: it is left out." in notes("HEAD", request)


def test_bash_gives_back_whatever_it_was_given(server: Echo) -> None:
    del server  # it has looked for bash
    chance = random.Random(11)
    pieces = [*HOSTILE, "\N{ZERO WIDTH JOINER}", "é", "0", "f", "\\x4", "$'", "\udcff", "\x01", "\x85", "\U0010ffff"]
    words = ["".join(chance.choices(pieces, k=chance.randrange(6))).encode("utf-8", "surrogateescape") for _ in range(500)]
    words += [bytes(chance.choices(range(1, 256), k=chance.randrange(1, 9))) for _ in range(500)]
    script = "printf '%s\\0' " + " ".join(map(quote, words))
    assert script.isprintable()
    done = subprocess.run(["bash", "--norc"], input=script.encode(), env={"LC_ALL": "C"}, capture_output=True, timeout=30, check=True)
    assert done.stdout.split(b"\0")[:-1] == words


def test_a_word_is_one_word() -> None:
    assert [quote(word) for word in ("", "a", "a b", b"\xff", "\u202e'")] == ["''", "a", "'a b'", r"$'\xff'", r"$'\xe2\x80\xae\''"]
