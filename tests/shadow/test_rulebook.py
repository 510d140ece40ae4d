"""Reviewed rules in the database: what they do to reports, gates and states, at once and for the past too."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.db import connection

from gateway.settings.routes import Gate
from shadow import counters, preview, report, rulebook, states, store
from shadow.batch import MAX_COMBINATIONS, MAX_SIGNATURES, Batch
from shadow.batch import OTHER as OTHER_PATHS
from shadow.compare import Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Combination, Rule, Signature, Tally
from shadow.redact import Redactor
from shadow.rejudge import Stored, rejudge
from shadow.rule_source import RuleSource
from shadow.rules import RuleError, checked

NOW = float(int(time.time()) - 100)
BASE = Rules.make(ignore=["$.configured"])
IGNORE = checked("ignore", "$.t")
TERMS = Gate(minimum=1, match=0.3, coverage=0)


def judge(*rules: Any) -> Judge:
    return Judge(Redactor(["$..secret"], b"k" * 32), {"r": BASE}, {"r": list(rules)})


def exchange(left: Any, right: Any, at: float = NOW, number: int = 0) -> Exchange:
    head = b"Content-Type: application/json\r\n"
    one, other = (json.dumps(side).encode() for side in (left, right))
    return Exchange(
        "r", f"q{number}", at, "GET", "/x", b"", b"",
        Answer("legacy", "legacy", 200, head, one, 0.1), Answer("candidate", "new", 200, head, other, 0.1),
    )  # fmt: skip


def see(by: Judge, *pairs: tuple[Any, Any], at: float = NOW) -> None:
    batch = Batch()
    for number, (left, right) in enumerate(pairs):
        judgement = by.judge(exchange(left, right, at, number))
        assert judgement is not None
        batch.judgement(judgement)
    store.write(batch)


def add(rule: Any = IGNORE, **more: Any) -> Rule:
    given: dict[str, Any] = {"author": "kim", "reason": "the time of the answer", "at": NOW + 50} | more
    return rulebook.add("r", rule, BASE, **given)


def figures(since: float = 0.0) -> tuple[int, int, int, int]:
    found = report.summary("r", since)
    assert found.matched == found.matched_outright + found.matched_by_rules + found.matched_by_configuration
    return found.matched_outright, found.matched_by_configuration, found.matched_by_rules, found.mismatched


SAME, TIME, OTHER, BOTH, OWN = (
    ({"a": 1}, {"a": 1}),
    ({"t": 1}, {"t": 2}),
    ({"a": 1}, {"a": 2}),
    ({"t": 1, "a": 1}, {"t": 2, "a": 2}),
    ({"configured": 1}, {"configured": 2}),
)


@pytest.mark.django_db
def test_history_is_counted_anew_when_a_rule_is_made_and_when_it_ends() -> None:
    see(judge(), SAME, TIME, TIME, OTHER, BOTH, OWN)
    assert figures() == (1, 1, 0, 4)
    row = add()
    assert figures() == (1, 1, 2, 2)
    see(judge(IGNORE), SAME, TIME, BOTH, at=NOW + 60)
    assert figures() == (2, 1, 3, 3)
    assert figures(NOW + 60) == (1, 0, 1, 1)
    found = report.summary("r")
    assert report.gate_of(found, minimum=1, match=0.1).matched == found.matched == 6
    rulebook.end("r", row.pk, by="lee", why="it is compared after all", at=NOW + 70)
    assert figures() == (2, 1, 0, 6), "what the rule excused while it held differs again"
    ended = Rule.objects.get()
    assert (ended.ended_by, ended.ended_why, ended.reason) == ("lee", "it is compared after all", "the time of the answer")


@pytest.mark.django_db
def test_a_rule_expires_by_itself() -> None:
    see(judge(), TIME)
    soon = time.time() + 0.3
    add(expires=soon)
    assert figures() == (0, 0, 1, 0)
    source = RuleSource()
    assert source.poll(time.time()) == {"r": [IGNORE]}
    assert source.poll(time.time()) is None
    time.sleep(max(0.0, soon - time.time()) + 0.05)
    assert figures() == (0, 0, 0, 1)
    assert Signature.objects.get().state == "expected"
    assert source.poll(time.time()) == {}
    assert Signature.objects.get().state == "new", "the worker that notices brings the states in line"
    add(at=time.time())
    assert figures() == (0, 0, 1, 0), "one that has expired does not stand in the way of its successor"


@pytest.mark.django_db
def test_a_signature_is_expected_while_a_rule_covers_it() -> None:
    see(judge(), TIME, OTHER)
    Signature.objects.filter(path="$.a").update(state="bug")
    row = add()
    assert dict(Signature.objects.values_list("path", "state")) == {"$.t": "expected", "$.a": "bug"}
    assert [line.path for line in report.summary("r").signatures] == ["$.a"]
    see(judge(IGNORE), TIME, TIME)
    assert Signature.objects.get(path="$.t").count == 3, "what is excused is counted"
    rulebook.end("r", row.pk, by="lee", why="no more", at=NOW + 60)
    assert dict(Signature.objects.values_list("path", "state")) == {"$.t": "new", "$.a": "bug"}
    see(judge(IGNORE), TIME)
    assert Signature.objects.get(path="$.t").count == 3, "a worker that does not know yet adds nothing to an open one"


@pytest.mark.django_db
def test_what_is_excused_from_the_start_is_expected_from_the_start() -> None:
    add()
    see(judge(IGNORE), TIME)
    row = Signature.objects.get()
    assert (row.path, row.state, row.count) == ("$.t", "expected", 1)
    assert row.samples.count() == 0


@pytest.mark.django_db
def test_no_rule_without_reason_or_twice() -> None:
    for more in ({"reason": " "}, {"author": ""}, {"expires": NOW}):
        with pytest.raises(RuleError):
            add(**more)
    with pytest.raises(RuleError, match="the configuration has this rule already"):
        add(checked("ignore", "$.configured"))
    row = add()
    with pytest.raises(RuleError, match=f"rule {row.pk} says the same"):
        add()
    with pytest.raises(RuleError, match="say why"):
        rulebook.end("r", row.pk, by="lee", why=" ", at=NOW)
    with pytest.raises(RuleError, match="r has no rule 9999"):
        rulebook.end("r", 9999, by="lee", why="x", at=NOW)
    with pytest.raises(RuleError, match="other has no rule"):
        rulebook.end("other", row.pk, by="lee", why="x", at=NOW)
    rulebook.end("r", row.pk, by="lee", why="x", at=NOW + 60)
    with pytest.raises(RuleError, match="has ended already"):
        rulebook.end("r", row.pk, by="lee", why="x", at=NOW + 61)
    assert add().pk != row.pk


@pytest.mark.django_db
def test_a_rule_that_something_else_wrote_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Rule.objects.create(route="r", kind="ignore", path="no path", author="x", reason="x", created=NOW)
    Rule.objects.create(route="r", kind="later", path="$.x", author="x", reason="x", created=NOW)
    add()
    source = RuleSource()
    assert source.poll(time.time()) == {"r": [IGNORE]}
    assert "is passed over" in caplog.text
    see(judge(), TIME)
    assert figures() == (0, 0, 1, 0)


@pytest.mark.django_db
def test_combinations_are_bounded_and_what_has_no_room_never_becomes_a_match() -> None:
    pairs = [({f"k{number}": 1}, {f"k{number}": 2}) for number in range(MAX_COMBINATIONS + 20)]
    for start in range(0, len(pairs), 100):
        see(judge(), *pairs[start : start + 100])
    assert Combination.objects.count() == MAX_COMBINATIONS
    everything = checked("ignore", "$.*")
    row = add(everything)
    assert figures() == (0, 0, MAX_COMBINATIONS, 20)
    assert report.summary("r").untold == 20
    see(judge(everything), *pairs, at=NOW + 60)
    assert figures(NOW + 60) == (0, 0, len(pairs), 0), "what is excused whole is a match as long as the rules stay"
    assert Combination.objects.count() <= MAX_COMBINATIONS + 1
    rulebook.end("r", row.pk, by="lee", why="x", at=NOW + 70)
    assert figures() == (0, 0, 0, 2 * len(pairs))


@pytest.mark.django_db
def test_combinations_go_with_their_counts() -> None:
    see(judge(), TIME)
    store.roll_up(NOW + 7200)
    add()
    assert figures() == (0, 0, 1, 0), "minutes are counted like seconds"
    assert Tally.objects.filter(name__startswith=counters.COMBINATION, width=60).count() == 1
    store.purge(NOW + 3700, 50)
    assert not Combination.objects.exists()
    assert Rule.objects.count() == 1


def looked(rule: Any, **more: Any) -> preview.Preview:
    return preview.of_adding("r", rule, BASE, **({"terms": TERMS} | more))


@pytest.mark.django_db
def test_a_preview_says_what_comes_true() -> None:
    see(judge(), *[SAME] * 5, *[TIME] * 20, OTHER, BOTH)
    found = looked(IGNORE)
    assert (found.matches_gained, found.before.matched, found.after.matched) == (20, 5, 25)
    assert [(hidden.kind, hidden.path, hidden.exchanges, hidden.state) for hidden in found.hidden] == [("value", "$.t", 21, "new")]
    assert [gate.open for gate in (found.gate_before, found.gate_after)] == [2, 1]
    assert [len(gate.reasons) for gate in (found.gate_before, found.gate_after)] == [2, 1], "of the match rate, and of what is open"
    assert (found.samples, found.samples_matching, found.of) == (3, 2, 21), (
        "a write keeps three of a signature: here, one of them shows both"
    )
    assert found.examples[0].differences == [{"kind": "value", "path": "$.t", "legacy": 1, "candidate": 2}]
    assert figures() == (5, 0, 0, 22), "a preview changes nothing"
    row = add(rested_on=found.rested_on())
    assert report.summary("r").matched == found.after.matched
    assert row.rested_on["exchanges"] == 20
    undone = preview.of_ending("r", row, BASE, terms=TERMS)
    assert (undone.matches_gained, [hidden.path for hidden in undone.hidden]) == (-20, ["$.t"])


@pytest.mark.django_db
def test_of_a_rule_by_values_samples_tell_and_counts_are_left_alone() -> None:
    rule = checked("tolerance", "$.n", "0.5")
    see(judge(), ({"n": 1.0}, {"n": 1.2}), ({"n": 1.0}, {"n": 1.4}), ({"n": 1.0}, {"n": 9}))
    found = looked(rule)
    assert not found.counted
    assert (found.samples, found.samples_matching, found.of, found.matches_gained) == (3, 2, 3, 0)
    assert found.settled == ()
    add(rule, rested_on=found.rested_on())
    assert figures() == (0, 0, 0, 3), "that some samples would match says nothing of what is not kept"
    assert Signature.objects.get().state == "new"
    see(judge(rule), ({"n": 1.0}, {"n": 1.2}), at=NOW + 60)
    assert figures() == (0, 0, 1, 3)


@pytest.mark.django_db
def test_a_signature_whose_samples_are_all_excused_is_expected_until_it_is_seen_again() -> None:
    rule = checked("tolerance", "$.n", "0.5")
    see(judge(), ({"n": 1.0}, {"n": 1.2}), ({"n": 1.0}, {"n": 1.4}))
    found = looked(rule)
    assert found.settled == (("value", "$.n"),)
    add(rule, rested_on=found.rested_on())
    assert Signature.objects.get().state == "expected"
    see(judge(rule), ({"n": 1.0}, {"n": 7}), at=NOW + 200)
    rulebook.settle(NOW + 201)
    assert Signature.objects.get().state == "new"


@pytest.mark.django_db
def test_samples_without_their_bodies_are_told_as_such() -> None:
    see(judge(), ({"n": 1, "x": "y" * 300_000}, {"n": 2, "x": "y" * 300_000}))
    found = looked(checked("tolerance", "$.n", "5"))
    assert (found.samples, found.samples_unread, found.settled) == (0, 1, ())


@pytest.mark.django_db
def test_what_redaction_left_is_judged_as_it_is() -> None:
    see(judge(), ({"secret": 1, "t": 1}, {"secret": 2, "t": 1}))
    assert Signature.objects.get().path == "$.secret"
    assert looked(checked("tolerance", "$.secret", "5")).samples_matching == 0, "a hash is no number"
    assert looked(checked("ignore", "$.secret")).samples_matching == 1


@pytest.mark.django_db
def test_what_several_rules_hide_together_is_told() -> None:
    see(judge(), TIME)
    add()
    found = looked(checked("ignore", "$..t"))
    assert found.matches_gained == 0
    assert found.already == ("ignore $.t",)


@pytest.mark.django_db
def test_kinds_that_no_rule_covers_stay() -> None:
    batch = Batch()
    exchanged = exchange({}, {})
    exchanged.shadow.status = 500
    judgement = judge().judge(exchanged)
    assert judgement is not None
    batch.judgement(judgement)
    store.write(batch)
    add(checked("ignore", "$"))
    assert figures() == (0, 0, 0, 1)
    assert Signature.objects.get().kind == Kind.STATUS


@pytest.mark.django_db
def test_a_signature_that_is_seen_in_spite_of_its_rule_is_new_again_without_anybody_doing_anything() -> None:
    rule = checked("tolerance", "$.n", "0.5")
    source = RuleSource()
    see(judge(), ({"n": 1.0}, {"n": 1.2}), ({"n": 1.0}, {"n": 1.4}))
    add(rule, rested_on=looked(rule).rested_on())
    source.poll(NOW + 20)
    assert Signature.objects.get().state == "expected"
    see(judge(rule), ({"n": 1.0}, {"n": 7}), at=NOW + 200)
    assert source.poll(NOW + 201) is None, "the rules are the same"
    assert Signature.objects.get().state == "new"


@pytest.mark.django_db
def test_a_bug_stays_one_whatever_rules_others_make() -> None:
    see(judge(), TIME, OTHER)
    first = add()
    row = Signature.objects.get(path="$.t")
    assert row.state == "expected"
    states.change(row.pk, "bug", by="lee", why="it is none of the clock's")
    add(checked("unordered", "$.tags"))
    row.refresh_from_db()
    assert row.state == "bug"
    rulebook.end("r", first.pk, by="kim", why="no", at=time.time())
    row.refresh_from_db()
    assert row.state == "bug"
    again = add(at=time.time() + 5)
    row.refresh_from_db()
    assert row.state == "expected", "somebody made a rule for it after that"
    rulebook.end("r", again.pk, by="kim", why="no", at=time.time() + 6)
    row.refresh_from_db()
    assert row.state == "bug", "nobody has said that it is fixed"
    assert [(change.old, change.new, change.by) for change in states.history(row.pk)][-1] == ("expected", "bug", "kim")


@pytest.mark.django_db
def test_what_somebody_decides_while_states_are_brought_in_line_stays() -> None:
    """A rule for two signatures; of one of them somebody says in the same moment that it is a bug."""
    see(judge(), TIME, ({"t": {"x": 1}}, {"t": {"x": 2}}))
    rulebook.add("r", IGNORE, BASE, author="kim", reason="the clock", at=time.time(), settling=False)
    row = Signature.objects.get(path="$.t")
    begun: list[str] = []

    def meanwhile(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        done = execute(sql, params, many, context)
        if not begun and sql.startswith("SELECT") and 'FROM "shadow_signature"' in sql:
            begun.append(sql)
            states.change(row.pk, "bug", by="lee", why="it is none of the clock's")
        return done

    with connection.execute_wrapper(meanwhile):
        assert rulebook.settle(time.time(), ["r"]) == 1
    assert begun
    assert {each.path: each.state for each in Signature.objects.all()} == {"$.t": "bug", "$.t.x": "expected"}
    assert [(each.new, each.by) for each in states.history(row.pk)] == [("bug", "lee")]


@pytest.mark.django_db
def test_what_rules_excuse_takes_no_place_from_what_they_do_not() -> None:
    rule = checked("ignore", "$.by_user.*")
    see(judge(rule), *[({"by_user": {f"u{number}": 1}}, {"by_user": {f"u{number}": 2}}) for number in range(MAX_SIGNATURES)])
    assert Signature.objects.filter(state="expected").count() == MAX_SIGNATURES // 2
    assert not Signature.objects.filter(path=OTHER_PATHS).exists()
    see(judge(rule), ({"total": 1}, {"total": 2}))
    assert Signature.objects.get(path="$.total").state == "new"
    store.purge(NOW + 100, 50)
    assert not Signature.objects.exists()


@pytest.mark.django_db
def test_a_previews_gate_is_the_routes() -> None:
    long_ago = NOW - 5 * 86400
    see(judge(), *[SAME] * 400, at=long_ago)
    see(judge(), *[SAME] * 5, *[TIME] * 20)
    found = looked(IGNORE, terms=Gate(minimum=1, match=0.9, coverage=0))
    assert found.before.compared == 425
    assert found.gate_before.compared == 25, "of the gate's own window"


@pytest.mark.django_db
def test_a_reason_that_is_too_long_is_refused_and_one_in_the_database_breaks_nothing() -> None:
    with pytest.raises(RuleError, match="may have 1900 characters; this one has 1901"):
        add(reason="x" * 1901)
    see(judge(), TIME)
    made = add(reason="x" * 1900)
    Rule.objects.filter(pk=made.pk).update(reason="x" * 5000)  # as another version might have let it in
    Signature.objects.update(state="new")
    source = RuleSource()
    assert list(source.poll(NOW + 60) or {}) == ["r"]
    assert Signature.objects.get().state == "expected"
    with pytest.raises(RuleError, match="may have 1900 characters"):
        rulebook.end("r", made.pk, by="kim", why="y" * 1901, at=NOW + 61)


@pytest.mark.django_db
def test_what_a_rule_by_values_settled_is_open_again_in_the_preview_of_its_end() -> None:
    rule = checked("tolerance", "$.n", "0.5")
    see(judge(), ({"n": 1.0}, {"n": 1.2}), ({"n": 1.0}, {"n": 1.4}), *[SAME] * 5)
    adding = looked(rule)
    assert [gate.open for gate in (adding.gate_before, adding.gate_after)] == [1, 0]
    row = add(rule, rested_on=adding.rested_on())
    assert Signature.objects.get().state == "expected"
    assert report.gate_of(report.summary("r"), minimum=1, match=0).open == adding.gate_after.open
    ending = preview.of_ending("r", row, BASE, terms=TERMS)
    assert [(line.kind, line.path, line.state) for line in ending.after.signatures] == [("value", "$.n", "new")]
    assert [gate.open for gate in (ending.gate_before, ending.gate_after)] == [0, 1]
    wider = add(checked("ignore", "$.n"))
    assert preview.of_ending("r", row, BASE, terms=TERMS).gate_after.open == 0, "another rule is a reason too"
    rulebook.end("r", wider.pk, by="lee", why="no more", at=NOW + 60)
    rulebook.end("r", row.pk, by="lee", why="no more", at=NOW + 60)
    assert report.gate_of(report.summary("r"), minimum=1, match=0).open == ending.gate_after.open


@pytest.mark.django_db
def test_what_was_a_bug_is_one_in_the_preview_of_its_rules_end() -> None:
    see(judge(), TIME)
    Signature.objects.update(state="bug", state_since=NOW)
    row = add()
    ending = preview.of_ending("r", row, BASE, terms=TERMS)
    assert [line.state for line in ending.after.signatures] == ["bug"]
    later = preview.of_ending("r", row, BASE, terms=TERMS, since=NOW + 30)
    assert ([line.state for line in later.after.signatures], [line.state for line in later.after.unmended]) == ([], ["bug"])
    rulebook.end("r", row.pk, by="lee", why="no more", at=NOW + 60)
    assert Signature.objects.get().state == "bug"


@pytest.mark.django_db
def test_samples_for_which_there_is_no_time_are_judged_under_none_of_the_rules() -> None:
    see(judge(), *[({"n": 1.0}, {"n": 1.0 + number / 100}) for number in range(1, 4)])
    rules = [Rules.make(), Rules.make(tolerance={"$.n": 1})]
    samples = [Stored(row.pk, row.method, row.target, row.legacy, row.candidate) for row in preview.Sample.objects.all()]
    assert [(found.judged, found.unread, len(found.matching)) for found in rejudge(samples, *rules)] == [(3, 0, 0), (3, 0, 3)]
    assert [(found.judged, found.unread, len(found.matching)) for found in rejudge(samples, *rules, seconds=0)] == [(0, 3, 0), (0, 3, 0)]


def test_a_preview_of_samples_that_mean_harm_ends() -> None:
    """Two hundred of them, each of which takes most of a second."""
    page = Judge(Redactor([], b"k" * 32), {}).judge(
        Exchange(
            "r", "q", NOW, "GET", "/x", b"", b"",
            Answer("legacy", "legacy", 200, b"Content-Type: text/html\r\n", b"<b></b>" * 35_000, 0.1),
            Answer("candidate", "new", 200, b"Content-Type: text/html\r\n", b"<b></b>" * 34_999 + b"<b>x</b>", 0.1),
        )
    )  # fmt: skip
    assert page is not None
    assert page.sample is not None
    sample = page.sample
    samples = [Stored(number, "GET", "/x", sample.legacy, sample.candidate) for number in range(200)]
    one, other = rejudge(samples, Rules.make(), Rules.make(unordered=["$..*"]), seconds=1)
    assert one.judged == other.judged >= 1
    assert one.judged + one.unread == 200
    assert one.unread > 0
