"""A console's database with something of everything in it that a page can show."""

from __future__ import annotations

import time
from typing import Any

from console import glossary
from console.models import Audit, Comment
from gateway.endpoints.figures import Figures
from gateway.endpoints.live import MinuteFigures
from shadow import counters, endpoint_store, sums
from shadow.models import Event, FlagChange, GateStart, GuardTrip, Rule, Signature, StateChange
from tests.support.admin_port import feature
from tests.support.reviewing import found, pair, see

TEXT = b"Content-Type: text/plain\r\n"
IMAGE = b"Content-Type: image/png\r\n"
TRIPPED = "errors: candidate 50.00% (100 of 200), legacy 0.00% (0 of 200), 1.00% more are allowed within 60 s; legacy as asked beside"
EVENTS: list[tuple[str, dict[str, Any], str]] = [
    ("deployment", {}, ""),
    ("in-doubt", {}, ""),
    ("shed", {"count": 3}, ""),
    ("reload", {"ok": True, "number": 2, "asked_by": "SIGHUP"}, ""),
    ("reload", {"ok": False, "number": 2, "asked_by": "SIGHUP"}, ""),
    ("reload", {"ok": True}, "g start"),
    ("gate", {"begun": 1}, ""),
    ("gate", {"taken_back": 1}, ""),
    ("gate", {"passed": True, "matched": 1, "compared": 2}, ""),
    ("gate", {"passed": False}, ""),
]


def everything() -> Signature:
    """Stores it, with reasons and texts of people in Korean. The signature is open, and has rules, a history and comments beside it; an
    operation has its number and 1,000 more, and the beginning of a gate its number."""
    now = time.time()
    _exchanges()
    _counts(int(now) // 60 * 60)
    signature = found("$.t", "value")
    _decided(signature, now)
    _happened(now)
    GateStart.objects.create(pk=signature.pk, route="reviews", at=now - 60, by="kim", why="새 버전")
    _audited(signature.pk + 1000, now)
    some, broken = Figures(), Figures()
    some.observe(("GET", b"/", "", "legacy", 200, 0.1, 1), 600)
    broken.observe(("POST", b"/", "", "legacy", 500, 0.5, 0), 60)
    endpoints = [("GET", "/api/v1/items/{id}", some), ("POST", "/orders/", broken), ("GET", "/static/{hash}.js", some)]
    endpoint_store.record("g", [MinuteFigures(int(now) // 60 * 60, True, endpoints, some)], now=now)
    return signature


def _exchanges() -> None:
    legacy = {"t": 1, "list": [1, 2], "gone": 1, "name": "a", "deep": {"x": 1}}
    candidate = {"t": 2, "list": [2, 1], "more": 1, "name": 5, "deep": {"x": 2}}
    see(
        pair(legacy, candidate),
        pair({"t": 1}, {"t": 3}, statuses=(200, 500)),
        pair({"t": 1}, {"t": 1}, statuses=(200, 403)),
        pair(b"a\nb", b"a\nc", heads=(TEXT + b"Location: /a\r\n", TEXT + b"Location: /b\r\n")),
        pair(b"\x00\x01", b"\x00\x02", heads=(IMAGE, IMAGE)),
        *(pair({"t": number}, {"t": -number}, kind="noise") for number in range(1, 41)),
    )


def _counts(minute: int) -> None:
    names = [name for key in glossary.REASONS for name in (counters.SKIPPED + key, counters.DROPPED + key)]
    names += [counters.ELIGIBLE, counters.FALLBACK, counters.SERVED_GATEWAY, counters.UNFINISHED]
    sums.add({("reviews", minute, name): 3 for name in names})
    sums.add({("payments", minute, counters.SERVED_CANDIDATE): 5, ("search", minute, counters.SERVED_LEGACY): 7})


def _decided(signature: Signature, now: float) -> None:
    rule = {"route": "reviews", "kind": "ignore", "author": "kim", "reason": "잡음", "created": now - 99}
    Rule.objects.create(**rule, path="$.x", expires=now + 3 * 86400)
    for number, state in enumerate(("bug", "fixed", "new")):
        why = "undone: new to bug, by kim"
        StateChange.objects.create(signature=signature, at=now - 50 + number, by="kim", old="new", new=state, why=why)
    Comment.objects.create(signature=signature, at=now, by="kim", text="확인함")


def _happened(now: float) -> None:
    on, off = feature("x", True), feature("x", False)
    changes = [("flag", None, on), ("flag", on, off), ("override", None, {"enabled": False, "until": now}), ("missed", None, None)]
    for number, (kind, old, new) in enumerate(changes):
        flag = "" if kind == "missed" else "reviews.serve"
        about = {"gateway": "g", "number": number, "at": now - number, "source": "file", "by": "", "why": "", "missed": 4}
        FlagChange.objects.create(**about, kind=kind, flag=flag, old=old, new=new)
    for number, outcome in enumerate(glossary.OUTCOMES):
        about = {"gateway": "g", "number": number, "at": now - 9 - number, "overridden": True, "error": "", "figures": {}}
        GuardTrip.objects.create(**about, route="search", flag="search", reason="errors", why=TRIPPED, outcome=outcome)
    for number, (event, detail, key) in enumerate(EVENTS):
        Event.objects.create(at=now - number, kind=event, route="reviews", text="새것", detail=detail, key=key)


def _audited(operation: int, now: float) -> None:
    for action in glossary.ACTIONS:
        said = {"subject": "reviews off for 30 min", "why": "this is for a operator"}
        Audit.objects.create(at=now, by="kim", role="operator", action=action, route="reviews", **said)
    detail = {"outcome": "unknown", "error": "nothing was heard", "flag": "x"}
    Audit.objects.create(pk=operation, at=now, by="kim", role="operator", action="override-set", subject="gate of reviews", detail=detail)
