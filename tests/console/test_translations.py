"""The catalogue of the console's Korean is what the sources say, whole and sound; and what other rooms say is recognised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.catalog import Message
from django.utils.translation import gettext, override

from console import glossary, translations
from console.admin_port import AdminPort, GatewayError
from console.audit import NOBODY
from console.echo import MESSAGES, echo
from flags import problems
from flags.snapshot import Snapshot
from gateway.guard.trips import Outcome
from shadow import counters, curl, rulebook, suggest
from shadow.compare import Kind
from shadow.gate import gate
from shadow.guard import Comparisons, Figures, Limits, judge
from shadow.models import Rule, Signature
from shadow.normalise import Form
from shadow.rules import RuleError, checked

PO = translations.source("ko")
COMMAND = "python -m console.translations"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w+\}|</?\w+[^>]*>")
HANGUL = re.compile(r"[가-힣]")


def catalogue() -> list[Message]:
    return [message for message in translations.read("ko") if message.id]


def texts(said: str | tuple[str, ...] | list[str] | None) -> list[str]:
    return [said] if isinstance(said, str) else list(said or ())


def test_the_catalogue_has_every_message_of_the_sources_and_no_other() -> None:
    kept = translations.read("ko")
    wanted = set(translations.messages())
    found = {(message.context or "", message.id if isinstance(message.id, str) else tuple(message.id)) for message in kept if message.id}
    assert not wanted - found, f"not in django.po: {sorted(map(str, wanted - found))}; {COMMAND} adds them, for you to translate"
    assert not found - wanted, f"in django.po, and said nowhere: {sorted(map(str, found - wanted))}; {COMMAND} drops them"
    assert not kept.obsolete, f"{COMMAND} drops what is obsolete"
    assert translations.po(translations.fresh(kept)) == PO.read_bytes(), f"django.po is out of date: {COMMAND} mends it"


def test_every_message_is_translated_and_none_is_doubtful() -> None:
    empty = [message.id for message in catalogue() if not all(texts(message.string) or [""])]
    assert not empty, f"to be translated in {PO}, then {COMMAND}: {empty}"
    fuzzy = [message.id for message in catalogue() if "fuzzy" in message.flags]
    assert not fuzzy, f"look at these in {PO}, drop their `fuzzy`, then {COMMAND}: {fuzzy}"


def test_what_is_compiled_is_what_is_written() -> None:
    assert translations.mo(translations.read("ko")) == PO.with_suffix(".mo").read_bytes(), f"{COMMAND} compiles django.mo"


def test_a_translation_has_the_placeholders_and_tags_of_its_message() -> None:
    wrong = [
        (texts(message.id)[-1], korean)
        for message in catalogue()
        for korean in texts(message.string)
        if set(PLACEHOLDER.findall(korean)) != set(PLACEHOLDER.findall(texts(message.id)[-1]))
    ]
    assert wrong == []


def test_no_particle_follows_a_placeholder_that_would_be_wrong_half_the_time() -> None:
    """Which of 을 and 를 is right depends on what stands there."""
    particle = re.compile(r"(?:%\(\w+\)s|\{\w+\})(?:[을를은는과와]|이(?!\()|가(?!\w)|으?로)(?:\s|$)")
    assert [korean for message in catalogue() for korean in texts(message.string) if particle.search(korean)] == []


def test_a_message_that_is_new_or_gone_is_seen(tmp_path: Path) -> None:
    """Else the tests above would hold nothing."""
    (tmp_path / "templates").mkdir()
    many = "{% blocktranslate count n=1 %}{{ n }} one{% plural %}{{ n }} many{% endblocktranslate %}"
    (tmp_path / "templates" / "page.html").write_text('{% load i18n %}\n  {% translate "Zwei" %}\n    ' + many)
    (tmp_path / "views.py").write_text('from x import gettext as _, pgettext\n\na = _("Eins")\nb = pgettext("there", "Drei")\n')
    found = translations.messages(tmp_path)
    assert set(found) == {("", "Eins"), ("", "Zwei"), ("there", "Drei"), ("", ("%(n)s one", "%(n)s many"))}
    made = translations.fresh(translations.read("ko"), tmp_path)
    assert made.get("Eins") is not None
    assert made.get("Routes") is None
    assert b"Eins" not in translations.mo(made), "what has no Korean is left out: English is shown"


def spoken() -> Iterator[str]:
    """Sentences, each from the room that makes it."""
    yield from gate(90, 100, minimum=1000, match=0.999, coverage=0.5, least_coverage=0.9, signatures=["value $.a"]).reasons
    yield from gate(100, 100, minimum=10, match=0.999, signatures=["a", "b", "c", "d"]).reasons
    yield from gate(100, 100, minimum=10, match=0.9, stale=100).reasons
    limits = Limits(errors=0.01, latency=1.5, mismatch=0.01, minimum=50)
    bad = Figures(requests=200, errors=100, bad_seconds=30)
    for legacy in (Figures(requests=200), None):
        verdict = judge(bad, legacy, limits)
        assert verdict.reason == "errors"
        yield f"{verdict.text} within 60 s; legacy as asked beside"
    verdict = judge(Figures(requests=200), None, limits, compared=Comparisons(matched=100, mismatched=100, bad_seconds=30))
    yield f"{verdict.text} within 60 s; legacy as it was 90 s ago"
    request = {"headers": [["x", "redacted:1"]], "text": None, "size": 5, "note": "", "digest": "d", "form": "text"}
    yield from curl.notes("GET", None)
    yield from curl.notes("GET", request)
    yield from curl.notes("HEAD", request)
    yield from curl.notes("POST", {**request, "text": "x", "form": "opaque"})
    document = (
        b'{"version": 1, "features": [{"name": "odd", "enabled": true, "strategies": [{"name": "mine"}]},'
        b' {"name": "self", "enabled": true, "strategies": [], "dependencies": [{"feature": "self"}]},'
        b' {"name": "orphan", "enabled": true, "strategies": [], "dependencies": [{"feature": "nobody"}]},'
        b' {"name": "part", "enabled": true, "strategies": [{"name": "default", "segments": [7]}]}]}'
    )
    for source in ("file", "unleash"):
        snapshot = Snapshot("1", document, source, 0.0)
        yield from (problem.text for problem in problems.find(snapshot, ["odd", "self", "orphan", "part", "missing"]))
    for kind, path, value in (
        ("zap", "$.a", ""),
        ("ignore", "$.a", "1"),
        ("pattern", "$.a", ""),
        ("header", "a b", ""),
        ("ignore", "$." + "a" * 999, ""),
    ):
        with pytest.raises(RuleError) as refused:
            checked(kind, path, value)
        yield str(refused.value)
    with pytest.raises(GatewayError) as away:
        AdminPort("127.0.0.1:1").flags()
    yield str(away.value)
    yield rulebook.ended_why(7, "undone: new to bug, by kim")
    yield NOBODY


def test_what_other_rooms_say_is_said_in_korean() -> None:
    said = list(spoken())
    assert len(said) > 20
    with override("ko"):
        left = [sentence for sentence in said if not HANGUL.search(echo(sentence))]
        assert left == []
        assert echo(rulebook.ended_why(7, "undone: new to bug, by kim")) == "규칙 7 종료: 되돌림: 신규 → 버그, 처리자 kim"
        assert echo("4 signatures still open: value $.a, header age, new $, b and 1 more").endswith(
            "값 $.a, 헤더 age, new $, b, 그 밖에 1개"
        )
        assert echo("rule of thumb: it is noise") == "rule of thumb: it is noise"
        assert echo("<b>; \u202e") == "<b>; \u202e"


def test_foreign_text_costs_little_however_it_is_made() -> None:
    with override("ko"):
        assert echo("undone: " * 400 + "x").endswith("undone: x"), "and no deeper than it has to"
        for text in (" differs in" * 300, "rule 1: " * 400, "; " * 1900, "a" * 4000, "errors: candidate (" * 200):
            assert len(echo(text)) > 0


def test_english_stays_as_it_was_written() -> None:
    for sentence in spoken():
        assert echo(sentence) == sentence


def test_the_evidence_of_a_suggestion_is_recognised() -> None:
    rule = checked("ignore", "$.a")
    made = suggest.Suggestion(rule, "$.a", 40, 40, 39, 0.9, 1.0, 100, 98, explained=True)
    with override("ko"):
        assert echo(made.sentence).startswith("$.a: 레거시 응답 쌍의 98 %에서")


@pytest.mark.parametrize("message", MESSAGES)
def test_no_message_is_taken_for_another(message: str) -> None:
    """The more particular stands before the more general."""
    names = re.findall(r"%\((\w+)\)s", message)
    values = {name: str(7 + place) for place, name in enumerate(names)}
    with override("ko"):
        assert echo(message % values if names else message) == (gettext(message) % values if names else gettext(message))


def test_every_word_that_is_stored_has_a_name() -> None:
    assert set(glossary.KINDS) == set(map(str, Kind))
    assert set(glossary.STATES) == set(Signature.State.values)
    assert set(glossary.ORIGINS) == set(Rule.Origin.values)
    assert set(glossary.FORMS) == set(map(str, Form))
    assert set(glossary.OUTCOMES) == set(get_args(Outcome))
    assert {name.partition(".")[2] for name in counters.AFTER_CAPTURE} <= set(glossary.REASONS)
    documented = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `banyan_shadow_(?:skipped|dropped)_total.*$", documented, re.MULTILINE)
    told = set(re.findall(r"\b[a-z]+_[a-z_]+\b", "".join(rows))) - {"replay_buffer"}
    assert {reason for reason in told if not reason.startswith("banyan_")} <= set(glossary.REASONS)


def test_every_action_of_the_audit_has_a_name() -> None:
    """As the sources record them."""
    found: set[str] = set()
    for path in (Path(translations.__file__).parent).glob("*.py"):
        found |= set(re.findall(r'(?:record|record_command|_done)\((?:[^()"]|\([^()]*\))*?"([a-z]+-[a-z-]+)"', path.read_text()))
    assert found > {"rule-made", "gate-begun"}
    assert found - {"rule-made", "rule-ended"} <= set(glossary.ACTIONS), found
    for words in (glossary.STATES, glossary.KINDS, glossary.ROLES, glossary.ACTIONS, glossary.REASONS):
        for key in words:
            assert glossary.word(words, key) == key, "in English each is called what it is"
