"""One signature: what differs, how often and since when, for which requests, and its samples side by side. Reading only.

Its figures move by themselves. What a person reads or writes in does not (the sample, forms, comments): a line tells what is new there.
"""

from __future__ import annotations

import time
from typing import Any

from django.db.models.fields.json import KT
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import breakdown, fits, live, news, said, sidebyside, undo
from console.kinds import meaning
from console.roles import Role, role_of
from console.seen import seen
from console.statement import MAX_CURL, MAX_RAW, Cut, cut
from console.terms import configured
from shadow import curl, states
from shadow.compare import Difference, Kind
from shadow.frequency import Frequency, frequency
from shadow.models import Sample, Sighting, Signature
from shadow.signature import signature as signature_of
from shadow.words import quoted

COMMENTS_SHOWN = 50
MAX_NEIGHBOURS = 500
MAX_DIFFERENCES = 100
"""Listed on the page; the side by side view marks all of them."""
CHART_HEIGHT = 28


@never_cache
@require_safe
def signature(request: HttpRequest, pk: int) -> HttpResponse:
    """A signature, with its newest sample where one is kept."""
    return _page(request, get_object_or_404(Signature, pk=pk), None)


@never_cache
@require_safe
def sample(request: HttpRequest, pk: int, sample: int) -> HttpResponse:
    """A signature, with one of its samples."""
    return _page(request, get_object_or_404(Signature, pk=pk), sample)


