"""What people did, for those who may ask: a page with filters, one row by itself, and files for whoever reads with other tools."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import audit, news
from console.models import Audit
from console.roles import Role, requires
from shadow.storable import storable
from shadow.words import utc

PAGE: Final = 50
MAX_EXPORT: Final = 50_000
"""Rows of one file, some 20 MB. The answer's Link field leads to the rest (RFC 8288)."""
MAX_NAMES: Final = 500
FIELDS: Final = ("at", "by", "role", "action", "route", "subject", "why", "link")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""With which of these a cell begins, spreadsheets take it for a formula (OWASP, CSV injection)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows."""

    by: str = ""
    action: str = ""
    route: str = ""
    since: str = ""
    until: str = ""
    """Days, in UTC; the last is meant whole."""
    before: tuple[float, int] | None = None
    """Rows behind this one alone: its moment and its number."""

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        """What an address says; nonsense is nothing."""
        return cls(
            by=_text(query, "by"),
            action=_text(query, "action"),
            route=_text(query, "route"),
            since=query.get("since", "") if _day(query.get("since", "")) else "",
            until=query.get("until", "") if _day(query.get("until", "")) else "",
            before=_place(query.get("before", "")),
        )

    def rows(self) -> QuerySet[Audit]:
        """The newest first."""
        found = Audit.objects.order_by("-at", "-pk")
        for name in ("by", "action", "route"):
            if value := getattr(self, name):
                found = found.filter(**{name: value})
        since, until = _day(self.since), _day(self.until)
        if since is not None:
            found = found.filter(at__gte=since.timestamp())
        if until is not None:
            found = found.filter(at__lt=(until + timedelta(days=1)).timestamp())
        if self.before is not None:
            at, pk = self.before
            found = found.filter(at__lte=at).exclude(at=at, pk__gte=pk)
        return found

    @property
    def said(self) -> dict[str, str]:
        """What is asked for, by the names of an address."""
        return {name: value for name in ("by", "action", "route", "since", "until") if (value := getattr(self, name))}

    def query(self, last: Audit | None = None) -> str:
        """As an address has it; behind the row `last`."""
        return urlencode(self.said | ({"before": f"{last.at!r}:{last.pk}"} if last is not None else {}))


@never_cache
@require_safe
@requires(Role.REVIEWER)
def page(request: HttpRequest) -> HttpResponse:
    """The newest, or those that were asked for."""
    asked = Asked.of(request.GET)
    show = f"{reverse('audit')}?{asked.query()}" if asked.query() else reverse("audit")
    if news.asked(request):
        return news.answer(request, _news(request, asked), show)
    now = time.time()
    rows = list(asked.rows()[: PAGE + 1])
    known = list(User.objects.order_by("username").values_list("username", flat=True)[:MAX_NAMES])
    actions = list(Audit.objects.order_by("action").values_list("action", flat=True).distinct()[:MAX_NAMES])
    context = {
        "rows": rows[:PAGE],
        "asked": asked,
        "more": asked.query(rows[PAGE - 1]) if len(rows) > PAGE else "",
        "chosen": asked.query(),
        "people": known,
        "actions": actions if not asked.action or asked.action in actions else [*actions, asked.action],
        "days": round(audit.RETENTION / 86400),
        "failure_days": round(audit.FAILURES_RETENTION / 86400),
        "news": None if asked.before else news.News(news.query([*asked.said.items(), *_had(rows[:PAGE])], now), show),
    }
    return render(request, "console/audit.html", context)


def _had(rows: list[Audit]) -> list[tuple[str, object]]:
    """What a page says that it has: how many rows, and the last of them where more may follow."""
    return [("had", len(rows)), *([("last", f"{rows[-1].at!r}:{rows[-1].pk}")] if len(rows) == PAGE else [])]


def _news(request: HttpRequest, asked: Asked) -> tuple[str, ...]:
    """How many rows there are from the last that the page has upwards, beyond those that it has."""
    had = min(PAGE, news.number(request, "had"))
    last = _place(request.GET.get("last", ""))
    rows = asked.rows()
    if last is not None:
        at, pk = last
        rows = rows.filter(at__gte=at).exclude(at=at, pk__lt=pk)
    return news.counted(rows[: had + news.MOST + 1].count() - had, news.loaded(request))


@never_cache
@require_safe
@requires(Role.REVIEWER)
def entry(request: HttpRequest, pk: int) -> HttpResponse:
    """One row, with all that is kept of it."""
    row = get_object_or_404(Audit, pk=pk)
    return render(request, "console/audit_entry.html", {"row": row, "detail": json.dumps(row.detail, indent=2, ensure_ascii=False)})


@never_cache
@require_safe
@requires(Role.REVIEWER)
def export(request: HttpRequest) -> HttpResponse:
    """The rows that were asked for as a file, `format=csv` or `json`; MAX_EXPORT at most, the newest."""
    asked = Asked.of(request.GET)
    kind = "json" if request.GET.get("format") == "json" else "csv"
    rows = list(asked.rows()[: MAX_EXPORT + 1])
    more = asked.query(rows[MAX_EXPORT - 1]) if len(rows) > MAX_EXPORT else ""
    rows = rows[:MAX_EXPORT]
    response = HttpResponse(_json(rows) if kind == "json" else _csv(rows), content_type=_TYPES[kind])
    response["Content-Disposition"] = f'attachment; filename="banyan-audit.{kind}"'
    if more:
        response["Link"] = f'<{reverse("audit-export")}?{more}&format={kind}>; rel="next"'
    return response


_TYPES: Final = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


def _plain(row: Audit) -> dict[str, Any]:
    return {"id": row.pk, **{name: getattr(row, name) for name in FIELDS}, "detail": row.detail}


def _json(rows: list[Audit]) -> str:
    return json.dumps({"rows": [_plain(row) for row in rows]}, ensure_ascii=False)


def _csv(rows: list[Audit]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "time", *FIELDS, "detail"])
    for row in rows:
        values = [getattr(row, name) for name in FIELDS]
        writer.writerow([row.pk, utc(row.at), *map(_cell, values), _cell(json.dumps(row.detail, ensure_ascii=False))])
    return out.getvalue()


def _cell(value: object) -> object:
    """A text that no spreadsheet works out."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _place(text: str) -> tuple[float, int] | None:
    """A row's moment and number as an address has them; None where it is not that."""
    at, _, pk = text.partition(":")
    try:
        found = (float(at), int(pk))
    except ValueError:
        return None
    return found if 0 <= found[0] < 1e12 and 0 <= found[1] < 2**63 else None


def _text(query: QueryDict, name: str) -> str:
    return storable(query.get(name, "")).strip()


def _day(text: str) -> datetime | None:
    """Its beginning in UTC; None where it is none."""
    try:
        chosen = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC) if 1970 < chosen.year < 9999 else None
