"""Unleash's events: who made a change that was seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from flags.events import MAX_FLAGS, Event, EventLog, EventsError, authors, behind, parse
from flags.source import FlagSourceError
from tests.support.unleash_events import EventsApi, events_api

ON, OFF = "feature-environment-enabled", "feature-environment-disabled"


def event(number: int, at: float, by: str, kind: str = "feature-strategy-update", environment: str = "development") -> Event:
    return Event(number, at, kind, "reviews", environment, by)


def names(
    *events: Event, before: float | None = 99.0, at: float = 100.0, enabled: bool | None = True, taken: set[int] | None = None
) -> str:
    found = behind(events, flag="reviews", environment="development", before=before, at=at, enabled=enabled, taken=taken or ())
    return authors(found)


def test_an_answer_is_read_oldest_first() -> None:
    body = {
        "events": [
            {"id": 8, "createdAt": "2026-11-24T16:00:01.500Z", "type": ON, "createdBy": "ana", "featureName": "r", "environment": "d"},
            {
                "id": 7,
                "createdAt": "2026-11-24T16:00:00.000Z",
                "type": "feature-created",
                "createdBy": "bob",
                "featureName": "r",
                "createdByUserId": -42,
            },
            {"id": 6, "createdAt": "2026-11-24T15:00:00.000Z", "type": "project-created", "createdBy": "eve", "environment": None},
        ],
        "total": 3,
    }
    created, enabled = parse(orjson.dumps(body))
    assert enabled == Event(8, 1795536001.5, ON, "r", "d", "ana")
    assert created == Event(7, 1795536000.0, "feature-created", "r", "", "bob (a token)")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"events": 7}', b'{"events": [{"featureName": "x", "id": 1}]}', b'{"events": [3]}'])
def test_another_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(EventsError, match="expected form"):
        parse(body)


def test_who_changed_a_flag_between_two_looks() -> None:
    assert names(event(1, 99.4, "ana")) == "ana"
    assert names(event(1, 98.0, "ana"), event(2, 99.4, "bob"), event(3, 99.5, "ana")) == "ana, bob"
    assert names() == ""


def test_what_others_did_elsewhere_or_at_other_times_is_not_it() -> None:
    assert names(event(1, 99.4, "ana", environment="production")) == ""
    assert names(event(1, 90.0, "ana")) == ""
    assert names(event(1, 110.0, "ana")) == ""
    assert names(event(1, 99.4, "ana", environment="", kind="feature-archived"), enabled=None) == "ana"
    assert names(event(1, 99.4, "ana", kind="feature-favorited")) == ""
    assert names(event(1, 99.4, "ana", kind="change-request-created")) == ""
    other = Event(1, 99.4, ON, "search", "development", "ana")
    assert names(other) == ""


def test_an_unleash_that_was_away_gives_everything_since() -> None:
    assert names(event(1, 40.0, "ana", ON), event(2, 70.0, "bob"), before=30.0) == "ana, bob"


def test_without_an_earlier_look_it_is_what_was_just_done() -> None:
    assert names(event(1, 99.0, "ana"), event(2, 60.0, "bob"), before=None) == "ana"


def test_a_flip_that_is_not_in_what_was_seen_came_after_it() -> None:
    on, off = event(1, 99.1, "ana", ON), event(2, 99.9, "bob", OFF)
    assert names(on, off, enabled=True) == "ana"
    assert names(on, off, enabled=False, before=99.95, at=101.0) == "ana, bob"
    assert names(on, off, enabled=False, before=99.95, at=101.0, taken={1}) == "bob"
    assert names(on, taken={1}) == "ana", "better the same again than nobody"


@pytest.fixture
def unleash() -> Iterator[EventsApi]:
    with events_api() as running:
        yield running


def test_the_question(unleash: EventsApi) -> None:
    log = EventLog(unleash.url, "*:*.secret")
    assert log.of(["reviews", "reviews.shadow", "not a name"], 1795536000.0) == []
    ((path, token),) = unleash.asked
    parts = urlsplit(path)
    assert parts.path == "/api/admin/search/events"
    assert parse_qs(parts.query) == {"feature": ["IS_ANY_OF:reviews,reviews.shadow"], "from": ["IS:2026-11-23"], "limit": ["200"]}
    assert token == "*:*.secret"
    assert log.of(["not a name"], 0.0) == []
    assert len(unleash.asked) == 1, "nothing is asked about what cannot be a flag there"
    log.of([f"flag-{number}" for number in range(100)], 1795536000.0)
    assert parse_qs(urlsplit(unleash.asked[-1][0]).query)["feature"][0].count(",") == MAX_FLAGS - 1
    log.close()


@pytest.mark.parametrize(("status", "message"), [(401, "not valid there"), (403, "may not read them"), (500, "answered 500")])
def test_a_refusal_is_said_without_the_token(unleash: EventsApi, status: int, message: str) -> None:
    unleash.status = status
    log = EventLog(unleash.url, "*:*.secret")
    with pytest.raises(EventsError, match=message) as caught:
        log.of(["reviews"], 0.0)
    log.close()
    assert "secret" not in str(caught.value)
    assert caught.value.kind == f"status {status}"


def test_an_unleash_that_is_not_there() -> None:
    log = EventLog("http://127.0.0.1:1/api", "*:*.secret")
    with pytest.raises(EventsError, match="asked for its events, can't be reached"):
        log.of(["reviews"], 0.0)
    log.close()
    with pytest.raises(FlagSourceError, match="admin_token"):
        EventLog("http://127.0.0.1:1/api", "two words")
