"""Redacted here and compared there comes to the very same judgement as redacted and compared in one place; and nothing secret travels."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
import zstandard

from gateway.secret_patterns import KINDS
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge, Judgement
from shadow.pack import FORMAT, FORMAT_HEADER, Draft, PackError, Pair, Told, encoded, headers, judgement, name_of, pack, unpack
from shadow.pack import counts as counted
from shadow.redact import Redactor
from shadow.sealing import PairJudge, Sealer
from shadow.sinks.outbox import parcel

JSON = b"Content-Type: application/json\r\n"
HTML = b"Content-Type: text/html\r\n"
TEXT = b"Content-Type: text/plain\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"
RULES = {
    "r": Rules.make(
        ignore=["$..t"],
        key={"$.items": "id"},
        tolerance={"$.score": 0.1},
        time=["$.when"],
        headers=["content-type", "location", "set-cookie", "x-secret"],
        redirects="resolved",
    )
}
RULE_SETS = [
    (["set-cookie", "x-secret", "$..password", "$..email"], KINDS),
    ([], KINDS),
    ([], ()),
    (["$.cards[*]", "$..password"], ()),
]
SECRET = "hunter2-secret"
CARD = "4111 1111 1111 1111"


def part(value: str) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n{value}\r\n--x--\r\n'.encode()


def corpus() -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """(legacy's body, the candidate's, what else)."""
    yield {"a": 1}, {"a": 1}, {}
    yield {"a": 1}, {"a": 1.0}, {}
    yield b'{"a": 1e2, "b": -0.0, "c": 1.50}', b'{"c": 1.5, "a": 100, "b": 0}', {}
    yield {"a": 10**30, "big": [10**300]}, {"a": 10**30 + 1, "big": [10**300 + 1]}, {}
    yield {"password": SECRET, "a": None}, {"password": SECRET + "2", "a": 1}, {}
    yield {"cards": [CARD, 4111111111111111]}, {"cards": [CARD, 4111111111111112]}, {}
    yield {"nested": json.dumps({"password": SECRET})}, {"nested": json.dumps({"password": "other"})}, {}
    yield {"items": [{"id": 1, "n": 1}, {"id": 2}]}, {"items": [{"id": 2}, {"id": 1, "n": "1"}]}, {}
    yield {"score": 1.0, "t": 1, "when": "2026-01-01T00:00:00Z"}, {"score": 1.05, "t": 2, "when": "2026-01-01T01:00:00+01:00"}, {}
    yield "\ufeff".encode() + b'{"a": "\\u00e4\\ud83d\\ude00\\u0000"}', '{"a": "ä😀"}'.encode(), {}
    yield b'{"a": "\\ud800"}', b'{"a": "\\ud801"}', {}
    yield b'{"a": 1, "a": 2}', b'{"a": 2}', {}
    yield b"[" * 300 + b"]" * 300, b"[" * 301 + b"]" * 301, {}
    yield b'{"n": NaN}', b'{"n": 1e999}', {}
    yield b'{"a": "\\\\ud83d"}', b'{"a": "x\\ny"}', {}
    yield b"\xff\xfe{", b"\xff\xfe[", {}
    for undo in (gzip.compress, zlib.compress, brotli.compress, zstandard.compress):
        name = {gzip.compress: b"gzip", zlib.compress: b"deflate", brotli.compress: b"br"}.get(undo, b"zstd")
        yield (
            undo(b'{"a": 1, "email": "me@x"}'),
            b'{"a": 2, "email": "me@x"}',
            {"heads": (JSON + b"Content-Encoding: " + name + b"\r\n", JSON)},
        )
    yield b"not gzip", b"{}", {"heads": (JSON + b"Content-Encoding: gzip\r\n", JSON)}
    for more in (b"", b"<i>password</i>", b"<i>4111&#x2009;1111&#x2009;1111&#x2009;1111</i>"):
        # What stands beside a redacted name is secret; what stands alone can't be known to be.
        page = f"<p title={SECRET if b'password' in more else 't'} id=x>one</p>\n<p>{CARD}</p>".encode()
        yield page + more, page.replace(b"one", b"two") + more, {"heads": (HTML, HTML)}
        yield page + more, page + more + b"<b>email: me@x</b>", {"heads": (TEXT, TEXT)}
    yield b"a=1&password=" + SECRET.encode(), b"a=2&a=3&password=x&empty=", {"heads": (FORM, FORM)}
    yield b"a=%ff", b"a=%fe", {"heads": (FORM, FORM)}
    yield part(SECRET), part("other"), {"heads": (MULTIPART, MULTIPART)}
    yield bytes(range(256)), bytes(range(255)), {"heads": (b"Content-Type: image/png\r\n",) * 2}
    yield "grüß".encode("latin-1"), "grüßt".encode("latin-1"), {"heads": (b"Content-Type: text/plain; charset=latin-1\r\n",) * 2}
    yield b"", b"", {"heads": (b"Location: /a\r\n", b"Location: http://shop.test/a\r\n")}
    yield b"", b"", {"heads": (b"Location: a?password=x\r\n", b"Location: http://shop.test/a?password=y\r\n")}
    cookies = [f"Set-Cookie: sid={value}; Path=/; HttpOnly\r\n".encode() for value in (SECRET, "other")]
    yield {}, {}, {"heads": (JSON + cookies[0] + b"X-Secret: a\r\n", JSON + cookies[1] + b"X-Secret: b\r\n")}
    yield {}, [], {"statuses": (200, 404)}
    yield {}, b"", {"statuses": (200, 0), "error": "timeout"}
    yield b"", {}, {"statuses": (0, 200)}
    yield {}, b"", {"skipped": "too_large"}
    yield {"a": 1}, {"a": 2}, {"kind": "noise"}
    yield {"a": 1}, b"", {"kind": "noise", "statuses": (200, 0), "error": "reset"}
    yield {"a": 1}, {"a": 2}, {"served": "candidate"}
    yield {"a": "x" * 300_000}, {"a": "x" * 299_999 + "y"}, {}


def exchange(legacy: Any, candidate: Any, more: dict[str, Any]) -> Exchange:
    one, other = (body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate))
    heads, statuses = more.get("heads", (JSON, JSON)), more.get("statuses", (200, 200))
    first = Answer("legacy", "legacy", statuses[0], heads[0], one, 0.01)
    noise = more.get("kind") == "noise"
    second = Answer(
        "legacy" if noise else "candidate", "new", statuses[1], heads[1], other, 0.02, more.get("error", ""), more.get("skipped", "")
    )
    served, shadow = (second, first) if more.get("served") == "candidate" else (first, second)
    head = b"Host: shop.test\r\nX-Password: x\r\n"
    return Exchange("r", "id-1", 5.0, "GET", f"/p/x?password={SECRET}", head, b"", served, shadow, more.get("kind", "pair"))


CASES = list(corpus())


@pytest.mark.parametrize("redact", RULE_SETS, ids=["all", "patterns", "nothing", "unnamed"])
@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("max_size", [10**9, 1], ids=["pair", "told"])
def test_both_ways_come_to_the_same(case: int, redact: tuple[list[str], tuple[str, ...]], max_size: int) -> None:
    legacy, candidate, more = CASES[case]
    redactor = Redactor(redact[0], b"k" * 32, redact[1])
    given = exchange(legacy, candidate, more)
    here = Judge(redactor, RULES).judge(given)
    assert here is not None
    sealed = Sealer(redactor, RULES, max_size).judge(given)
    assert through(sealed) == here
    if max_size == 1:
        assert isinstance(sealed, Told)


def through(sealed: Pair | Told | None) -> Judgement:
    """What a shadow worker comes to, by the bytes that it gets."""
    assert sealed is not None
    contents = Draft("p", 1, *split([sealed]))
    got = unpack(pack(contents), headers(contents))
    if got.told:
        return judgement(got.told[0])
    found = PairJudge(RULES).judge(got.pairs[0])
    assert found is not None
    return found


def split(records: Sequence[Pair | Told | None]) -> tuple[list[msgspec.Raw], list[msgspec.Raw]]:
    pairs, told = ([encoded(each) for each in records if isinstance(each, kind)] for kind in (Pair, Told))
    return pairs, told


def test_the_corpus_goes_both_ways() -> None:
    sealer = Sealer(Redactor(*RULE_SETS[0][:1], b"k" * 32, KINDS), RULES, 10**9)
    kinds = [type(sealer.judge(exchange(*case))) for case in CASES]
    assert kinds.count(Pair) > 20
    assert kinds.count(Told) > 5


@pytest.mark.parametrize("case", range(len(CASES)))
def test_over_budget_comes_to_the_same(case: int) -> None:
    redactor = Redactor(RULE_SETS[0][0], b"k" * 32, KINDS)
    given = exchange(*CASES[case])
    sealed = Sealer(redactor, RULES, 10**9).judge(given)
    if isinstance(sealed, Pair):
        assert PairJudge(RULES).inconclusive(sealed) == Judge(redactor, RULES).inconclusive(given)
    assert judgement(Sealer(redactor, RULES, 1).inconclusive(given)) == Judge(redactor, RULES).inconclusive(given)


def test_no_secret_travels() -> None:
    redactor = Redactor(RULE_SETS[0][0], b"k" * 32, KINDS)
    sealer = Sealer(redactor, RULES, 10**9)
    contents = Draft("p", 1, *split([sealer.judge(exchange(*case)) for case in CASES]))
    text = repr(unpack(pack(contents), headers(contents)))
    assert len(contents.pairs) + len(contents.told) == len(CASES)
    for secret in (SECRET, CARD, "4111111111111111", "me@x"):
        assert secret not in text
    assert "redacted:" in text


def test_what_takes_long_is_left_to_the_process_that_can_be_ended() -> None:
    redactor = Redactor(RULE_SETS[0][0], b"k" * 32, KINDS)
    given = exchange({"a": "x" * 100_000}, {"a": "y" * 100_000}, {})
    assert Sealer(redactor, RULES, 10**9).judge(given, 64 * 1024) is None
    sealed = Sealer(redactor, RULES, 10**9).judge(given)
    assert isinstance(sealed, Pair)
    assert PairJudge(RULES).judge(sealed, 64 * 1024) is None


def test_a_message_says_what_it_holds_without_being_read() -> None:
    sealer = Sealer(Redactor([], b"k" * 32), RULES, 10**9)
    records = [sealer.judge(exchange(*case)) for case in CASES]
    contents = Draft("abc", 7, *split(records), [("r", 5, "eligible", 3)])
    parcels = [parcel(each) for each in records if each is not None]
    fields = headers(contents, [(each.route, each.noise) for each in parcels])
    assert name_of(fields) == ("abc", 7)
    noise = sum(case[2].get("kind") == "noise" for case in CASES)
    assert counted(fields) == {("r", False): len(CASES) - noise, ("r", True): noise}
    assert counted({}) == counted({"Banyan-Counts": "[1"}) == counted({"Banyan-Counts": "[1]"}) == {}
    assert name_of({}) is None
    assert name_of({"Nats-Msg-Id": "x-y"}) is None


@pytest.mark.parametrize("data", [b"", b"x", zstandard.compress(b"x"), zstandard.compress(b"\x93\xa1a\x01\xc0"), pack(Draft("p", 1))[:-4]])
def test_what_is_no_pack_says_so(data: bytes) -> None:
    with pytest.raises(PackError):
        unpack(data, {FORMAT_HEADER: FORMAT})
    with pytest.raises(PackError):
        unpack(pack(Draft("p", 1)), {FORMAT_HEADER: "2"})
