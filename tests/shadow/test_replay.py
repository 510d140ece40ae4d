"""What of a recording is replayed, what counts as noise, and how a replay goes on where it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import parse
from recorded.entry import Entry, Trouble
from shadow.compare import Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.redact import Redactor
from shadow.replay import asking, engine, state, tally
from shadow.replay import plan as planned
from shadow.replay.outcome import outcome
from shadow.replay.plan import LeftOut, Planner, Wanted
from shadow.replay.tally import RouteTally, Tally

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:8001"
reviews = "http://127.0.0.1:8101"
other = "http://127.0.0.1:8102"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
rewrite = "/reviews/*"
host = "reviews.internal"
[[routes]]
name = "orders"
match = "/api/v1/orders"
candidate = "other"
[routes.shadow]
methods = ["GET", "POST"]
sandbox = true
[[routes]]
name = "carts"
match = "/api/v1/carts"
candidate = "other"
[routes.shadow]
methods = ["GET", "POST"]
sandbox = true
sandbox_legacy = true
[[routes]]
name = "payments"
match = "/pay/*"
split = { reviews = 1, other = 1 }
"""
LOADED = parse(Path("banyan.toml"), CONFIG)
HOST = (b"Host", b"shop.test")


def planner(**options: Any) -> Planner:
    return Planner(LOADED, **{"reference": "legacy", "other": "candidate", **options})


def entry(method: str = "GET", target: str = "/api/v1/reviews/3", **more: Any) -> Entry:
    return Entry(1, method, target, **{"fields": (HOST,), "body": b"", **more})


@pytest.mark.parametrize(
    ("found", "reason", "options"),
    [
        (entry(target="/else"), planned.UNROUTED, {}),
        (entry(target="/api/v1/reviews/%2e%2e/%2e%2e/orders"), planned.AMBIGUOUS_PATH, {}),
        (entry(target="/pay/1"), planned.SPLIT, {}),
        (entry(), planned.OTHER_ROUTE, {"routes": ["orders"]}),
        (entry("POST"), planned.UNSAFE, {}),
        (entry("DELETE", "/api/v1/orders"), planned.METHOD, {"unsafe": True}),
        (entry("HEAD", "/api/v1/orders"), planned.METHOD, {}),
        (entry("POST"), planned.METHOD, {"unsafe": True}),
        (entry("POST", "/api/v1/orders"), planned.NO_SANDBOX, {"unsafe": True}),  # the candidate is a sandbox, and legacy none
        (entry("POST", "/api/v1/carts", body=None), planned.NO_BODY, {"unsafe": True}),
        (entry(fields=(HOST, (b"Upgrade", b"websocket"))), planned.UPGRADE, {}),
        (entry(status=101), planned.UPGRADE, {}),
        (entry(target="/api/v1/reviews/3?token=redacted:0123456789abcdef"), planned.REDACTED, {}),
        (entry(target="/api/v1/reviews/3?c=redacted%3Acard%3A0123456789abcdef"), planned.REDACTED, {}),
        (entry("POST", "/api/v1/carts", body=b'{"a": "redacted:0123456789abcdef"}'), planned.REDACTED, {"unsafe": True}),
        (entry(fields=((b"Host", b"a b"),)), planned.INVALID, {}),
        (entry(), planned.NOT_RECORDED, {"reference": "recorded"}),
        (entry(status=200, answer_body=None), planned.NOT_RECORDED, {"reference": "recorded"}),
        (entry(status=304), planned.NOT_RECORDED, {"reference": "recorded"}),  # as an access log has it
        (entry("HEAD", status=200), planned.NOT_RECORDED, {"reference": "recorded"}),
        (entry(status=200, answer_body=b'"redacted:0123456789abcdef"'), planned.NOT_RECORDED, {"reference": "recorded"}),
    ],
)
def test_what_is_left_out_and_why(found: Entry, reason: str, options: dict[str, Any]) -> None:
    left = planner(**options).plan(found)
    assert isinstance(left, LeftOut)
    assert left.reason == reason
    assert reason in planned.REASONS


