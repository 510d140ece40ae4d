"""The console in Korean: of no page is anything left in English, whoever looks and whatever is stored."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from console import operateviews, translations, watch
from console.admin_port import FlagsNow
from console.models import Audit
from console.watch import Look
from shadow.models import Signature
from tests.console.test_viewers import Place, form, places
from tests.support.admin_port import AdminPort, admin_port, feature
from tests.support.everything import everything
from tests.support.reviewing import person

pytestmark = pytest.mark.django_db

TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
psp-a = "http://127.0.0.1:3"
psp-b = "http://127.0.0.1:4"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
flag = "reviews.serve"
[routes.shadow.compare]
ignore = ["$.z"]
[[routes]]
name = "search"
match = "/search"
candidate = "new"
[[routes]]
name = "payments"
match = "/payments"
split = { psp-a = 70, psp-b = 30 }
"""
LONG = 12
"""Letters: shorter words may be somebody's names, or keys."""
ENGLISH = re.compile(r"[A-Za-z][a-z\u2019']*(?: +[a-z\u2019']+){2,}")
"""Three words in a row."""
LEFT = re.compile(r"\bbanyan (?:console|flags|gate|report|rules)\b[ -~]*")
"""Commands: all up to the next Korean."""
UNTRANSLATED = {"code", "pre", "kbd", "script", "style", "textarea"}
"""Commands, keys, paths, values and JSON."""
SHOWN = ("aria-label", "title", "placeholder", "alt", "label")


