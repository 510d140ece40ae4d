"""From an exchange to a judgement: whatever an upstream sends, there is one, and no secret in it."""

from __future__ import annotations

import gzip
import json
import pickle
from typing import Any

import pytest

from gateway.secret_patterns import KINDS
from shadow.budget import BudgetedJudge
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import MAX_TEXT, Judge, Judgement
from shadow.redact import Redactor

JSON = b"Content-Type: application/json\r\n"
JUDGE = Judge(Redactor(["set-cookie", "$..password", "$..email"], b"k" * 32), {"r": Rules.make(ignore=["$..t"], key={"$.items": "id"})})


def exchange(legacy: Any, candidate: Any, **more: Any) -> Exchange:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    heads = more.pop("heads", (JSON, JSON))
    one = Answer("legacy", "legacy", more.pop("legacy_status", 200), heads[0], bodies[0], 0.01)
    other = Answer(
        "candidate", "new", more.pop("candidate_status", 200), heads[1], bodies[1], 0.02, more.pop("error", ""), more.pop("skipped", "")
    )
    served, shadow = (other, one) if more.pop("served", "legacy") == "candidate" else (one, other)
    return Exchange("r", "id", 5.0, "GET", "/x?password=secret", b"", b"", served, shadow, **more)


def judge(legacy: Any, candidate: Any, **more: Any) -> Judgement:
    judgement = JUDGE.judge(exchange(legacy, candidate, **more))
    assert judgement is not None
    return judgement


def test_legacy_is_the_reference_whichever_was_served() -> None:
    for served in ("legacy", "candidate"):
        judgement = judge({"a": 1}, {"b": 1}, served=served)
        assert set(judgement.signatures) == {("missing", "$.a"), ("extra", "$.b")}
        assert judgement.sample is not None
        assert (judgement.sample.served, judgement.sample.legacy["text"]) == (served, '{"a": 1}')


def test_no_secret_gets_through() -> None:
    cookie = b"Set-Cookie: session=secret\r\n"
    judgement = judge({"password": "secret", "a": 1}, {"password": "secret2", "a": 2}, heads=(JSON + cookie, JSON + cookie))
    assert set(judgement.signatures) == {("value", "$.password"), ("value", "$.a")}
    assert "secret" not in repr(judgement)


PAGE = b"Content-Type: text/html\r\n"


@pytest.mark.parametrize("head", [PAGE, b"Content-Type: text/plain\r\n", JSON])
def test_of_what_has_no_fields_the_place_is_told_and_nothing_of_what_stands_there(head: bytes) -> None:
    bodies = [b"<p title=secret1 id=email>secret2</p>\n<p>x</p>", b"<p title=secret3 id=email>secret2</p>\n<p>secret4</p>"]
    judgement = judge(*bodies, heads=(head, head))
    assert "secret" not in repr(judgement)
    assert {kind for kind, _ in judgement.signatures} == {"value"}
    assert judgement.sample is not None
    places = {difference["path"] for difference in judgement.sample.differences}
    assert places == ({"$[0].p.attributes.title", "$[1].p.content[0]"} if head == PAGE else {"$[0]", "$[1]"})
    for difference in judgement.sample.differences:
        assert difference["legacy"] != difference["candidate"]
        assert all(difference[side].startswith("redacted:") for side in ("legacy", "candidate"))


@pytest.mark.parametrize("head", [PAGE, b"Content-Type: text/plain\r\n"])
def test_a_page_in_which_no_redacted_name_stands_is_kept_without_what_looks_like_a_secret(head: bytes) -> None:
    judge = Judge(Redactor(["$..password"], b"k" * 32, KINDS), {})
    bodies = [b"<p>x</p>\n<p>%s 4111 1111 1111 1111</p>" % word for word in (b"one", b"two")]
    judgement = judge.judge(exchange(*bodies, heads=(head, head)))
    assert judgement is not None
    assert judgement.sample is not None
    assert [difference["path"] for difference in judgement.sample.differences] == ["$[1].p.content[0]" if head == PAGE else "$[1]"]
    assert "one redacted:card:" in judgement.sample.legacy["text"]
    assert "1111 1111" not in repr(judgement)


@pytest.mark.parametrize("more", [b"<i>password</i>", b"<i>4111&#x2009;1111&#x2009;1111&#x2009;1111</i>"])
def test_a_page_of_which_something_cannot_be_taken_out_is_not_kept(more: bytes) -> None:
    judge = Judge(Redactor(["$..password"], b"k" * 32, KINDS), {})
    veiled = judge.judge(exchange(b"<p>one</p>", b"<p>two</p>" + more, heads=(PAGE, PAGE)))
    assert veiled is not None
    assert veiled.sample is not None
    assert veiled.sample.candidate["text"] is None
    assert [difference["path"] for difference in veiled.sample.differences] == ["$[0].p.content[0]", "$[1]"]
    for difference in veiled.sample.differences:
        assert difference["candidate"].startswith("redacted:")
        assert difference["legacy"] is None or difference["legacy"].startswith("redacted:")


