"""The verdict: a table of cases, and two laws that hold for any document."""

from __future__ import annotations

import copy
import gzip
import json
import string
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.compare import Kind, Rules, Verdict, compare
from shadow.documents import MAX_DIFFERENCES
from shadow.exchange import Answer, Exchange
from shadow.headers import Address
from shadow.judge import Judge
from shadow.normalise import Form, Message, read
from shadow.paths import render
from shadow.redact import Redactor

JSON_HEAD = b"Content-Type: application/json\r\n"


def answer(body: bytes = b"", status: int = 200, head: bytes = JSON_HEAD, **more: Any) -> Message:
    return read(Answer("legacy", "legacy", status, head, body, 0.01, **more))


def document(value: Any) -> Message:
    return answer(json.dumps(value).encode())


def found(verdict: Verdict) -> list[tuple[str, str]]:
    return [(difference.kind.value, difference.path) for difference in verdict.differences]


def differences(left: Any, right: Any, **rules: Any) -> list[tuple[str, str]]:
    return found(compare(document(left), document(right), Rules.make(**rules)))


BODIES: list[tuple[str, Any, Any, list[tuple[str, str]]]] = [
    ("fields in another order", {"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    ("one number type", {"a": 1}, {"a": 1.0}, []),
    ("a rounded number is another value, not another type", {"a": 4}, {"a": 4.25}, [("value", "$.a")]),
    ("true is not 1", {"a": True}, {"a": 1}, [("type", "$.a")]),
    ("true is not 1, deep inside", {"a": [[{"b": 1}]]}, {"a": [[{"b": True}]]}, [("type", "$.a[0][0].b")]),
    ("a number as a string", {"a": 1}, {"a": "1"}, [("type", "$.a")]),
    ("null is not a missing field", {"a": None}, {}, [("missing", "$.a")]),
    ("null against a value", {"a": None}, {"a": 0}, [("type", "$.a")]),
    ("a field more", {}, {"a": 1}, [("extra", "$.a")]),
    ("an object where a list was", {"a": []}, {"a": {}}, [("type", "$.a")]),
    ("the document itself", [], {}, [("type", "$")]),
    ("a scalar document", 1, 2, [("value", "$")]),
    ("an element put in front moves the rest", [{"i": 1}, {"i": 2}], [{"i": 0}, {"i": 1}, {"i": 2}], [("extra", "$[0]")]),
    ("an element left out", [1, 2, 3, 4], [1, 2, 4], [("missing", "$[2]")]),
    ("one out, two in", [1, 2, 3], [1, 9, 8, 3], [("extra", "$[2]"), ("value", "$[1]")]),
    ("another order is one difference", {"a": [1, 2, 3]}, {"a": [3, 1, 2]}, [("order", "$.a")]),
    ("another order of objects", {"a": [{"i": 1}, {"i": 2}]}, {"a": [{"i": 2}, {"i": 1}]}, [("order", "$.a")]),
    ("another order, doubled elements", [1, 1, 2], [2, 1, 1], [("order", "$")]),
    ("not the same multiset", [1, 1, 2], [1, 2, 2], [("value", "$[1]")]),
    ("a name with a dot", {"a.b": 1}, {"a.b": 2}, [("value", '$["a.b"]')]),
    ("a name that DeepDiff takes for private", {"__a": 1}, {"__a": 2}, [("value", "$.__a")]),
    ("an empty name", {"": 1}, {"": 2}, [("value", '$[""]')]),
    ("big integers are exact", {"a": 2**64 + 1}, {"a": 2**64 + 2}, [("value", "$.a")]),
    ("an integer beyond a double's precision", {"a": 2**53 + 1}, {"a": float(2**53)}, [("value", "$.a")]),
    ("long texts that share their beginning", {"a": "x" * 5000 + "1"}, {"a": "x" * 5000 + "2"}, [("value", "$.a")]),
    ("texts of many lines", {"a": "x\n" * 5000}, {"a": "y\n" * 5000}, [("value", "$.a")]),
]


@pytest.mark.parametrize(("left", "right", "expected"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_json_bodies(left: Any, right: Any, expected: list[tuple[str, str]]) -> None:
    assert differences(left, right) == sorted(expected, key=lambda item: item[1])


NOON, NOON_TOO = "2026-03-01T12:00:00Z", "Sun, 01 Mar 2026 12:00:00 GMT"
ITEMS = {"items": [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3}]}
RULES: list[tuple[str, Any, Any, dict[str, Any], list[tuple[str, str]]]] = [
    ("ignore is exact", {"id": 1, "identity": 1}, {"id": 2, "identity": 2}, {"ignore": ["$.id"]}, [("value", "$.identity")]),
    ("ignore any index", {"a": [{"t": 1}, {"t": 2}]}, {"a": [{"t": 3}, {"t": 4}]}, {"ignore": ["$.a[*].t"]}, []),
    ("ignore one index", {"a": [1, 2]}, {"a": [3, 4]}, {"ignore": ["$.a[0]"]}, [("value", "$.a[1]")]),
    ("ignore any depth", {"t": 1, "a": {"b": [{"t": 1}]}}, {"t": 2, "a": {"b": [{"t": 2}]}}, {"ignore": ["$..t"]}, []),
    ("ignore a whole subtree", {"a": {"b": 1}}, {"a": [2]}, {"ignore": ["$.a"]}, []),
    ("ignore a field that only one has", {}, {"new": 1}, {"ignore": ["$.new"]}, []),
    ("ignore does not reach up", {"a": {"t": 1}}, {}, {"ignore": ["$.a.t"]}, [("missing", "$.a")]),
    (
        "order is seen through what is ignored",
        [{"i": 1, "t": 1}, {"i": 2, "t": 2}],
        [{"i": 2, "t": 8}, {"i": 1, "t": 9}],
        {"ignore": ["$[*].t"]},
        [("order", "$")],
    ),
    ("unordered", {"tags": ["a", "b"]}, {"tags": ["b", "a"]}, {"unordered": ["$.tags"]}, []),
    ("unordered still counts", {"tags": ["a", "b", "b"]}, {"tags": ["b", "a", "a"]}, {"unordered": ["$.tags"]}, [("value", "$.tags[2]")]),
    ("unordered, one more", {"tags": ["a"]}, {"tags": ["b", "a"]}, {"unordered": ["$.tags"]}, [("extra", "$.tags[0]")]),
    ("aligned by key, order differs", ITEMS, {"items": ITEMS["items"][::-1]}, {"key": {"$.items": "id"}}, [("order", "$.items")]),
    ("aligned by key and unordered", ITEMS, {"items": ITEMS["items"][::-1]}, {"key": {"$.items": "id"}, "unordered": ["$.items"]}, []),
    (
        "aligned by key, inside",
        ITEMS,
        {"items": [{"id": 1, "n": 1}, {"id": 3, "n": "3"}]},
        {"key": {"$.items": "id"}},
        [("missing", "$.items[1]"), ("type", "$.items[2].n")],
    ),
    (
        "a key that is not unique aligns nothing",
        [{"id": 1, "a": 1}, {"id": 1, "a": 2}],
        [{"id": 1, "a": 1}, {"id": 1, "a": 3}],
        {"key": {"$": "id"}},
        [("value", "$[1].a")],
    ),
    (
        "one ignored index hides nothing at another",
        [{"t": 1}, {"t": 2}, 0],
        [{"t": 1}, {"t": 3}],
        {"ignore": ["$[0].t"]},
        [("value", "$[1].t"), ("missing", "$[2]")],
    ),
    (
        "one ignored index, unordered",
        [{"t": 1}, {"t": 2}],
        [{"t": 1}, {"t": 3}],
        {"ignore": ["$[0].t"], "unordered": ["$"]},
        [("value", "$[1].t")],
    ),
    ("tolerance", {"a": 1.0, "b": 1.0}, {"a": 1.001, "b": 1.001}, {"tolerance": {"$.a": 0.01}}, [("value", "$.b")]),
    ("tolerance is no licence for another type", {"a": 1}, {"a": "1"}, {"tolerance": {"$.a": 5}}, [("type", "$.a")]),
    ("a share of legacy's number", {"a": 200, "b": 200}, {"a": 202, "b": 203}, {"tolerance": {"$.*": "1 %"}}, [("value", "$.b")]),
    ("no rule, no instants", {"t": NOON}, {"t": NOON_TOO}, {}, [("value", "$.t")]),
    ("time", {"t": NOON, "u": NOON}, {"t": NOON_TOO, "u": NOON_TOO}, {"time": ["$.t"]}, [("value", "$.u")]),
    ("time: another instant", {"t": NOON}, {"t": "2026-03-01T12:00:01Z"}, {"time": ["$.t"]}, [("value", "$.t")]),
    ("time: another type", {"t": NOON}, {"t": None}, {"time": ["$.t"]}, [("type", "$.t")]),
    ("time: what is no instant", {"t": "never"}, {"t": "Never"}, {"time": ["$.t"]}, [("value", "$.t")]),
    ("pattern", {"id": "a1", "identity": "a1"}, {"id": "a2", "identity": "a2"}, {"pattern": {"$.id": "a\\d"}}, [("value", "$.identity")]),
    ("pattern: both must look so", {"id": "a1"}, {"id": "b1"}, {"pattern": {"$.id": "a\\d"}}, [("value", "$.id")]),
    ("pattern: integers", {"id": 17}, {"id": 4}, {"pattern": {"$.id": "[1-9]\\d*"}}, []),
    ("pattern: no licence for another type", {"id": 17}, {"id": "17"}, {"pattern": {"$.id": "[1-9]\\d*"}}, [("type", "$.id")]),
    ("pattern: true is no integer", {"id": True}, {"id": False}, {"pattern": {"$.id": ".*"}}, [("value", "$.id")]),
    (
        "unordered elements meet through time and pattern",
        [{"id": "a1", "t": NOON, "n": 1}, {"id": "a2", "t": NOON, "n": 2}],
        [{"id": "a8", "t": NOON_TOO, "n": 2}, {"id": "a9", "t": NOON_TOO, "n": 1}],
        {"unordered": ["$"], "time": ["$[*].t"], "pattern": {"$[*].id": "a\\d"}},
        [],
    ),
    ("tolerance of huge integers", {"a": 10**400}, {"a": 0.5}, {"tolerance": {"$.a": 5}}, [("value", "$.a")]),
]


@pytest.mark.parametrize(("left", "right", "rules", "expected"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_rules(left: Any, right: Any, rules: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert differences(left, right, **rules) == expected


def test_an_aligned_element_keeps_both_addresses() -> None:
    verdict = compare(document([{"id": 1}, {"id": 2, "n": 1}]), document([{"id": 2, "n": 2}, {"id": 1}]), Rules.make(key={"$": "id"}))
    value = next(difference for difference in verdict.differences if difference.kind is Kind.VALUE)
    assert (value.path, value.candidate_path, value.legacy, value.candidate) == ("$[1].n", "$[0].n", 1, 2)


def test_a_status_is_the_only_difference_told() -> None:
    verdict = compare(answer(b'{"a":1}', 400), answer(b"[]", 200, b"Content-Type: text/html\r\n"), Rules())
    assert found(verdict) == [("status", "400->200")]


REFUSED = {401, 403, 404}
STATUSES = [200, 201, 204, 302, 304, 400, 401, 402, 403, 404, 405, 410, 429, 500, 503]


@pytest.mark.parametrize("left", STATUSES)
def test_who_may_see_what_is_its_own_kind_of_difference(left: int) -> None:
    for right in STATUSES:
        verdict = compare(answer(b'{"a":1}', left), answer(b'{"a":2}', right), Rules())
        if left == right:
            assert found(verdict) == [("value", "$.a")], "refusals that agree are compared like everything else"
        else:
            kind = "authorization" if {left, right} & REFUSED else "status"
            assert found(verdict) == [(kind, f"{left}->{right}")]
            assert (verdict.differences[0].legacy, verdict.differences[0].candidate) == (left, right)


@pytest.mark.parametrize("status", sorted(REFUSED))
def test_no_answer_is_no_refusal(status: int) -> None:
    nothing = answer(b"", 0, b"", error="timeout")
    assert found(compare(answer(b"", status), nothing, Rules())) == [("unanswered", "timeout")]
    assert compare(nothing, answer(b"", status), Rules()).outcome == "skipped"


def test_no_answer() -> None:
    nothing = answer(b"", 0, b"", error="timeout")
    assert found(compare(answer(b"{}"), nothing, Rules())) == [("unanswered", "timeout")]
    assert compare(nothing, answer(b"{}"), Rules()) == Verdict("skipped", reason="reference_unanswered")


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b"Content-Type: application/json\r\n", b"content-type: Application/JSON; charset=utf-8\r\n", []),
        (b"Content-Type: text/html; charset=UTF-8\r\n", b'Content-Type: text/html;charset="utf-8"\r\n', []),
        (b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Type: text/html\r\n", [("header", "content-type")]),
        (b"Cache-Control: max-age=1, Private\r\n", b"Cache-Control: private\r\ncache-control: max-age=1\r\n", []),
        (b"Cache-Control: private\r\n", b"", [("header", "cache-control")]),
        (b"Location: /a\r\n", b"Location: /b\r\n", [("header", "location")]),
        (b"Location: /a\r\n", b"Location: https://shop.test/a\r\n", [("header", "location")]),
        (b"Set-Cookie: s=1; Path=/; HttpOnly\r\n", b"Set-Cookie: s=2; httponly; path=/\r\n", []),
        (b"Set-Cookie: s=1; Path=/; HttpOnly\r\n", b"Set-Cookie: s=1; Path=/\r\n", [("header", "set-cookie: s")]),
        (b"Set-Cookie: s=1\r\n", b"Set-Cookie: t=1\r\n", [("header", "set-cookie: s"), ("header", "set-cookie: t")]),
        (b"Set-Cookie: s=1\r\nSet-Cookie: t=1\r\n", b"Set-Cookie: t=1\r\nSet-Cookie: s=1\r\n", []),
        (b"Set-Cookie: s=1; Expires=Sun, 01 Mar 2026 12:00:00 GMT\r\n", b"Set-Cookie: s=1; expires=Mon, 02 Mar 2026 12:00:00 GMT\r\n", []),
        (b"Set-Cookie: s=1; Expires=Sun, 01 Mar 2026 12:00:00 GMT\r\n", b"Set-Cookie: s=1\r\n", [("header", "set-cookie: s")]),
        (
            b"Set-Cookie: s=*; Expires=Sun, 01 Mar 2026 12:00:00 GMT\r\n",
            b"Set-Cookie: s=; expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            [("header", "set-cookie: s")],
        ),
        *(
            (b"Set-Cookie: s=*" + attribute + b"\r\n", b"Set-Cookie: s=*" + other + b"\r\n", [("header", "set-cookie: s")])
            for attribute, other in (
                (b"; Path=/", b"; Path=/a"),
                (b"; Domain=a.test", b"; Domain=b.test"),
                (b"; Secure", b""),
                (b"; HttpOnly", b""),
                (b"; SameSite=Lax", b"; SameSite=None"),
                (b"; Max-Age=60", b"; Max-Age=61"),
                (b"; Max-Age=60", b""),
            )
        ),
        (b"Set-Cookie: s=*; SameSite=Lax; Domain=A.test\r\n", b"Set-Cookie: s=*; domain=a.test; samesite=lax\r\n", []),
        (b"Set-Cookie: s=1; Max-Age=5\r\n", b"Set-Cookie: s=1; Max-Age=0\r\n", [("header", "set-cookie: s")]),
        (b"Date: now\r\nServer: a\r\n", b"Date: then\r\nX-New: 1\r\n", []),
    ],
)
def test_headers(left: bytes, right: bytes, expected: list[tuple[str, str]]) -> None:
    assert found(compare(answer(b"", head=left), answer(b"", head=right), Rules())) == expected


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("/a?b=1#c", "https://shop.test/a?b=1#c", True),
        ("https://SHOP.test/a", "/a", True),
        ("//shop.test/a", "/a", True),
        ("https://shop.test", "/", True),
        ("5", "/x/y/5", True),
        ("../z", "https://shop.test/x/z", True),
        ("?p=2", "/x/y/4?p=2", True),
        ("/a", "https://shop.test/b", False),
        ("/a", "https://other.test/a", False),
        ("/a", "https://shop.test:8443/a", False),
        ("/a", "javascript://shop.test/a", False),
        ("http://shop.test/a", "https://shop.test/a", False),
        ("/a", "/b", False),
        ("/a", "//[", False),
    ],
)
def test_redirects_are_resolved_where_a_rule_says_so(left: str, right: str, same: bool) -> None:
    address = Address("shop.test", "/x/y/4?p=1")
    messages = [answer(b"", 302, f"Location: {value}\r\n".encode()) for value in (left, right)]
    for pair in (messages, messages[::-1]):
        assert compare(pair[0], pair[1], Rules(), address).outcome == "mismatch", "no rule"
        verdict = compare(pair[0], pair[1], Rules.make(redirects="resolved"), address)
        assert found(verdict) == ([] if same else [("header", "location")])


def test_a_body_that_was_not_kept_is_no_match() -> None:
    large = answer(b"", skipped="too_large")
    assert compare(large, answer(b"{}"), Rules()) == Verdict("skipped", reason="too_large")
    other = answer(b"", head=b"Content-Type: text/html\r\n", skipped="too_large")
    assert found(compare(large, other, Rules())) == [("header", "content-type")]


CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_codings_are_undone_before_comparing(coding: str) -> None:
    body = b'{"a": [1, 2]}'
    head = JSON_HEAD + f"Content-Encoding: {coding}\r\n".encode()
    packed = answer(CODINGS[coding](body), head=head)
    assert packed.body.form is Form.JSON
    assert compare(answer(body), packed, Rules()).outcome == "match"
    assert found(compare(answer(b'{"a": [1, 3]}'), packed, Rules())) == [("value", "$.a[1]")]
    cut = answer(CODINGS[coding](body * 50)[:-6], head=head)
    assert compare(answer(body * 50), cut, Rules()).outcome == "mismatch"


@pytest.mark.parametrize("coding", CODINGS)
def test_what_lacks_an_end_or_has_something_after_it_is_no_match(coding: str) -> None:
    """The candidate's clients can't read it, whatever of it can be."""
    body = b'{"a": [1, 2]}' * 50
    head = b"Content-Type: text/plain\r\n"
    coded = head + f"Content-Encoding: {coding}\r\n".encode()
    whole = CODINGS[coding](body)
    assert compare(answer(body, head=head), answer(whole, head=coded), Rules()).outcome == "match"
    for spoilt in (*(whole[:-cut] for cut in range(1, len(whole))), whole + b"x", whole + b"\0" * 20):
        read = answer(spoilt, head=coded)
        assert (read.body.form, read.body.note) == (Form.OPAQUE, "bad_encoding")
        assert compare(answer(body, head=head), read, Rules()).outcome == "mismatch"


@pytest.mark.parametrize(
    ("legacy", "candidate", "outcome"),
    [
        ("", "gzip", "mismatch"),
        ("gzip", "", "mismatch"),
        ("gzip", "br", "mismatch"),
        ("", "unknown", "mismatch"),
        ("unknown", "other", "mismatch"),
        ("unknown", "unknown", "match"),
        ("gzip", "GZIP", "match"),
        ("", "identity", "match"),
    ],
)
@pytest.mark.parametrize("redact", [[], ["$..email"]])
def test_the_same_bytes_under_a_coding_that_is_not_theirs_are_no_match(
    legacy: str, candidate: str, outcome: str, redact: list[str]
) -> None:
    """A candidate that calls its plain JSON gzip: no client can read it."""
    heads = [JSON_HEAD + (f"Content-Encoding: {coding}\r\n".encode() if coding else b"") for coding in (legacy, candidate)]
    sides = [Answer("legacy", "l", 200, head, b'{"a": 1}', 0.1) for head in heads]
    exchange = Exchange("r", "q", 1.0, "GET", "/", b"", b"", sides[0], sides[1])
    exchange.shadow.side = "candidate"
    judgement = Judge(Redactor(redact, b"k" * 32), {"r": Rules.make(headers=["content-type"])}).judge(exchange)
    assert judgement is not None
    assert judgement.outcome == outcome
    assert judgement.signatures == (((Kind.BODY, "$"),) if outcome == "mismatch" else ())


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_in_several_parts_is_read_whole(coding: str) -> None:
    """RFC 1952, 2.2; RFC 8878, 3.1: members and frames may follow each other."""
    head = JSON_HEAD + f"Content-Encoding: {coding}\r\n".encode()
    parts = b"".join(map(CODINGS[coding], (b'{"a": [', b"", b"1, 2", b"]}")))
    assert compare(answer(b'{"a": [1, 2]}'), answer(parts, head=head), Rules()).outcome == "match"
    assert answer(CODINGS[coding](b"[1]") * 30_000, head=head).body.form is Form.TEXT


def test_frames_that_are_to_be_skipped_are() -> None:
    head = JSON_HEAD + b"Content-Encoding: zstd\r\n"
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"abcde"
    assert compare(answer(b"[1]"), answer(skipped + CODINGS["zstd"](b"[1]") + skipped, head=head), Rules()).outcome == "match"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_ends_in_a_verdict(coding: str) -> None:
    bomb = answer(CODINGS[coding](bytes(64 * 1024 * 1024)), head=JSON_HEAD + f"Content-Encoding: {coding}\r\n".encode())
    assert (bomb.body.form, bomb.body.note) == (Form.OPAQUE, "over_limit")
    assert found(compare(answer(b"{}"), bomb, Rules())) == [("body", "$")]


HOSTILE = {
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "as deep as is read": b"[" * 100 + b"1" + b"]" * 100,
    "huge integer": b'{"a": ' + b"9" * 100_000 + b"}",
    "big integer": b'{"a": ' + b"9" * 4_000 + b"}",
    "a million keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(200_000)) + b"}",
    "invalid utf-8": b'{"a": "\xff\xfe"}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "nul": b'{"a": "\\u0000"}',
    "not a number": b'{"a": NaN}',
    "infinite": b'{"a": 1e999}',
    "doubled key": b'{"a": 1, "a": 2}',
    "nothing": b"",
    "cut short": b'{"a": [1, 2',
    "unterminated string": b'"' + b"[" * 200_000,
    "many lists of two": (b"[" * 90) + b",".join(b"%d" % n for n in range(20_000)) + (b"],0" * 90)[:-2],
}


@pytest.mark.parametrize("left", HOSTILE)
def test_hostile_bodies_end_in_a_verdict(left: str) -> None:
    for right in ("huge integer", "as deep as is read", "lone surrogate", "a million keys"):
        verdict = compare(answer(HOSTILE[left]), answer(HOSTILE[right]), Rules.make(ignore=["$..x"]))
        assert verdict.outcome == ("match" if left == right else "mismatch")
    changed = compare(answer(HOSTILE[left]), answer(HOSTILE[left][:-1] + b" "), Rules())
    assert changed.outcome == "mismatch"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_how_deep_is_read(opening: bytes, closing: bytes) -> None:
    bodies = [answer(opening * depth + b"1" + closing * depth).body for depth in (100, 101, 100_000)]
    assert [(body.form, body.note) for body in bodies] == [(Form.JSON, ""), (Form.TEXT, "too_deep"), (Form.TEXT, "too_deep")]
    assert answer(b"[" * 99 + b'"[[[", {}, []' + b"]" * 99).body.form is Form.JSON, "brackets in a text are text"


def test_documents_that_python_and_others_read_differently_are_compared_as_text() -> None:
    assert found(compare(answer(b'{"a":1,"a":2}'), answer(b'{"a":2}'), Rules())) == [("body", "$")]
    assert compare(answer(b'{"a":NaN}'), answer(b'{"a":NaN}'), Rules()).outcome == "match"


def test_too_many_differences_are_cut_and_said_to_be() -> None:
    verdict = compare(document(dict.fromkeys(map(str, range(1000)), 1)), document(dict.fromkeys(map(str, range(1000)), 2)), Rules())
    assert verdict.cut
    assert len(verdict.differences) == MAX_DIFFERENCES


def test_forms_and_texts() -> None:
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    assert compare(answer(b"a=1&b=2", head=form), answer(b"b=2&a=%31", head=form), Rules()).outcome == "match"
    assert found(compare(answer(b"a=1&b=2", head=form), answer(b"a=1&b=3", head=form), Rules())) == [("value", "$.b[0]")]
    assert found(compare(answer(b"a=1&a=2", head=form), answer(b"a=2&a=1", head=form), Rules())) == [("order", "$.a")]
    assert found(compare(answer(b"a=%ff", head=form), answer(b"a=%fe", head=form), Rules())) == [("value", "$[0]")], "not UTF-8: as text"
    text = b"Content-Type: text/plain; charset=latin-1\r\n"
    assert found(compare(answer(b"a\n\xe4\nc", head=text), answer(b"a\n\xe5\nc", head=text), Rules())) == [("value", "$[1]")]
    assert found(compare(answer(b"a\nc\n", head=text), answer(b"a\nb\nc\n", head=text), Rules())) == [("extra", "$[1]")]
    assert found(compare(answer(b"a\n", head=text), answer(b"a", head=text), Rules())) == [("missing", "$[1]")]
    assert found(compare(answer(b"{", head=JSON_HEAD), answer(b"[", head=JSON_HEAD), Rules())) == [("value", "$[0]")], "by its lines"


def test_what_is_binary_is_told_by_its_digest() -> None:
    head = b"Content-Type: image/png\r\n"
    verdict = compare(answer(b"\x89PNG1", head=head), answer(b"\x89PNG2", head=head), Rules())
    assert found(verdict) == [("body", "$")]
    told = str(verdict.differences[0].legacy), str(verdict.differences[0].candidate)
    assert told[0] != told[1]
    assert all(each.startswith("opaque, 5 bytes, digest ") for each in told)


PAGE = b"Content-Type: text/html; charset=utf-8\r\n"


def test_pages() -> None:
    one = b"<!DOCTYPE html>\n<html><body class='b a'>\n  <p id=x>Hello,\n  <b>you</b>\n<p>there<!-- legacy -->\n</body></html>"
    other = b'<!doctype html><HTML><body class="a b"><p id="x">Hello, <b>you</b></p><p>there</p></body></html>'
    assert compare(answer(one, head=PAGE), answer(other, head=PAGE), Rules()).outcome == "match"
    changed = other.replace(b"there", b"here").replace(b'id="x"', b'id="y"')
    assert found(compare(answer(one, head=PAGE), answer(changed, head=PAGE), Rules())) == [
        ("value", "$[1].html.content[0].body.content[0].p.attributes.id"),
        ("value", "$[1].html.content[0].body.content[1].p.content[0]"),
    ]
    form = b"<form><input type=hidden name=csrf value=%s></form>"
    rules = Rules.make(pattern={"$..input.attributes.value": "[a-z0-9]{4}"})
    assert compare(answer(form % b"a1b2", head=PAGE), answer(form % b"c3d4", head=PAGE), rules).outcome == "match"
    assert compare(answer(form % b"a1b2", head=PAGE), answer(form % b"", head=PAGE), rules).outcome == "mismatch"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet=string.ascii_letters + '."é 0', max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)


