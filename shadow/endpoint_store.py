"""What endpoints were asked for, kept for longer than a gateway does: by the minute, and with age by ten minutes, the hour and the day.

A gateway tells each of its minutes again and again while it is under way, and an hour of them to whoever asks anew. So a minute is always
written whole, in the place of what was there of the same gateway; what may still be told again is not rolled up, and what is rolled up is
not taken again. Minutes of several gateways stand beside each other and are added up where they are read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
from django.db import transaction

from gateway.endpoints.figures import Figures
from gateway.endpoints.live import MINUTES, TOLD, MinuteFigures
from gateway.endpoints.table import SECOND, Key
from shadow.storable import storable
from shadow.store import FAILURES as FAILURES  # what all of this raises, for whoever asks
from shadow.store import among_writers

if TYPE_CHECKING:
    from shadow.models import EndpointSpan

REST: Final = ("", "")
"""Method and template of what is told under no endpoint."""
LONGEST: Final = 500
"""Characters of a template."""
WIDTHS: Final = ((60, 60 * (MINUTES + 1)), (600, 3 * 3600), (3600, 86400), (86400, 0))
"""Seconds of a span, and after how many more it becomes a part of the next wider one; of the last: never."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Figures)


def record(gateway: str, minutes: Iterable[MinuteFigures], *, now: float) -> None:
    """Keeps these minutes of one run of a gateway, in the place of what is kept of them.

    Raises:
        django.db.Error: the database refused; the same may be recorded again.
    """
    from shadow.models import EndpointSpan

    first = _boundary(60, now)
    for minute in minutes:
        if minute.at < first:
            continue
        united: dict[Key, Figures] = {}
        for method, template, figures in minute.endpoints:
            key = (storable(method)[:10], storable(template)[:LONGEST])
            if key in united:
                united[key].merge(figures)
            else:
                united[key] = figures
        if minute.rest.count:
            united[REST] = minute.rest
        with transaction.atomic():
            among_writers(alone=False)
            EndpointSpan.objects.filter(width=60, at=minute.at, gateway=gateway[:100]).delete()
            EndpointSpan.objects.bulk_create(_rows(gateway[:100], minute.at, 60, united))


def _rows(gateway: str, at: int, width: int, found: dict[Key, Figures]) -> list[EndpointSpan]:
    from shadow.models import EndpointSpan

    return [
        EndpointSpan(gateway=gateway, at=at, width=width, method=method, template=template, figures=_encoder.encode(figures).decode())
        for (method, template), figures in found.items()
    ]


def _boundary(width: int, now: float) -> int:
    """Unix seconds before which spans of this width are parts of wider ones. It never goes back."""
    index = [each for each, _ in WIDTHS].index(width)
    wider = WIDTHS[index + 1][0]
    return int(now - WIDTHS[index][1]) // wider * wider


def upkeep(retention: float, *, now: float | None = None) -> None:
    """Rolls up what is old enough, and removes what is older than `retention` seconds.

    Raises:
        django.db.Error: the database refused.
    """
    from shadow.models import EndpointSpan

    moment = time.time() if now is None else now
    EndpointSpan.objects.filter(at__lt=int(moment - retention)).delete()
    for (width, _), (wider, _) in pairwise(WIDTHS):
        before = _boundary(width, moment)
        while (
            oldest := EndpointSpan.objects.filter(width=width, at__lt=before).order_by("at").values_list("at", flat=True).first()
        ) is not None:
            _roll_up(width, wider, oldest // wider * wider)


def _roll_up(width: int, wider: int, at: int) -> None:
    """One span of the wider kind, of all gateways together."""
    from shadow.models import EndpointSpan

    with transaction.atomic():
        among_writers(alone=True)
        parts = EndpointSpan.objects.filter(width=width, at__gte=at, at__lt=at + wider)
        whole = EndpointSpan.objects.filter(width=wider, at=at)
        united: dict[Key, Figures] = {}
        for row in (*parts, *whole):
            united.setdefault((row.method, row.template), Figures()).merge(_decoder.decode(row.figures))
        parts.delete()
        whole.delete()
        EndpointSpan.objects.bulk_create(_rows("", at, wider, _fewer(united)))


def _fewer(united: dict[Key, Figures]) -> dict[Key, Figures]:
    """The TOLD that matter most, and all others as one."""
    rest = united.pop(REST, Figures())
    by_cost = sorted(united.items(), key=lambda item: -(item[1].count + SECOND * item[1].seconds))
    for _, figures in by_cost[TOLD:]:
        rest.merge(figures)
    kept = dict(by_cost[:TOLD])
    if rest.count:
        kept[REST] = rest
    return kept


def figures(since: float, *, template: str | None = None) -> tuple[dict[Key, Figures], Figures, float]:
    """Everything that is kept of spans that end after the moment `since` (Unix seconds), or what of it has this template: endpoints, the
    rest, and when the first of these spans begins (0: there is none)."""
    from shadow.models import EndpointSpan

    rows = EndpointSpan.objects.none()
    for width, _ in WIDTHS:
        rows |= EndpointSpan.objects.filter(width=width, at__gt=int(since) - width)
    if template is not None:
        rows = rows.filter(template=template)
    found: dict[Key, Figures] = {}
    first = 0
    for method, path, at, text in rows.values_list("method", "template", "at", "figures"):
        first = min(first, at) if first else at
        known = found.get((method, path))
        if known is None:
            found[method, path] = _decoder.decode(text)
        else:
            known.merge(_decoder.decode(text))
    return found, found.pop(REST, Figures()), float(first)


def spans() -> Iterator[tuple[int, int, Key, Figures]]:
    """Everything that is kept: when each span begins (Unix seconds), how long it is (seconds), method and template (or REST), figures."""
    from shadow.models import EndpointSpan

    rows = EndpointSpan.objects.values_list("at", "width", "method", "template", "figures")
    for at, width, method, template, text in rows.iterator(chunk_size=1000):
        yield at, width, (method, template), _decoder.decode(text)


def newest() -> float | None:
    """Unix seconds at which the newest minute that is kept begins; None: there is none."""
    from shadow.models import EndpointSpan

    at: int | None = EndpointSpan.objects.filter(width=60).order_by("-at").values_list("at", flat=True).first()
    return None if at is None else float(at)
