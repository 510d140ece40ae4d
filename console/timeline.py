"""What happened and when, gathered from where each kind of it is kept: flags, overrides, rollbacks, rules, states, and events.

Every kind is asked for its newest few with one indexed query, and what comes of that is merged: the cost is the number of kinds, whatever
is stored. Moments are Unix seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import F, Model, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from console import flagviews, routes
from gateway.config import ConfigError
from shadow.models import Event, FlagChange, GuardTrip, Rule, Signature, StateChange

FLIP, OVERRIDE, ROLLBACK, RULE, STATE = "flip", "override", "rollback", "rule", "state"
KINDS: Final = {
    FLIP: gettext_lazy("flag flipped"),
    OVERRIDE: gettext_lazy("override"),
    ROLLBACK: gettext_lazy("rolled back"),
    RULE: gettext_lazy("rule"),
    STATE: gettext_lazy("signature"),
    Event.Kind.GATE.value: gettext_lazy("gate"),
    Event.Kind.DEPLOYMENT.value: gettext_lazy("deployment"),
    Event.Kind.RELOAD.value: gettext_lazy("reload"),
    Event.Kind.SHED.value: gettext_lazy("shed"),
    Event.Kind.IN_DOUBT.value: gettext_lazy("payment in doubt"),
}
"""Kind → what it is called."""
MARKED: Final = tuple(kind for kind in KINDS if kind != STATE)
"""What charts mark. Not what people say of signatures: there may be hundreds of those in a minute, and none changes a figure."""
MARKS_PER_KIND: Final = 40
"""The newest, so that many flips hide no deployment."""
MAX_TEXT: Final = 200
"""Characters of a mark's."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment on a chart's axis of time."""

    at: float
    kind: str
    """A key of KINDS."""
    text: str
    """What happened, in a few words; may hold foreign text."""
    link: str
    """Its own page, or else its line on the timeline."""
    bad: bool
    """Whether something went wrong."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of everything: the newest first, and what has the same moment by where it is kept, then by its number."""

    at: float
    source: int = -1
    """-1: before everything of that moment."""
    pk: int = 0

    def __str__(self) -> str:
        return f"{self.at!r}:{self.source}:{self.pk}"

    @classmethod
    def before(cls, at: float) -> Place:
        """Behind everything of the moment `at`."""
        return cls(at, len(_SOURCES))

    @classmethod
    def of(cls, text: str) -> Place | None:
        """What `str` wrote; None where it is not that."""
        try:
            at, source, pk = text.split(":")
            found = cls(float(at), int(source), int(pk))
        except ValueError:
            return None
        return found if 0 <= found.at < _LATEST and -1 <= found.source <= len(_SOURCES) and 0 <= found.pk < 2**63 else None


_LATEST: Final = 253_402_300_800.0
"""The year 10000: no moment that could be written as a date is later."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    place: Place
    kind: str
    route: str
    """Empty: of the whole gateway, or not known."""
    text: str
    by: str
    why: str
    link: str
    """Its own page; empty where it has none."""
    bad: bool

    @property
    def at(self) -> float:
        return self.place.at

    @property
    def word(self) -> str:
        """What its kind is called."""
        return str(KINDS[self.kind])

    @property
    def anchor(self) -> str:
        """Its own on the timeline's page."""
        return f"{_SOURCES[self.place.source].name}-{self.place.pk}"

    @property
    def here(self) -> str:
        """Its line on the timeline."""
        asked = {"until": repr(self.at)} | ({"route": self.route} if self.route else {})
        return f"{reverse('timeline')}?{urlencode(asked)}#{self.anchor}"


@dataclass(frozen=True, slots=True)
class Names:
    """What is asked for: everything where `route` is empty."""

    route: str
    flags: tuple[str, ...]
    """That it reads."""
    uses: dict[str, str]
    """Flag → the one route that reads it."""
    now: float


@dataclass(frozen=True, slots=True)
class _Source[Row: Model]:
    name: str
    kinds: frozenset[str]
    moment: str
    """The column."""
    rows: Callable[[Names, Collection[str]], QuerySet[Row]]
    line: Callable[[Row, Place, Names], Line]

    def newest(self, names: Names, kinds: Collection[str], place: Place | None, since: float, number: int, limit: int) -> list[Line]:
        """Those behind `place`, the newest first; `number` is this source's own."""
        found = self.rows(names, kinds)
        at = self.moment
        if since:
            found = found.filter(**{f"{at}__gte": since})
        if place is not None:
            found = found.filter(**{f"{at}__lt" if number < place.source else f"{at}__lte": place.at})
            if number == place.source:
                found = found.exclude(**{at: place.at, "pk__gte": place.pk})
        return [self.line(row, Place(getattr(row, at), number, row.pk), names) for row in found.order_by(f"-{at}", "-pk")[:limit]]


