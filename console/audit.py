"""Keeps what people did: `record` is called by every view that changes something, within the same transaction where there is one.

What anybody can cause without a login, or by a POST that is refused, is counted in one row an hour for each user, so that nobody fills
the database with it. Moments are Unix seconds.
"""

from __future__ import annotations

import time
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

from console.models import Audit
from console.roles import role_of
from shadow.storable import storable

MAX_SUBJECT = 400
MAX_LINK = 200
RETENTION: Final = 400 * 86400.0
"""Seconds. Thirteen months, so that whoever looks back once a year finds the whole year; what it is about goes by [shadow] retention."""
FAILURES_RETENTION: Final = 90 * 86400.0
"""Seconds that failed logins and refused requests are kept: they say something of an attack, and nothing of what was decided."""
TOGETHER_SECONDS: Final = 3600.0
"""Failures within this time are one row."""
PAUSE_SECONDS: Final = 5.0
"""Tries that are not looked at any more are counted no more often: their count is a least one, and a flood of them writes nothing."""
MAX_ADDRESSES: Final = 20
"""Of clients, in one row."""
FAILED, REFUSED = "login-failed", "refused"
NOBODY = "a name that nobody has"


def record(
    request: HttpRequest,
    action: str,
    subject: str = "",
    *,
    route: str = "",
    why: str = "",
    link: str = "",
    detail: dict[str, Any] | None = None,
) -> Audit:
    """That the request's user did `action` to `subject`. `detail` is JSON without secrets."""
    return _add(
        request.user.get_username(), role_of(request.user).word, action, subject, route=route, why=why, link=link, detail=detail or {}
    )


def conclude(row: Audit, detail: dict[str, Any]) -> None:
    """Adds what came of it to a row that was recorded before it was done: what is done without a row would be done by nobody."""
    row.detail = storable({**row.detail, **detail})
    row.save(update_fields=["detail"])


def record_command(by: str, action: str, subject: str, *, detail: dict[str, Any] | None = None) -> Audit:
    """That somebody with the command line did it."""
    return _add(by, "command", action, subject, detail=detail or {})


def failed_login(name: str, address: str, *, refused: bool) -> None:
    """That a password was wrong for `name`, or was not looked at (`refused`: too many had been; see PAUSE_SECONDS).

    The name is kept only where somebody has it: people type passwords where names belong.
    """
    known = User.objects.filter(username=storable(name)).exists()
    by, subject = (name, "") if known else ("", NOBODY)
    if refused:
        row = _newest(FAILED, by, subject, time.time())
        if row is not None and time.time() - row.detail.get("last", 0.0) < PAUSE_SECONDS and "refused" in row.detail:
            return
    _count(FAILED, by, subject, address=address, also="refused" if refused else "")


def refused(request: HttpRequest, why: str) -> None:
    """That a user's request, which would have changed something, was answered 403."""
    match = request.resolver_match
    _count(
        REFUSED,
        request.user.get_username(),
        f"{request.method} {match.view_name if match is not None else 'of no page'}",
        role=role_of(request.user).word,
        why=why,
        path=request.path,
    )


def purge(now: float) -> None:
    """Removes what is too old."""
    Audit.objects.filter(at__lt=now - RETENTION).delete()
    Audit.objects.filter(action__in=(FAILED, REFUSED), at__lt=now - FAILURES_RETENTION).delete()


def _add(by: str, role: str, action: str, subject: str, *, route: str = "", why: str = "", link: str = "", detail: dict[str, Any]) -> Audit:
    return Audit.objects.create(
        at=time.time(),
        by=storable(by)[:200],
        role=role,
        action=action,
        route=storable(route)[:100],
        subject=storable(subject)[:MAX_SUBJECT],
        why=storable(why),
        link=link[:MAX_LINK],
        detail=storable(detail),
    )


def _newest(action: str, by: str, subject: str, now: float, *, locked: bool = False) -> Audit | None:
    """The row of this hour in which such things are counted."""
    rows = Audit.objects.select_for_update() if locked else Audit.objects.all()
    return rows.filter(action=action, by=by, subject=subject, at__gt=now - TOGETHER_SECONDS).order_by("-at", "-pk").first()


def _count(action: str, by: str, subject: str, *, role: str = "", why: str = "", address: str = "", also: str = "", path: str = "") -> None:
    """One more of these, in the row of this hour. Two at once may make two rows: then both count."""
    now = time.time()
    with transaction.atomic():
        row = _newest(action, by, subject, now, locked=True)
        if row is None:
            row = _add(by, role, action, subject, why=why, detail={})
        detail = row.detail
        detail["count"] = detail.get("count", 0) + 1
        detail["last"] = now
        if also:
            detail[also] = detail.get(also, 0) + 1
        if path:
            detail["path"] = storable(path)[:MAX_LINK]
        if address and address not in (known := detail.setdefault("addresses", [])) and len(known) < MAX_ADDRESSES:
            known.append(address)
        Audit.objects.filter(pk=row.pk).update(detail=detail)