@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_equal_after_parsing_is_a_match(value: Any, indent: int | None, escaped: bool) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: shuffled(item) for key, item in reversed(node.items())}
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    other = json.dumps(shuffled(value), indent=indent, ensure_ascii=escaped).encode()
    assert compare(document(value), answer(other), Rules()).outcome == "match"


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


@settings(max_examples=200)
@given(json_values, st.data())
def test_one_change_is_exactly_its_path(value: Any, data: st.DataObject) -> None:
    value = {"root": value}
    path = data.draw(st.sampled_from(leaves(value)))
    changed = copy.deepcopy(value)
    node = changed
    for segment in path[:-1]:
        node = node[segment]
    if data.draw(st.booleans()) and isinstance(path[-1], str):
        del node[path[-1]]
        expected = "missing"
    else:
        before = node[path[-1]]
        node[path[-1]] = f"{before}~" if isinstance(before, str) else "~"
        expected = "value" if isinstance(before, str) else "type"
    assert differences(value, changed) == [(expected, render(path))]
    assert [where for _, where in differences(changed, value)] == [render(path)]


RULED = Rules.make(
    ignore=["$..id", "$.root[*].a"],
    unordered=["$..b"],
    key={"$..c": "k"},
    tolerance={"$..n": 1, "$..m": "10 %"},
    time=["$..t"],
    pattern={"$..p": "x+"},
)
ruled_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "xx", "y", "2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "identity", *"abcdknmtp"]), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=200)
@given(ruled_values)
def test_a_document_equals_itself_by_any_rules(value: Any) -> None:
    assert compare(document(value), document(copy.deepcopy(value)), RULED).outcome == "match"
    assert compare(document(value), answer(json.dumps(value, indent=1).encode()), RULED).outcome == "match"


@settings(max_examples=300)
@given(ruled_values, st.data())
def test_a_change_is_found_unless_it_is_ignored(value: Any, data: st.DataObject) -> None:
    """The new value is of a kind that no tolerance, time or pattern allows: so only `ignore` may hide it, and only where it says."""
    value = {"root": value}
    path = data.draw(st.sampled_from(leaves(value)))
    changed = copy.deepcopy(value)
    node = changed
    for segment in path[:-1]:
        node = node[segment]
    node[path[-1]] = {"new": "value"}
    ignored = any(RULED.ignore.matches(path[:length]) for length in range(len(path) + 1))
    for one, other in ((value, changed), (changed, value)):
        verdict = compare(document(one), document(other), RULED)
        assert verdict.outcome == ("match" if ignored else "mismatch")