class Reader(HTMLParser):
    """What people read of a page, and hear: texts but code, and the attributes that are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNTRANSLATED:
            self.within.append(tag)
        self.texts += [value for name, value in attrs if value and (name in SHOWN or (name.startswith("data-") and " " in value))]

    def handle_endtag(self, tag: str) -> None:
        if self.within and self.within[-1] == tag:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if not self.within and data.strip():
            self.texts.append(" ".join(data.split()))


def read(page: str) -> list[str]:
    reader = Reader()
    reader.feed(page)
    return reader.texts


def pieces() -> set[str]:
    """What a page would have of an English message: all between its placeholders that is long enough."""
    found: set[str] = set()
    korean: list[str] = []
    for message in translations.read("ko"):
        if not message.id:
            continue
        for text in [message.id] if isinstance(message.id, str) else message.id:
            found |= {" ".join(piece.split()) for piece in re.split(r"%\(\w+\)[sd]|%%|\{\w+\}|<[^>]*>", text)}
        korean += [message.string] if isinstance(message.string, str) else list(message.string)
    every = "\n".join(korean)
    return {piece for piece in found if len(re.findall("[A-Za-z]", piece)) > LONG and piece not in every}


PIECES = re.compile("|".join(rf"(?<![\w.-]){re.escape(piece)}(?![\w-])" for piece in sorted(pieces(), key=len, reverse=True)))


def english(page: str) -> list[str]:
    """What is left of it on a page."""
    left: list[str] = []
    for text in read(page):
        said = LEFT.sub("", text)
        left += [each[0] for each in (*PIECES.finditer(said), *ENGLISH.finditer(said))]
    return left


@pytest.fixture(autouse=True)
def gateway(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminPort]:
    """With flags in every state, one that is wrong and one that is overridden."""
    with admin_port() as port:
        (tmp_path / "banyan.toml").write_text(TOML.replace("{admin}", port.address))
        settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
        some = {"name": "flexibleRollout", "parameters": {"rollout": "25", "stickiness": "tenant", "groupId": "x"}, "constraints": []}
        port.state |= {
            "flags": {"reviews.serve": True, "reviews.serve.shadow": True, "search": True},
            "definitions": {
                "reviews.serve": {"name": "reviews.serve", "enabled": True, "strategies": [some]},
                "search": feature("search", True),
            },
            "problems": [{"flag": "search.shadow", "problem": "there is no such flag in the flag file: the flag is off for everybody"}],
            "overrides": {"reviews.serve": {"enabled": False, "since": time.time(), "until": time.time() + 1800, "by": "", "why": "느림"}},
        }

        def latest() -> Look:
            state = {name: value for name, value in port.state.items() if name != "fetched_at"}
            return Look(port.address, msgspec.convert(state, FlagsNow), time.time(), port.gateway if port.status != 200 else "")

        monkeypatch.setattr(watch, "latest", latest)
        monkeypatch.setattr(operateviews, "CHANGE_TIMEOUT", 0.5)
        yield port


@pytest.fixture
def row() -> Signature:
    return everything()


def korean(client: Client) -> Client:
    client.cookies["banyan_console_language"] = "ko"
    return client


def every_place(row: Signature) -> list[Place]:
    """All of the walk, and pages that it does not come by."""
    pages = (
        "/?span=all", "/?q=nothing", "/?sort=match", "/flags/?flag=none", "/timeline/?route=reviews", "/timeline/?day=2001-01-01",
        "/audit/?by=nobody", "/routes/search/", "/routes/payments/", "/routes/reviews/?table=1",
        "/routes/reviews/?since=2001-01-01T00:00&until=2001-01-02T00:00", "/endpoints/", "/endpoints/?q=nothing", "/endpoints/burndown/",
        "/endpoints/start/?method=GET&template=/api/v1/items/{id}", "/flags/search/override/", "/flags/search/override/end/",
        "/flags/payments.split/override/", f"/operations/{row.pk + 1000}/",
    )  # fmt: skip
    first = [Place(path, path, None) for path in pages]
    others = [Place("signature", f"/signatures/{each.pk}/", None) for each in Signature.objects.all()]
    forms = [Place("expect", f"/signatures/{each.pk}/expect/", None) for each in Signature.objects.all()]
    return [*places(row), *first, *others, *forms]


@pytest.mark.parametrize("role", ["", "reviewer", "operator"])
def test_no_page_has_english_left(row: Signature, role: str) -> None:
    client = korean(person("kim", role))
    left: dict[str, list[str]] = {}
    read_ = 0
    for place in every_place(row):
        if place.name in ("language", "logout", "route-series", "audit-export", "sample-raw"):
            continue
        answer = client.get(place.path)
        if answer.status_code in (302, 404, 405):
            continue
        page = answer.content.decode()
        assert '<html lang="ko">' in page or "HX-Request" in answer.headers.get("Vary", ""), place
        read_ += 1
        if rest := english(page):
            left[place.path] = rest
    assert left == {}
    assert read_ > 30


def test_what_charts_mark_is_in_korean(row: Signature) -> None:
    told = korean(person("kim")).get("/routes/reviews/series.json").json()
    assert len(told["marks"]) > 5
    assert [mark["text"] for mark in told["marks"] if ENGLISH.search(mark["text"]) or PIECES.search(mark["text"])] == []


def test_no_refusal_has_english_left(row: Signature) -> None:
    """Each form with nothing in it, with nonsense, and as it is meant: by who may, and by who may not."""
    clients = {role: korean(person(f"kim{role}", role)) for role in ("", "operator")}
    nonsense = {
        "to": "odd",
        "why": "x" * 9000,
        "kind": "odd",
        "path": "odd",
        "choice": "other",
        "do": "make",
        "state": "odd",
        "minutes": "x",
    }
    left: dict[str, list[str]] = {}
    statuses: set[int] = set()
    for role, client in clients.items():
        for place in list(places(row)):
            if place.name in ("language", "logout"):
                continue
            for sent in (
                {},
                nonsense,
                form(row) | {"why": "이유", "reason": "이유", "text": "말", "minutes": "5"},
                form(row) | {"seen": "new@1.0", "why": "이유"},
            ):
                with transaction.atomic():
                    answer = client.post(place.path, sent)
                    transaction.set_rollback(True)
                statuses.add(answer.status_code)
                if answer.status_code not in (302, 404, 405) and (rest := english(answer.content.decode())):
                    left[f"{role} {place.path} {sorted(sent)[:3]} {answer.status_code}"] = rest
    assert left == {}
    assert statuses >= {200, 302, 403, 409, 422}


def test_nothing_stored_and_no_gateway_is_said_in_korean(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    client = korean(person("kim", "operator"))
    paths = (
        "/",
        "/flags/",
        "/timeline/",
        "/audit/",
        "/endpoints/",
        "/account/",
        "/account/password/",
        "/routes/reviews/",
        "/routes/reviews/rules/",
    )

    def look(what: str) -> None:
        left = {path: rest for path in paths if (rest := english(client.get(path).content.decode()))}
        assert left == {}, what

    look("nothing is stored")
    last = watch.latest()
    assert last is not None
    monkeypatch.setattr(watch, "latest", lambda: Look(last.address, last.now, time.time() - 100, "it did not answer within 2 s"))
    look("the gateway is away")
    monkeypatch.setattr(watch, "latest", lambda: Look("127.0.0.1:1", error="it has not been asked yet"))
    look("it was never asked")
    monkeypatch.setattr(watch, "latest", lambda: None)
    look("nobody looks at it")
    settings.BANYAN_CONFIG = ""
    left = {path: rest for path in paths[:7] if (rest := english(client.get(path).content.decode()))}
    assert left == {}


def test_what_was_done_is_said_in_korean(row: Signature) -> None:
    client = korean(person("kim", "operator"))
    sent = {"seen": f"{row.state}@{row.state_since:.6f}", "to": "bug", "why": "이유"}
    page = client.post(f"/signatures/{row.pk}/mark/", sent, follow=True).content.decode()
    assert "이제 상태가" in page
    assert english(page) == []
    page = client.post(
        "/flags/search/override/", {"state": "off", "minutes": "5", "why": "느림", "confirmed": "yes"}, follow=True
    ).content.decode()
    assert "완료되었습니다." in page
    assert english(page) == []
    assert Audit.objects.get(action="override-set", subject="search off for 5 min").why == "느림", "what is kept is in one language"


def test_logging_in_is_in_korean() -> None:
    User.objects.create_user("kim", password="correct horse battery")
    client = korean(Client())
    pages = [client.get("/login/"), *(client.post("/login/", {"username": "kim", "password": tried}) for tried in ("", *["wrong"] * 7))]
    assert {page.status_code for page in pages} == {200, 429}
    for page in pages:
        assert "로그인" in page.content.decode()
        assert english(page.content.decode()) == []


@pytest.mark.parametrize("path", ["/routes/nobody/", "/signatures/999999/", "/nowhere/"])
def test_what_is_not_there_is_said_in_korean(path: str) -> None:
    for client in (korean(person("kim")), korean(Client())):
        answer = client.get(path, follow=True)
        assert answer.status_code in (200, 404)
        assert english(answer.content.decode()) == []
    assert "찾을 수 없습니다" in korean(person("lee")).get(path).content.decode()


@pytest.mark.parametrize(("asked", "lang"), [("ko-KR,ko;q=0.9,en;q=0.5", "ko"), ("fr,en;q=0.5", "en"), ("en-US", "en"), ("", "en")])
def test_the_browser_says_the_language_until_somebody_chooses(client: Client, asked: str, lang: str) -> None:
    assert f'<html lang="{lang}">' in client.get("/login/", headers={"accept-language": asked}).content.decode()
    client.post("/language/", {"language": "en", "next": "/login/"})
    assert '<html lang="en">' in client.get("/login/", headers={"accept-language": asked}).content.decode()


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lambda page: page.replace("감사 로그", "What people did"), "What people did"),
        (lambda page: page + "<p>nobody wrapped this one</p>", "nobody wrapped this one"),
    ],
)
def test_english_on_a_page_is_seen(spoil: Callable[[str], str], seen: str) -> None:
    """Else the tests above would hold nothing."""
    page = korean(person("kim", "operator")).get("/audit/").content.decode()
    assert english(page) == []
    assert seen in english(spoil(page))