@never_cache
@require_safe
def raw(request: HttpRequest, pk: int, sample: int, part: str) -> HttpResponse:
    """All that is kept of a body, or the whole curl line, as a text to be saved."""
    shown = get_object_or_404(Sample, pk=sample, signatures=pk)
    text: str | None
    if part == "curl":
        text = curl.line(shown.method, shown.target, shown.request)
    elif part in ("legacy", "candidate"):
        text = (shown.legacy if part == "legacy" else shown.candidate)["text"]
    else:
        text = None
    if text is None:
        raise Http404("nothing of that is kept")
    response = HttpResponse(text.encode("utf-8", "surrogatepass"), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{part}-{sample}.txt"'
    return response


def _page(request: HttpRequest, row: Signature, number: int | None) -> HttpResponse:
    """The page; or what of it is asked for anew, also where the sample of its address is kept no more."""
    if news.asked(request):
        return news.answer(request, _news(request, row), reverse("signature", args=[row.pk]))
    now = time.time()
    samples = _asked(row)
    context = _figures(row, samples, now)
    if live.asked(request):
        return live.part(request, "console/signature_live.html", context | {"part": True}, None)
    return render(request, "console/signature.html", context | _context(request, row, [pk for pk, _ in samples], number, now))


def _figures(row: Signature, samples: list[tuple[int, breakdown.Asked]], now: float) -> dict[str, Any]:
    """What moves."""
    window = configured(row.route).gate.window
    seldom = frequency(row, now - window, now)
    return {
        "signature": row,
        "meaning": meaning(row.kind),
        "frequency": seldom,
        "window": window,
        "bars": _bars(seldom),
        "dimensions": breakdown.breakdown(each for _, each in samples),
        "samples": len(samples),
        **_neighbours(row),
    }


def _context(request: HttpRequest, row: Signature, numbers: list[int], number: int | None, now: float) -> dict[str, Any]:
    """What does not. `numbers`: of the kept samples, the newest first; `number`: of the one that is asked for."""
    if number is None and numbers:
        number = numbers[0]
    if number is not None and number not in numbers:
        raise Http404("that sample is not kept any more")
    comments = list(row.comments.order_by("-pk")[: COMMENTS_SHOWN + 1])
    newest = row.changes.order_by("-pk").values_list("pk", flat=True).first() or 0
    had = (("comments", comments[0].pk if comments else 0), ("changes", newest), ("samples", numbers[0] if numbers else 0))
    context: dict[str, Any] = {
        "history": states.history(row.pk),
        "seen": seen(row),
        "comments": comments[:COMMENTS_SHOWN][::-1],
        "earlier_comments": max(0, row.comments.count() - COMMENTS_SHOWN) if len(comments) > COMMENTS_SHOWN else 0,
        "undoable": undo.of_signature(row, now) if role_of(request.user) >= Role.REVIEWER else None,
        "unfit": "" if fits.fits(row.kind, row.path, ()) else fits.unfit(row.kind, row.path),
        "said": said.heard(request),
        "news": news.News(news.query(had, now), reverse("signature", args=[row.pk])),
    }
    if number is not None:
        place = numbers.index(number)
        shown = row.samples.get(pk=number)
        context |= {
            "newer": numbers[place - 1] if place else None,
            "older": numbers[place + 1] if place + 1 < len(numbers) else None,
            "place": place + 1,
            **_sample(row, shown),
        }
    return context


def _news(request: HttpRequest, row: Signature) -> tuple[str, ...]:
    """What was decided, said and kept that the asking page has not."""
    found: list[str] = []
    change = row.changes.filter(pk__gt=news.number(request, "changes")).order_by("-pk").first()
    if change is not None:
        found.append(gettext("it is %(state)s now, by %(by)s") % {"state": change.new, "by": change.by})
    comments = row.comments.filter(pk__gt=news.number(request, "comments")).count()
    if comments:
        found.append(ngettext("%(count)d new comment", "%(count)d new comments", comments) % {"count": comments})
    samples = Sighting.objects.filter(signature=row, sample_id__gt=news.number(request, "samples")).count()
    if samples:
        found.append(ngettext("%(count)d newer sample", "%(count)d newer samples", samples) % {"count": samples})
    return tuple(found)


def _asked(row: Signature) -> list[tuple[int, breakdown.Asked]]:
    """Of each kept sample, the newest first, what tells requests apart: without their bodies, which may be megabytes together."""
    found = row.samples.order_by("-pk").values_list(
        "pk", "method", "target", KT("legacy__status"), KT("candidate__status"), KT("request__caller")
    )
    return [
        (pk, breakdown.Asked(method, target, int(legacy or 0), int(candidate or 0), caller or ""))
        for pk, method, target, legacy, candidate, caller in found
    ]


def _neighbours(row: Signature) -> dict[str, int | None]:
    """The open signatures of the route before and behind this one, in the order in which its page lists them."""
    every = list(
        Signature.objects.filter(route=row.route, state__in=states.OPEN)
        .order_by("-count", "kind", "path")
        .values_list("pk", "count", "kind", "path")[:MAX_NEIGHBOURS]
    )
    numbers = [pk for pk, *_ in every]
    if row.pk in numbers:  # by its place there: the database may order texts otherwise than Python does
        place = numbers.index(row.pk)
        before, behind = numbers[:place], numbers[place + 1 :]
    else:
        mine = (-row.count, row.kind, row.path)
        before = [pk for pk, count, kind, path in every if (-count, kind, path) < mine]
        behind = [pk for pk, count, kind, path in every if (-count, kind, path) > mine]
    return {
        "previous_open": before[-1] if before else None,
        "next_open": behind[0] if behind else None,
        "open_left": len(every),
    }


def _bars(found: Frequency) -> list[dict[str, int]]:
    """The minutes as bars of CHART_HEIGHT at most."""
    most = max(found.minutes, default=0)
    heights = [0 if not count else max(1, round(CHART_HEIGHT * count / most)) for count in found.minutes]
    return [{"x": 4 * number, "y": CHART_HEIGHT - height, "height": height} for number, height in enumerate(heights) if height]


def _sample(row: Signature, shown: Sample) -> dict[str, Any]:
    line = curl.line(shown.method, shown.target, shown.request)
    differences = _differences(shown, row)
    return {
        "sample": shown,
        "target": cut(shown.target),
        "curl": cut(line, MAX_CURL),
        "curl_notes": curl.notes(shown.method, shown.request),
        "differences": differences[:MAX_DIFFERENCES],
        "more_differences": max(0, len(differences) - MAX_DIFFERENCES),
        "headers": _headers(shown),
        "sides": [
            {"name": name, "side": side, "text": None if side["text"] is None else cut(side["text"], MAX_RAW)}
            for name, side in (("legacy", shown.legacy), ("candidate", shown.candidate))
        ],
        "blocks": sidebyside.bodies(shown.legacy, shown.candidate, shown.differences),
    }


def _differences(shown: Sample, row: Signature) -> list[dict[str, Any]]:
    """The stored differences, those of this signature first."""
    listed = []
    for item in shown.differences:
        kind, path = signature_of(Difference(Kind(item["kind"]), item["path"]))
        listed.append(
            {
                "kind": item["kind"],
                "path": item["path"],
                "candidate_path": item.get("candidate_path", ""),
                "legacy": None if kind is Kind.EXTRA else _value(item["legacy"]),
                "candidate": None if kind is Kind.MISSING else _value(item["candidate"]),
                "valued": kind is not Kind.ORDER and not (kind is Kind.INCONCLUSIVE and item["legacy"] is None),
                "own": kind.value == row.kind and path == row.path,
            }
        )
    return sorted(listed, key=lambda item: not item["own"])


def _value(value: Any) -> Cut:
    return cut(quoted(value))


def _headers(shown: Sample) -> list[dict[str, Any]]:
    """Both sides' headers by name, those in the verdict marked."""
    marked = {item["path"].partition(":")[0] for item in shown.differences if item["kind"] == Kind.HEADER}
    sides = [_joined(side["headers"]) for side in (shown.legacy, shown.candidate)]
    names = sorted(set(sides[0]) | set(sides[1]), key=lambda name: (name not in marked, name))
    found = []
    for name in names:
        left, right = (None if name not in side else cut(side[name]) for side in sides)
        found.append({"name": name, "legacy": left, "candidate": right, "differs": name in marked})
    return found


def _joined(headers: list[list[str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
