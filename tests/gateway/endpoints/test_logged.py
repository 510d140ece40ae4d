"""Endpoints of access logs: their figures, what a log cannot say, and how little memory a million paths take."""

from __future__ import annotations

import io
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from bench import toplog
from gateway import access
from gateway.endpoints import parts
from gateway.endpoints.declared import from_openapi
from gateway.endpoints.distinct import KEPT, Distinct
from gateway.endpoints.logged import ENTRIES, FIRST, NAMED, Log
from gateway.endpoints.ranking import advise
from gateway.endpoints.traits import caching, login
from recorded.access_log import Reader
from recorded.lines import Lines
from recorded.log_format import Format


def line(target: str, status: int = 200, *, seconds: str = " 0.100", method: str = "GET", user: str = "-", second: int = 0) -> str:
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f'203.0.113.7 - {user} [06/May/2026:{clock} +0000] "{method} {target} HTTP/1.1" {status} 12 "-" "curl/8"{seconds}\n'


def listed(*texts: str, declared: Any = None, form: Format | None = None, workers: int = 1) -> dict[str, Any]:
    log, reader = Log(from_openapi(declared) if declared else None), Reader(form)
    parts.read(log, reader, form, [("log", Lines(io.BytesIO("".join(texts).encode())))], lambda name, done: None, workers)
    found = log.listing(limit=10**6)
    return found | {"by_key": {(one["method"], one["template"]): one for one in found["endpoints"]}, "log": log}


def test_a_logs_endpoints_have_their_figures() -> None:
    found = listed(
        *(line(f"/api/items/{number}", seconds=" 0.100", second=number) for number in range(90)),
        *(line(f"/api/items/{number}", 500, seconds=" 2.000", second=number) for number in range(10)),
        *(line("/api/items/", method="POST", second=99) for _ in range(100)),
    )
    one = found["by_key"]["GET", "/api/items/{id}"]
    assert (one["requests"], one["share"], one["errors_5xx"]) == (100, 0.5, 0.1)
    assert one["legacy_seconds"] == pytest.approx(29.0)
    assert one["legacy_share"] == pytest.approx(29 / 39, abs=1e-3)
    assert (one["p50"], one["p95"]) == (pytest.approx(0.1, rel=0.11), pytest.approx(2.0, rel=0.11))
    assert one["p99"] == pytest.approx(2.0, rel=0.11)
    assert one["rps"] == pytest.approx(100 / 99, abs=1e-3)
    assert one["repeats"] == pytest.approx(0.1)
    assert (found["seconds"], found["timed"], found["total"]["requests"]) == (99.0, 1.0, 200)
    assert found["by_key"]["POST", "/api/items/"]["repeats"] is None, "what writes is no matter for a cache"


def test_an_endpoint_counts_from_its_first_request_on() -> None:
    found = listed(*(line("/shop/cart") for _ in range(2)), line("/shop/cart"))
    assert found["by_key"]["GET", "/shop/cart"]["requests"] == 3


def test_without_durations_nothing_is_said_of_costs() -> None:
    found = listed(*(line("/a/b", seconds="") for _ in range(900)), *(line("/a/c", seconds="") for _ in range(100)))
    one = found["by_key"]["GET", "/a/b"]
    assert (found["timed"], one["timed"], one["p50"], one["p95"], one["legacy_seconds"]) == (0.0, False, None, None, 0.0)
    reasons = [str(reason) for reason in advise(one).reasons]
    assert reasons[0] == "it is 90% of all requests (what they cost is not known: there are no durations)"
    assert not any("legacy's time" in reason for reason in reasons)
    assert advise(one).verdict == "good"
    assert advise(one).score > advise(found["by_key"]["GET", "/a/c"]).score


def test_without_times_nothing_is_said_of_rates() -> None:
    found = listed(*(f"GET /a/b {number} HTTP/1.1\n".replace(f" {number}", "") for number in range(10)), form=Format.parse("$request"))
    one = found["by_key"]["GET", "/a/b"]
    assert (found["seconds"], one["rps"], found["total"]["rps"]) == (None, None, None)
    assert not {"soon", "rare"} & {reason.code for reason in advise(one).reasons}


def test_lines_that_cannot_be_read_are_named() -> None:
    found = listed(line("/a"), "junk\n", "\n", *("\0\n" for _ in range(20)), line("/a"), line("/a"))
    troubles = found["log"].troubles
    assert (troubles.count, found["log"].lines) == (21, 24)
    assert sorted(troubles.kinds.values()) == [1, 20]
    assert troubles.lines[troubles.kinds.most_common()[0][0]] == [f"log:{number}" for number in range(4, 4 + NAMED)]


def test_kinds_of_trouble_are_bounded() -> None:
    log = Log()
    for number in range(1000):
        log.troubles.add(f"log:{number}", f"kind {number}")
    assert log.troubles.count == 1000
    assert len(log.troubles.kinds) < 50
    assert sum(log.troubles.kinds.values()) == 1000


DOCUMENT = {
    "openapi": "3.1.0",
    "servers": [{"url": "https://shop.example/api"}],
    "security": [{"bearer": []}],
    "paths": {
        "/products/{slug}": {"get": {"security": []}, "delete": {}},
        "/products/search": {"get": {"security": [{}, {"bearer": []}]}},
        "/orders/": {"get": {}},
    },
}