@pytest.mark.parametrize(
    ("found", "options"),
    [
        (entry(), {}),
        (entry("HEAD"), {}),
        (entry("POST", "/api/v1/carts", body=b"a"), {"unsafe": True}),
        (entry("POST", "/api/v1/orders", body=b"a", status=200, answer_body=b"b"), {"unsafe": True, "reference": "recorded"}),
        (entry(status=200, answer_body=b"x"), {"reference": "recorded"}),
        (entry(status=304, answer_fields=((b"ETag", b'"1"'),)), {"reference": "recorded"}),
        (entry("HEAD", status=200, answer_fields=((b"ETag", b'"1"'),)), {"reference": "recorded"}),
        (entry(), {"routes": ["orders", "reviews"]}),
    ],
)
def test_what_is_replayed(found: Entry, options: dict[str, Any]) -> None:
    assert isinstance(planner(**options).plan(found), Wanted)


def test_how_a_request_looks() -> None:
    fields = (
        HOST,
        (b"Cookie", b"sessionid=1"),
        (b"authorization", b"Bearer x"),
        (b"X-Forwarded-For", b"10.9.9.9"),
        (b"Banyan-Identity", b"forged"),
        (b"Content-Length", b"999"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Email", b"redacted:0123456789abcdef"),
        (b"Accept", b"application/json"),
    )
    found = planner().plan(entry(fields=fields))
    assert isinstance(found, Wanted)
    assert found.head.fields == b"\r\nHost: shop.test\r\nAccept: application/json"
    kept = planner(credentials=True).plan(entry(fields=fields))
    assert isinstance(kept, Wanted)
    assert b"\r\nCookie: sessionid=1\r\nauthorization: Bearer x\r\n" in kept.head.fields
    assert kept.head.secrets is not None  # and still no exchange has them
    without = planner().plan(entry(fields=()))
    assert isinstance(without, Wanted)
    assert without.head.host == b"127.0.0.1:8001"
    named = planner(host="shop.example").plan(entry())
    assert isinstance(named, Wanted)
    assert named.head.host == b"shop.example"
    written = planner(unsafe=True).plan(entry("POST", "/api/v1/carts", body=b"abc", fields=(HOST, (b"content-length", b"7"))))
    assert isinstance(written, Wanted)
    assert written.head.length == 3


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ("192.0.2.7", b"192.0.2.7"),
        ("2001:DB8::1", b"2001:db8::1"),
        (None, b"127.0.0.1"),
        ("unix:", b"127.0.0.1"),
        ("fe80::1%eth0", b"127.0.0.1"),
        ("fe80::1%a\r\nCookie: x", b"127.0.0.1"),
        ("192.0.2.7\r\nCookie: x", b"127.0.0.1"),
    ],
)
def test_an_address_in_a_recording_is_no_way_to_send_other_fields(client: str | None, told: bytes) -> None:
    assert asking._address(client) == told


@pytest.mark.parametrize(
    ("speed", "times", "turns"),
    [
        (1.0, [5, 6, 8], [0, 1, 3]),
        (2.0, [5, 6, 8], [0, 0.5, 1.5]),
        (1.0, [0, 10, 4, 11, 9, 12], [0, 10, 10, 11, 11, 12]),  # as a log has them: what took long comes late
        (1.0, [0, 1, 4e9, 2, 3], [0, 1, 61, 61, 62]),  # one wrong time costs a pause, and no pace of the rest
        (1.0, [0, 1, -4e9, 2, 3], [0, 1, 1, 61, 62]),
        (1.0, [100, 101, 0, 1], [0, 1, 1, 2]),  # two logs, the later one first
        (10.0, [0, 500, 5000], [0, 50, 110]),
        (1e-6, [0, 1e300], [0, 60]),
        (1e-300, [0, 1e300, 0], [0, 60, 60]),
    ],
)
def test_the_pace_of_a_recording_whatever_its_times(speed: float, times: list[float], turns: list[float]) -> None:
    pace, now, found = engine.Pace(speed), 1000.0, []
    for at in times:
        now = max(now, pace.due(at, now))
        found.append(now - 1000.0)
    assert found == turns