def test_files_that_differ_are_a_mismatch_though_nothing_of_them_is_kept() -> None:
    head = b"Content-Type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="secret"\r\n\r\n%s\r\n--x--\r\n'
    judgement = judge(part % b"secret1", part % b"secret2", heads=(head, head))
    assert judgement.signatures == (("body", "$"),)
    assert "secret" not in repr(judgement)


def test_a_redirect_is_resolved_against_what_the_client_asked() -> None:
    resolving = Judge(Redactor([], b"k" * 32), {"r": Rules.make(redirects="resolved")})
    for served in ("legacy", "candidate"):
        made = exchange(b"", b"", heads=(b"Location: /a\r\n", b"Location: http://shop.test/a\r\n"), served=served)
        made.head = b"Host: shop.test\r\n"
        judgement = resolving.judge(made)
        assert judgement is not None
        assert judgement.outcome == "match"
        made.head = b"Host: other.test\r\n"
        judgement = resolving.judge(made)
        assert judgement is not None
        assert judgement.signatures == (("header", "location"),)


def test_a_sample_keeps_the_request_whatever_the_comparison_came_to() -> None:
    asked = exchange({"a": 1}, {"a": 2})
    asked.head, asked.body = b"Host: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n", b'{"password": "secret", "b": 1}'
    compared, cut_short = JUDGE.judge(asked), JUDGE.inconclusive(asked)
    assert compared is not None
    for sample in (compared.sample, cut_short.sample):
        assert sample is not None
        assert sample.request is not None
        assert sample.request["headers"] == [["host", "h"], ["content-type", "application/json"]]
        assert json.loads(sample.request["text"])["b"] == 1
        assert "secret" not in repr(sample)
    same = JUDGE.judge(exchange({"a": 1}, {"a": 1}))
    assert same is not None
    assert same.sample is None


def test_what_is_over_budget_is_a_mismatch_with_digests() -> None:
    judgement = JUDGE.inconclusive(exchange({"password": "secret", "a": 1}, {"password": "secret", "a": 2}))
    assert judgement.outcome == "mismatch"
    assert judgement.signatures == (("inconclusive", "over_budget"),)
    assert judgement.sample is not None
    assert judgement.sample.legacy["digest"] != judgement.sample.candidate["digest"]
    assert judgement.sample.legacy["digest"] in judgement.sample.differences[0]["legacy"]
    assert judgement.sample.legacy["size"] == 30
    assert "secret" not in repr(judgement)


def test_equal_bytes_are_a_match_whatever_other_headers_say() -> None:
    heads = (JSON + b"Date: a\r\nX-Email: b\r\n", JSON + b"Date: c\r\n")
    assert judge(b"{not json", b"{not json", heads=heads) == Judgement("r", 5.0, False, "match")
    assert judge({}, {}, heads=(JSON, b"Content-Type: text/html\r\n")).signatures == (("header", "content-type"),)
    packed = gzip.compress(b"{}")
    assert judge(packed, packed, heads=(JSON + b"Content-Encoding: gzip\r\n", JSON)).outcome == "mismatch"


def test_what_was_not_kept_is_skipped() -> None:
    assert judge({}, b"", skipped="too_large") == Judgement("r", 5.0, False, "skipped", "too_large")
    assert judge(b"", {}, legacy_status=0).reason == "reference_unanswered"
    assert judge({}, b"", candidate_status=0, error="refused").signatures == (("unanswered", "refused"),)


def test_noise_has_signatures_and_no_sample() -> None:
    judgement = judge({"a": 1}, {"a": 2}, kind="noise")
    assert (judgement.noise, judgement.signatures, judgement.sample) == (True, (("value", "$.a"),), None)
    assert judge({}, b"", candidate_status=0, error="timeout", kind="noise").outcome == "skipped"


def test_a_long_body_is_kept_in_part_and_says_so() -> None:
    sample = judge({"a": "x" * MAX_TEXT}, {"a": "y"}).sample
    assert sample is not None
    assert (len(sample.legacy["text"]), sample.legacy["cut"], sample.candidate["cut"]) == (MAX_TEXT, True, False)