def names(route: str = "", flags: Iterable[str] | None = None) -> Names:
    """What belongs to `route`, as far as the configuration says; `flags`: those that it reads, where the caller knows."""
    try:
        config = routes.configuration()
    except (ConfigError, OSError):  # the pages that show routes say so
        config = None
    readers: dict[str, list[str]] = {}
    for each in config.routes if config is not None else ():
        for flag in each.flags:
            readers.setdefault(flag, []).append(each.name)
    if flags is None:
        read = [flag for flag, users in readers.items() if route in users] if route else []
        flags = read or ([route, f"{route}.shadow", f"{route}.split"] if route else [])
    return Names(route, tuple(flags), {flag: users[0] for flag, users in readers.items() if len(users) == 1}, time.time())


def lines(
    asked: Names, kinds: Collection[str] = tuple(KINDS), *, place: Place | None = None, since: float = 0.0, limit: int = 50
) -> list[Line]:
    """What happened from `place` backwards, no earlier than `since`; the newest first, `limit` at most. One query for each source."""
    found = [
        source.newest(asked, kinds, place, since, number, limit)
        for number, source in enumerate(_SOURCES)
        if source.kinds.intersection(kinds)
    ]
    return list(islice(merge(*found, key=_order), limit))


def marks(route: str, since: float, until: float, flags: Iterable[str] | None = None) -> list[Mark]:
    """What a chart of `route` from `since` to `until` marks, the oldest first: what happened to it, and to the whole gateway.

    MARKS_PER_KIND of each kind at most, the newest. `flags`: those that the route reads, where the caller knows them.
    """
    asked = names(route, flags)
    found: list[Line] = []
    for kind in MARKED:
        found += lines(asked, (kind,), place=Place(until), since=since, limit=MARKS_PER_KIND)
    return [mark(line) for line in sorted(found, key=_order, reverse=True)]