def test_a_pace_that_was_not_kept_is_not_made_up_for() -> None:
    pace = engine.Pace(1.0)
    assert pace.due(0.0, 1000.0) == 1000.0
    assert pace.due(1.0, 1001.5) == 1001.0  # a little late: the next is in time
    assert pace.due(2.0, 1010.0) == 1010.0
    assert pace.due(1.5, 1010.0) == 1010.0  # earlier than the one before: nobody is late because of that
    assert pace.due(3.0, 1010.0) == 1011.0


JUDGE = Judge(Redactor([], b"k" * 32), {"r": Rules()})


def judged(legacy: Any, other: Any, kind: Any = "pair", at: float = 1000.0, status: int = 200) -> Any:
    head = b"Content-Type: application/json\r\n"
    one = Answer("legacy", "legacy", 200, head, json.dumps(legacy).encode(), 0.01)
    two = Answer("legacy" if kind == "noise" else "candidate", "new", status, head, json.dumps(other).encode(), 0.01)
    found = JUDGE.judge(Exchange("r", "replay-x-1", at, "GET", "/r", b"", b"", one, two, kind))
    assert found is not None
    return found


def counted(pairs: list[Any], own: list[Any] | None = None, proofs: list[Any] | None = None) -> RouteTally:
    """`own`: legacy's own pairs, whatever was found. `proofs`: those that were asked for because of the first pair."""
    route = RouteTally()
    for each in (*(own or ()), *pairs):
        route.judged(each)
    for each in proofs or ():
        assert route.unsure(pairs[0].signatures)
        route.proved(pairs[0].signatures, each)
    return route


def test_what_legacy_shows_against_itself_is_no_difference() -> None:
    always = [judged({"at": number, "n": 1}, {"at": -number, "n": 1}) for number in range(1, 5)]
    own = [judged({"at": 1, "n": 1}, {"at": 2, "n": 1}, "noise")] * 2
    bad = judged({"at": 1, "n": 1}, {"at": 2, "n": 2})
    route = counted([*always, bad], proofs=own)
    assert route.noise == {(Kind.VALUE, "$.at")}
    assert (route.compared, route.mismatched, route.noisy(route.noise)) == (5, 5, 4)
    found = outcome(Tally(routes={"r": route}), 0.8)
    (result,) = found.routes
    assert (result.matched, result.mismatched, result.noisy, found.match_rate, found.passed) == (4, 1, 4, 0.8, True)
    assert not outcome(Tally(routes={"r": route}), 0.81).passed


def test_in_doubt_it_is_no_noise() -> None:
    pairs = [judged({"a": 1}, {"a": 2})] * 10
    once = judged({"a": 1}, {"a": 3}, "noise")
    never = judged({"a": 1}, {"a": 1}, "noise")
    assert counted(pairs, proofs=[once, once]).noise
    assert not counted(pairs, proofs=[once]).noise  # may be chance
    assert not counted(pairs, proofs=[once, never]).noise  # half as often as the candidate
    assert not counted(pairs, [once] * 5).noise  # too few
    # A type that legacy never had is none of its noise.
    assert not counted([judged({"a": 1}, {"a": "1"})], proofs=[once, once]).noise
    # Nor is a status, however often legacy changes it: it is not even asked again.
    assert not counted([judged({"a": 1}, {"a": 1}, status=500)]).unsure([(Kind.STATUS, "200->500")])


def test_enough_is_known_some_time() -> None:
    route = counted([judged({"a": 1}, {"a": 2})])
    signature = (Kind.VALUE, "$.a")
    for _ in range(tally.ENOUGH):
        assert route.unsure([signature])
        route.proved([signature], judged({"a": 1}, {"a": 1}, "noise"))
    assert not route.unsure([signature])
    assert (route.proof_pairs, route.proof_different) == (tally.ENOUGH, 0)


def test_with_many_of_its_own_pairs_the_statistics_of_suggestions_are_gone_by() -> None:
    differs, same = judged({"a": 1}, {"a": 2}, "noise"), judged({"a": 1}, {"a": 1}, "noise")
    own = [differs] * 20 + [same] * 20
    bad, good = judged({"a": 1}, {"a": 2}), judged({"a": 1}, {"a": 1})
    assert counted([bad] * 52 + [good] * 48, own).noise
    assert not counted([bad] * 90 + [good] * 10, own).noise