HOSTILE = [
    (b"Location: //[\r\n", b"x"),
    (b"Location: http://[::1?email=%ff\r\nno colon\r\n: \r\n", b"x"),
    (b"Content-Type: ;;=;charset=\x00\r\n", b"\xff"),
    (b"Content-Type: text/html; charset=idna\r\n", b"x." * 100_000),
    (b"Content-Type: text/html; charset=zlib\r\n", b"\xff"),
    (b"Content-Type: text/html; charset=unicode_escape\r\n", b"\\q"),
    (b"Content-Type: text/html; charset=../../x\r\n", b"\xff"),
    (b"Content-Encoding: gzip, deflate, br, zstd, gzip\r\n", b"x"),
    (b"Content-Encoding: deflate, gzip\r\n", gzip.compress(b"")),
    (b"Content-Encoding: br\r\n", b""),
    (b"Content-Encoding: br\r\n", b"\x00"),
    (b"Content-Encoding: zstd\r\n", b"\x28\xb5\x2f\xfd"),
    (b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", gzip.compress(gzip.compress(b"{}"))),
    (JSON, b"[" * 100_000),
    (JSON, b'{"password": ' * 90 + b"1" + b"}" * 90),
    (JSON, b"\xef\xbb\xbf{}"),
    (JSON, b'{"a": "\\ud83d\\ude00"}'),
    (JSON, b'"\\udc00"'),
    (b"Content-Type: application/x-www-form-urlencoded\r\n", b"&".join(b"a=%00" for _ in range(20_000))),
    (b"Content-Type: application/x-www-form-urlencoded\r\n", b"email=%ff&=&"),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_answers_end_in_a_judgement(number: int) -> None:
    head, body = HOSTILE[number]
    for other_head, other_body in (HOSTILE[0], (JSON, b"{}"), (head, body + b" ")):
        judgement = judge(body, other_body, heads=(head, other_head))
        assert judgement.outcome in ("match", "mismatch")
        json.dumps(judgement.sample and [judgement.sample.legacy, judgement.sample.candidate, judgement.sample.differences]).encode()


def test_what_is_large_once_unpacked_is_left_to_the_process_that_can_be_ended() -> None:
    packed = gzip.compress(json.dumps(["x"] * 100_000).encode())
    heads = (JSON + b"Content-Encoding: gzip\r\n", JSON)
    assert len(packed) < 10_000
    assert JUDGE.judge(exchange(packed, {}, heads=heads), 64 * 1024) is None
    assert JUDGE.judge(exchange(packed, {}, heads=heads)) is not None
    assert JUDGE.judge(exchange(packed, packed, heads=(heads[0], heads[0])), 64) is not None, "equal bytes need no unpacking"


def test_what_is_small_and_much_work_is_left_to_the_process_that_can_be_ended() -> None:
    ruled = Judge(Redactor([], b"k" * 32), {"r": Rules.make(unordered=["$..*", "$"], ignore=["$..x"])})
    nested: Any = [1]
    for _ in range(95):
        nested = [nested, 0, 1]
    made = exchange(nested, [nested, 2])
    assert ruled.judge(made, 64 * 1024) is None
    judgement = ruled.judge(made)
    assert judgement is not None
    assert judgement.outcome == "mismatch"


def test_the_child_judges_like_the_parent_and_is_replaced_when_it_is_ended() -> None:
    pickle.dumps(JUDGE)
    budgeted = BudgetedJudge(JUDGE, seconds=20)
    try:
        for _ in range(2):
            assert budgeted.judge(exchange({"a": 1}, {"a": 2})) == judge({"a": 1}, {"a": 2})
        assert budgeted._process is not None
        first = budgeted._process.pid
        budgeted._process.kill()
        budgeted._process.join()
        # It died while it waited, and that says nothing about what comes next.
        assert budgeted.judge(exchange({"a": 1}, {"a": 2})) == judge({"a": 1}, {"a": 2})
        assert budgeted._process.pid != first
        budgeted._seconds = 0.0
        late = budgeted.judge(exchange({"password": "secret"}, [], candidate_status=404))
        assert late.signatures == (("authorization", "200->404"),), "what the heads tell is told"
    finally:
        budgeted.close()


def test_what_takes_too_much_memory_is_inconclusive_and_the_child_is_replaced() -> None:
    budgeted = BudgetedJudge(JUDGE, seconds=60, memory=48 * 1024 * 1024)
    try:
        assert budgeted.judge(exchange({"a": 1}, {"a": 2})) == judge({"a": 1}, {"a": 2})
        first = budgeted._process.pid if budgeted._process else None
        large = b"[" + b",".join(b'{"k%d":[]}' % number for number in range(400_000)) + b"]"
        assert budgeted.judge(exchange(large, large + b" ")).signatures == (("inconclusive", "over_budget"),)
        assert budgeted.judge(exchange({"a": 1}, {"a": 2})) == judge({"a": 1}, {"a": 2})
        assert (budgeted._process.pid if budgeted._process else None) != first
    finally:
        budgeted.close()


def test_a_request_whose_body_may_take_long_to_read_is_judged_within_a_budget() -> None:
    asked = exchange({"a": 1}, {"a": 2})
    asked.head, asked.body = b"Host: h\r\nContent-Type: application/json\r\n", b'{"b": 1}'
    assert JUDGE.judge(asked, 64 * 1024) is not None
    asked.head, asked.body = asked.head + b"Content-Encoding: gzip\r\n", gzip.compress(b"4 " * 100_000)
    assert len(asked.body) < 1000
    assert JUDGE.judge(asked, 64 * 1024) is None, "not in the thread that everybody waits for"
    cut_short = JUDGE.inconclusive(asked).sample
    assert cut_short is not None
    assert cut_short.request is not None
    assert (cut_short.request["text"], cut_short.request["size"], cut_short.request["note"]) == (None, len(asked.body), "over_budget")
    assert cut_short.request["headers"][0] == ["host", "h"]
