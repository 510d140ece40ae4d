"""What answers at flags.url may be anything: every wait ends, no answer is taken for what it is not, and what is said of it helps."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags.admin import AdminError, FlagState, UnleashAdmin, bounded
from flags.admin.states import Wanted
from flags.events import EventLog, EventsError
from tests.support.certificates import Authority
from tests.support.serving import DRIPPING, FLOOD, answering, unending

TOKEN = "*:*.secret"
ON = json.dumps({"name": "development", "enabled": True, "strategies": []})


@pytest.mark.parametrize("way", DRIPPING)
def test_a_dripping_answer_is_not_waited_for_longer_than_a_whole_one_may_take(way: str) -> None:
    with unending(*DRIPPING[way], pause=0.1) as place, UnleashAdmin(f"{place.url}/api", TOKEN, timeout=0.5) as admin:
        began = time.monotonic()
        with pytest.raises(AdminError, match=r"did not give a whole answer within 1 s") as caught:
            admin.list()
        assert 0.9 < time.monotonic() - began < 4.0
        assert "secret" not in str(caught.value)
        log = EventLog(f"{place.url}/api", TOKEN, timeout=0.5)
        with pytest.raises(EventsError, match="did not give a whole answer within 1 s"):
            log.of(["reviews"], 0.0)
        log.close()


def test_a_deadline_holds_over_tls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setattr(httpx, "create_ssl_context", authority.client)
    with unending(*DRIPPING["body"], pause=0.1, tls=authority.server("unleash", "127.0.0.1")) as place:
        with UnleashAdmin(f"https://127.0.0.1:{place.port}/api", TOKEN, timeout=0.5) as admin:
            began = time.monotonic()
            with pytest.raises(AdminError, match=r"did not give a whole answer within 1 s"):
                admin.list()
        assert 0.9 < time.monotonic() - began < 4.0
        assert place.requests


def test_an_endless_answer_costs_no_more_than_its_bound() -> None:
    largest = 4 * 1024**2
    with (
        unending(*FLOOD, pause=0.0) as place,
        bounded.client(place.url, TOKEN, timeout=5.0, whole=30.0, largest=largest) as client,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(bounded.LargeError, match="more than 4 MiB"):
                client.get("/")
            assert tracemalloc.get_traced_memory()[1] < 4 * largest
        finally:
            tracemalloc.stop()
        log = EventLog(f"{place.url}/api", TOKEN, timeout=10.0)
        with pytest.raises(EventsError, match="more than 16 MiB") as caught:
            log.of(["reviews"], 0.0)
        log.close()
        assert caught.value.kind == "large"


def test_what_would_unfold_is_not_taken() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    with (
        unending(head, b"", pause=0.1) as place,
        UnleashAdmin(f"{place.url}/api", TOKEN) as admin,
        pytest.raises(AdminError, match="something compressed"),
    ):
        admin.list()


def test_connections_are_kept_and_the_deadline_is_each_answers_own() -> None:
    with answering(200, "{}", after=0.3) as place, bounded.client(place.url, TOKEN, timeout=1.0, whole=0.8, largest=100) as client:
        for _ in range(4):
            assert client.get("/").json() == {}


WRONG = [
    "",
    "{}",
    "[]",
    "7",
    "null",
    '{"features": 7}',
    '{"features": [{}]}',
    '[{"id": 1}]',
    "[" * 100_000,
    '{"name": "other", "enabled": 1}',
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:20] or "nothing")
@pytest.mark.parametrize("verb", ["list", "exists", "on", "off", "share", "sync", "dry-sync"])
def test_200_with_something_else_is_no_success(body: str, verb: str) -> None:
    with answering(200, body) as place, UnleashAdmin(f"{place.url}/api", TOKEN) as admin:
        verbs: dict[str, Any] = {
            "list": admin.list,
            "exists": lambda: admin.exists("reviews"),
            "on": lambda: admin.set("reviews", True),
            "off": lambda: admin.off("reviews"),
            "share": lambda: admin.set("reviews", True, 50),
            "sync": lambda: list(admin.sync([Wanted("reviews", "", "release")])),
            "dry-sync": lambda: list(admin.sync([Wanted("reviews", "", "release")], dry_run=True)),
        }
        if (verb, body) == ("exists", WRONG[-1]):
            return  # which is a flag, as far as that goes
        with pytest.raises(AdminError, match=r"with something else than its API does \(.*Is flags.url Unleash's API"):
            verbs[verb]()


def test_a_flag_that_is_not_as_it_was_asked_for_is_no_success() -> None:
    with answering(200, ON) as place, UnleashAdmin(f"{place.url}/api", TOKEN) as admin:
        with pytest.raises(AdminError, match="took the change, and says now that flag 'reviews' is on in environment 'development'"):
            admin.off("reviews")
        assert [request.partition(" ")[0] for request in place.requests] == ["POST", "GET"], "one question more"


def test_a_name_that_was_not_made_is_no_success() -> None:
    with (
        answering(201, '{"name": "other"}') as place,
        UnleashAdmin(f"{place.url}/api", TOKEN) as admin,
        pytest.raises(AdminError, match="was asked for a flag 'reviews' and made another"),
    ):
        admin.ensure_flag("reviews")


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (302, "flags.url must be the address itself, since redirects are not followed"),
        (429, "it is asked too often. Wait a minute"),
        (502, "what stands before it does not reach it"),
        (503, "Is Unleash up"),
        (504, "does not reach it in time"),
    ],
)
def test_what_a_status_asks_for_is_said(status: int, hint: str) -> None:
    with answering(status, "<html>") as place, UnleashAdmin(f"{place.url}/api", TOKEN) as admin, pytest.raises(AdminError) as caught:
        admin.list()
    assert hint in str(caught.value)


def test_unleashs_words_do_nothing_to_a_terminal() -> None:
    body = json.dumps({"message": "no\x1b[2J\x1b]0;mine\x07 such \u202ething"})
    with answering(400, body) as place, UnleashAdmin(f"{place.url}/api", TOKEN) as admin, pytest.raises(AdminError) as caught:
        admin.list()
    assert str(caught.value).isprintable()
    assert "such" in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://u:pw@127.0.0.1:1/api", "http://127.0.0.1:1/api?token=pw", "127.0.0.1"])
def test_an_address_that_cannot_be_one_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(AdminError, match=r"flags\.url") as caught:
        UnleashAdmin(url, TOKEN)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("host", ["xn--a", "x" * 80 + ".example", "a..b"])
def test_a_host_of_no_name_is_no_traceback(host: str) -> None:
    with pytest.raises(AdminError, match=r"flags\.url"), UnleashAdmin(f"http://{host}/api", TOKEN, timeout=1.0) as admin:
        admin.list()


@pytest.mark.parametrize(
    "body", ['{"features": []}', '{"features": [{"name": "x", "environments": [{"name": "\\u001b[2J", "enabled": true}]}]}']
)
def test_names_of_others_do_nothing_to_a_terminal(body: str) -> None:
    projects = json.dumps({"projects": [{"id": "a\x1b[2J"}]})
    with (
        answering(200, body, until=1, then=(200, projects)) as place,
        UnleashAdmin(f"{place.url}/api", TOKEN) as admin,
        pytest.raises(AdminError, match="set flags") as caught,
    ):
        admin.list()
    assert str(caught.value).isprintable()


@pytest.fixture
def constrained() -> Iterator[str]:
    """A flag with one strategy that has a constraint, in Unleash's shapes. The API's address."""
    strategy: dict[str, Any] = {
        "id": "1",
        "name": "flexibleRollout",
        "parameters": {"rollout": "10", "stickiness": "userId", "groupId": "reviews"},
        "constraints": [{"contextName": "country", "operator": "IN", "values": ["kr"]}],
    }
    flag = {"name": "development", "enabled": False, "strategies": [strategy]}

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            if self.command == "PATCH":
                strategy["parameters"] = next(each["value"] for each in sent if each["path"] == "/parameters")
            if self.path.endswith("/on"):
                flag["enabled"] = True
            data = json.dumps([strategy] if self.path.endswith("/strategies") else flag).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - its parent's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="constrained")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_share_among_some_is_confirmed(constrained: str) -> None:
    with UnleashAdmin(constrained, TOKEN) as admin:
        assert admin.set("reviews", True, 50) == FlagState("reviews", True, None, stickiness="userId", conditional=50)