def mark(line: Line) -> Mark:
    """`line` as charts have it."""
    text = f"{line.word}: {line.text}" + (f" ({line.by})" if line.by else "")
    return Mark(line.at, line.kind, text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…", line.link or line.here, line.bad)


def _order(line: Line) -> tuple[float, int, int]:
    return -line.at, line.place.source, -line.place.pk


def _within[Row: Model](rows: QuerySet[Row], asked: Names, field: str = "route") -> QuerySet[Row]:
    return rows.filter(**{field: asked.route}) if asked.route else rows


def _flag_changes(kind: str) -> Callable[[Names, Collection[str]], QuerySet[FlagChange]]:
    others = [each for each in FlagChange.Kind if each != kind]

    def rows(asked: Names, _kinds: Collection[str]) -> QuerySet[FlagChange]:
        if asked.route:  # said the other way round, since SQLite would go through all of that kind, and not through those flags'
            return FlagChange.objects.filter(flag__in=asked.flags).exclude(kind__in=others)
        return FlagChange.objects.filter(kind=kind)

    return rows


def _flag_line(row: FlagChange, place: Place, asked: Names) -> Line:
    route = asked.route or asked.uses.get(row.flag, "")
    change = flagviews.line(row)
    link = reverse("flag-change", args=[row.pk])
    if row.kind == FlagChange.Kind.OVERRIDE:
        return Line(place, OVERRIDE, route, f"{row.flag}: {change.new}", change.by, row.why, link, bad=False)
    text = _("%(flag)s: %(old)s to %(new)s") % {"flag": row.flag, "old": change.old, "new": change.new}
    if change.only:
        text = _("%(flag)s: %(state)s; changed: %(fields)s") % {"flag": row.flag, "state": change.new, "fields": change.only}
    return Line(place, FLIP, route, text, change.by, row.why, link, bad=False)


def _missed_rows(asked: Names, _kinds: Collection[str]) -> QuerySet[FlagChange]:
    return FlagChange.objects.none() if asked.route else FlagChange.objects.filter(kind=FlagChange.Kind.MISSED)


def _missed_line(row: FlagChange, place: Place, _names: Names) -> Line:
    text = _("%(count)d changes of flags before this were not seen: the gateway keeps the last thousand") % {"count": row.missed}
    return Line(place, FLIP, "", text, "", "", "", bad=True)


def _trip_line(row: GuardTrip, place: Place, _names: Names) -> Line:
    text = _("%(flag)s, by its guard: %(outcome)s") % {"flag": row.flag, "outcome": row.outcome}
    why = f"{row.why}; {row.error}" if row.error else row.why
    return Line(place, ROLLBACK, row.route, text, "", why, reverse("route", args=[row.route]), bad=True)


def _rule_text(row: Rule, said: str) -> str:
    return said % {"number": row.pk, "rule": f"{row.kind} {row.path} {row.value}".rstrip()}


def _rule_made(row: Rule, place: Place, _names: Names) -> Line:
    return Line(place, RULE, row.route, _rule_text(row, _("rule %(number)d made: %(rule)s")), row.author, row.reason, "", bad=False)


def _rule_ended(row: Rule, place: Place, _names: Names) -> Line:
    return Line(place, RULE, row.route, _rule_text(row, _("rule %(number)d ended: %(rule)s")), row.ended_by, row.ended_why, "", bad=False)


def _rule_expired(row: Rule, place: Place, _names: Names) -> Line:
    return Line(place, RULE, row.route, _rule_text(row, _("rule %(number)d expired: %(rule)s")), "", "", "", bad=False)


_EXPIRED: Final = Q(ended_at=None) | Q(ended_at__gte=F("expires"))
"""Of rules that expire at all: nobody ended them before that."""


def _state_line(row: StateChange, place: Place, _names: Names) -> Line:
    signature = row.signature
    text = _("%(kind)s %(path)s: %(old)s to %(new)s") % {
        "kind": signature.kind,
        "path": signature.path,
        "old": row.old,
        "new": row.new,
    }
    bad = row.new == Signature.State.BUG or (row.old, row.new) == (Signature.State.FIXED, Signature.State.NEW)
    return Line(place, STATE, signature.route, text, row.by, row.why, reverse("signature", args=[signature.pk]), bad)


def _event_rows(asked: Names, kinds: Collection[str]) -> QuerySet[Event]:
    wanted = [kind.value for kind in Event.Kind if kind.value in kinds]
    found = Event.objects.all() if len(wanted) == len(Event.Kind) else Event.objects.filter(kind__in=wanted)
    return found.filter(route__in=[asked.route, ""]) if asked.route else found


_WELL: Final[dict[str, str]] = {Event.Kind.GATE: "passed", Event.Kind.RELOAD: "ok"}
"""Kind → what of its detail says whether all is well."""


def _event_line(row: Event, place: Place, _names: Names) -> Line:
    detail: dict[str, Any] = row.detail if isinstance(row.detail, dict) else {}
    doubted = row.kind == Event.Kind.IN_DOUBT and "settled" not in detail
    bad = row.kind == Event.Kind.SHED or doubted or detail.get(_WELL.get(row.kind, "")) is False
    link = reverse("payments") if row.kind == Event.Kind.IN_DOUBT else reverse("route", args=[row.route]) if row.route else ""
    return Line(place, row.kind, row.route, _event_text(row, detail), row.by, str(detail.get("why", "")), link, bad)


def _event_text(row: Event, detail: dict[str, Any]) -> str:
    """In the reader's language, where Banyan itself wrote it."""
    if row.kind == Event.Kind.SHED and isinstance(detail.get("count"), int):
        return ngettext("%(count)d request turned away", "%(count)d requests turned away", detail["count"]) % {"count": detail["count"]}
    if row.kind == Event.Kind.IN_DOUBT and "payment" in detail:
        if detail.get("settled") == "executed":
            return _("payment %(number)s was executed") % {"number": detail["payment"]}
        if "settled" in detail:
            return _("payment %(number)s was not executed") % {"number": detail["payment"]}
        about = {"number": detail["payment"], "provider": detail.get("provider"), "reason": detail.get("reason")}
        return _("payment %(number)s, sent to %(provider)s: %(reason)s") % about
    if row.kind == Event.Kind.RELOAD and "asked_by" in detail:
        said = _("configuration %(number)s is in force") if detail.get("ok") else _("refused; configuration %(number)s serves on")
        return said % {"number": detail.get("number")}
    if row.kind == Event.Kind.RELOAD and row.key.endswith(" start"):
        return _("the gateway was started")
    if row.kind == Event.Kind.GATE and "begun" in detail:
        return _("begun anew")
    if row.kind == Event.Kind.GATE and "taken_back" in detail:
        return _("not begun anew after all")
    if row.kind == Event.Kind.GATE and detail.get("passed"):
        return _("passed: %(matched)s of %(compared)s match") % {"matched": detail.get("matched"), "compared": detail.get("compared")}
    if row.kind == Event.Kind.GATE and "passed" in detail:
        return _("not passed any more")
    return row.text


_SOURCES: Final[Sequence[_Source[Any]]] = (
    _Source("flip", frozenset({FLIP}), "at", _flag_changes(FlagChange.Kind.FLAG), _flag_line),
    _Source("missed", frozenset({FLIP}), "at", _missed_rows, _missed_line),
    _Source("override", frozenset({OVERRIDE}), "at", _flag_changes(FlagChange.Kind.OVERRIDE), _flag_line),
    _Source("rollback", frozenset({ROLLBACK}), "at", lambda asked, _kinds: _within(GuardTrip.objects.all(), asked), _trip_line),
    _Source("rule", frozenset({RULE}), "created", lambda asked, _kinds: _within(Rule.objects.all(), asked), _rule_made),
    _Source(
        "rule-ended",
        frozenset({RULE}),
        "ended_at",
        lambda asked, _kinds: _within(Rule.objects.filter(Q(expires=None) | Q(ended_at__lt=F("expires")), ended_at__isnull=False), asked),
        _rule_ended,
    ),
    _Source(
        "rule-expired",
        frozenset({RULE}),
        "expires",
        lambda asked, _kinds: _within(Rule.objects.filter(_EXPIRED, expires__lte=asked.now), asked),
        _rule_expired,
    ),
    _Source(
        "state",
        frozenset({STATE}),
        "at",
        lambda asked, _kinds: _within(StateChange.objects.select_related("signature"), asked, "signature__route"),
        _state_line,
    ),
    _Source("event", frozenset(kind.value for kind in Event.Kind), "at", _event_rows, _event_line),
)