def test_nothing_compared_is_never_enough() -> None:
    assert not outcome(Tally(), 0.0).passed
    route = RouteTally()
    route.skip(planned.UNSAFE, 1.0)
    good = counted([judged({}, {})])
    assert outcome(Tally(routes={"r": route, "s": good}), 1.0).passed  # nobody asked for r
    assert not outcome(Tally(routes={"r": route, "s": good}), 1.0, ["r"]).passed
    assert not outcome(Tally(routes={"s": good}), 1.0, ["r", "s"]).passed  # nor was anything of it in the recording
    route.skip("reference_unanswered", 1.0)
    assert not outcome(Tally(routes={"r": route, "s": good}), 1.0).passed


def test_a_few_of_many_are_never_enough() -> None:
    few = counted([judged({}, {})])
    for _ in range(3):
        few.skip("reference_unanswered", 1.0)
    for _ in range(100):
        few.skip(planned.UNSAFE, 1.0)  # these were not asked
    found = outcome(Tally(routes={"r": few}), 0.9, coverage={"r": 0.5})
    assert not found.passed
    assert found.routes[0].reasons == ("25.00 % of what was asked could be compared, 50.00 % is needed",)
    assert outcome(Tally(routes={"r": few}), 0.9, coverage={"r": 0.25}).passed


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_SIGNATURES", 3)
    monkeypatch.setattr(tally, "MAX_COMBINATIONS", 2)
    monkeypatch.setattr(tally, "MAX_SPANS", 2)
    route = counted([judged({f"a{number}": 1}, {f"a{number}": 2}, at=1000.0 * number) for number in range(10)])
    assert len(route.signatures) == 4
    assert route.signatures[Kind.VALUE, tally.OTHER].count == 7
    assert len(route.combinations) == len(route.spans) == 2
    assert route.mismatched == 10
    whole = Tally()
    for number in range(100):
        whole.trouble(Trouble(number, "no"))
    assert (whole.unread, len(whole.troubles)) == (100, tally.MAX_TROUBLES)


def test_a_state_is_what_was_written(tmp_path: Path) -> None:
    route = counted([judged({"a": 1, "b": [1]}, {"a": "x", "b": [2]}), judged({}, {})], [judged({"c": 1}, {"c": 2}, "noise")] * 2)
    route.proved([(Kind.TYPE, "$.a")], judged({"a": 1}, {"a": "1"}, "noise"))
    route.skip("unsafe", 12.0)
    route.answered(Answer("legacy", "legacy", 200, b"", b"", 0.02))
    route.answered(Answer("candidate", "new", 0, b"", b"", 0.0, "refused"))
    whole = Tally(17, routes={"r": route})
    whole.trouble(Trouble(3, "no"))
    whole.left_out["unrouted"] += 2
    path = tmp_path / "state"
    state.write(path, {"a": 1}, whole)
    assert path.stat().st_mode & 0o777 == 0o600
    assert state.resumed(path, {"a": 1}) == whole
    with pytest.raises(state.StateError, match=r"of another replay \(a differ\)"):
        state.resumed(path, {"a": 2})


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"version": 1, "about": {}, "tally": {}}', '{"version": 1, "about": {}, "tally": 7}']
)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    with pytest.raises(state.StateError, match="nothing to go on from"):
        state.resumed(path, {})
    path.write_text(text)
    with pytest.raises(state.StateError, match="no state of a replay"):
        state.resumed(path, {})


def test_a_recorded_answer_is_compared_as_the_shadow_would_have_captured_it() -> None:
    from shadow.replay.pair import recorded

    fields = ((b"Set-Cookie", b"a=secret; Path=/"), (b"Authorization", b"x"), (b"Content-Type", b"text/plain"))
    answer = recorded(replace(entry(status=200), answer_fields=fields, answer_body=b"hi"))
    assert answer.head == b"Set-Cookie: a=*; Path=/\r\nContent-Type: text/plain\r\n"
    assert (answer.side, answer.upstream, answer.body) == ("legacy", "recorded", b"hi")