def test_what_is_declared_names_endpoints_and_says_who_needs_a_login() -> None:
    found = listed(
        line("/api/products/red-shoes"), line("/api/products/caf%C3%A9"), line("/api/products/search?q=x"), line("/api/orders/"),
        line("/api/orders/", 401), line("/other/x"), line("/other/x"),
        declared=DOCUMENT,
    )  # fmt: skip
    told = {template: (one["requests"], one["login"], one["declared"]) for (_, template), one in found["by_key"].items()}
    assert told == {
        "/api/products/{slug}": (2, "no", True),
        "/api/products/search": (1, "no", True),
        "/api/orders/": (2, "yes", True),
        "/other/x": (2, "unknown", False),
    }
    assert advise(found["by_key"]["GET", "/api/orders/"]).reasons[-1].code == "login"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"statuses": {"200": 90, "401": 10}}, "some"),
        ({"statuses": {"200": 100}}, "unknown"),
        ({"statuses": {"200": 100}, "users": 0.9}, "yes"),
        ({"statuses": {"302": 100}}, "unknown"),
    ],
)
def test_who_needs_a_login_is_known_by_who_is_refused(one: dict[str, Any], expected: str) -> None:
    assert login({"requests": 100, **one})[0] == expected


def test_what_speaks_for_a_cache() -> None:
    form = Format.parse("$request $status $sent_http_cache_control $sent_http_etag")
    found = listed(*("GET /a/b HTTP/1.1 200 public,max-age=60 W/x\n" for _ in range(9)), "GET /a/b HTTP/1.1 304 - -\n", form=form)
    assert caching(found["by_key"]["GET", "/a/b"]) == ["100% cacheable", "90% with ETag", "10% not modified", "90% repeated"]
    assert listed(line("/a/b"), line("/a/b"))["by_key"]["GET", "/a/b"]["etag"] is None, "the plain formats say nothing of that"
    assert caching(found["by_key"]["GET", "/a/b"] | {"safe": False}) == []


def test_a_gateways_own_log_says_who_answered() -> None:
    def own(number: int, seconds: float, side: str) -> str:
        upstream = "" if side == "gateway" else side
        told = access.line(
            number,
            b"1",
            "::1",
            "GET",
            b"/api/v1/reviews/%d" % number,
            200 if upstream else 502,
            1,
            seconds,
            "reviews",
            side,
            upstream,
            "flag",
            False,
        )
        return told.decode()

    found = listed(*(own(n, 0.1, "legacy") for n in range(30)), *(own(n, 0.01, "candidate") for n in range(60)), own(1, 9.0, "gateway"))
    one = found["by_key"]["GET", "/api/v1/reviews/{id}"]
    assert one["served_by"] == {"candidate": 60, "gateway": 1, "legacy": 30}
    assert one["legacy_seconds"] == pytest.approx(3.0)
    assert one["route"] == "reviews"
    assert one["sides"]["candidate"]["p95"] < 0.02 < one["sides"]["legacy"]["p50"]
    assert found["timed"] == 1.0


# Bounds


@pytest.mark.parametrize("count", [0, 1, KEPT, 2 * KEPT - 1])
def test_few_different_ones_are_counted_exactly(count: int) -> None:
    distinct = Distinct()
    for number in range(count):
        distinct.add(b"%d" % number)
        distinct.add(b"%d" % number)
    assert len(distinct) == count


def test_many_different_ones_are_counted_nearly_and_in_two_parts_as_in_one() -> None:
    one, two, whole = Distinct(), Distinct(), Distinct()
    for number in range(100_000):
        for each in (whole, one if number % 3 else two):
            each.add(b"%d" % number)
    two.add(b"1")  # in both
    one.merge(two)
    assert len(one._hashes) < 2 * KEPT
    for each in (one, whole):  # 1/√128 is 9 %: four times as much does not come by chance
        assert len(each) == pytest.approx(100_000, rel=0.36)
    assert len(one) == pytest.approx(len(whole), rel=0.36)


def test_several_processes_count_what_one_would() -> None:
    chance = random.Random(3)
    texts = [
        line(chance.choice(["/api/items/{}", "/pages/{}/edit", "/search?q={}", "/"]).format(chance.randrange(50)), second=number % 86400)
        for number in range(FIRST + 30_000)
    ]
    texts[10] = texts[-10] = "junk\n"
    alone, shared = listed(*texts), listed(*texts, workers=3)
    assert shared["log"].lines == alone["log"].lines == FIRST + 30_000
    assert shared["log"].troubles.count == 2
    assert shared["log"].troubles.lines == alone["log"].troubles.lines
    for key, one in alone["by_key"].items():
        assert {**shared["by_key"][key], "repeats": 0, "legacy_seconds": 0} == {**one, "repeats": 0, "legacy_seconds": 0}
        assert shared["by_key"][key]["legacy_seconds"] == pytest.approx(one["legacy_seconds"])
    assert shared["by_key"].keys() == alone["by_key"].keys()
    assert shared["total"] | {"legacy_seconds": 0} == alone["total"] | {"legacy_seconds": 0}


def test_long_lines_wait_for_no_more_than_8_mib_before_they_are_counted() -> None:
    texts = [line(f"/a/b?{number:04}{'x' * 8000}").encode() for number in range(1100)]
    log = Log()
    log.read(Reader(), texts[:400], "log", 1)
    assert not log.settled
    log.read(Reader(), texts[400:], "log", 401)
    assert log.settled
    assert log.lines == 1100


def test_a_process_that_is_ended_from_outside_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(parts, "_work", ended)
    with pytest.raises(parts.WorkerError):
        listed(*(line("/a/b") for _ in range(FIRST + 10_000)), workers=2)


@pytest.mark.timeout(300)
def test_a_million_different_paths_take_less_than_200_mib(tmp_path: Path) -> None:
    toplog.write(tmp_path / "access.log", toplog.different, 1_000_000)
    found = toplog.read("no two paths the same", tmp_path / "access.log", 1_000_000)
    assert 10 < found.memory < 200, "all its processes together"
    assert found.endpoints <= ENTRIES
