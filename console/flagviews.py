"""The pages about flags. Reading only, like all of them; flags are flipped where they live, and overridden by `banyan flags override`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import flagwords, routes, watch
from console.flagboard import Board
from gateway.config import Config
from shadow.models import FlagChange
from shadow.storable import storable

NEWEST: Final = 5
"""Changes shown on a route's page."""
PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A change as the pages show it."""

    row: FlagChange
    old: str
    new: str
    by: str
    only: str = ""
    """The fields that changed, where the words are the same before and after."""

    @property
    def missed(self) -> int:
        return self.row.missed if self.row.kind == FlagChange.Kind.MISSED else 0


def board(config: Config | None) -> Board | None:
    """The flags now; None where the console does not know the configuration."""
    return Board(config, watch.latest(), watch.looks()) if config is not None else None


def newest(flags: Sequence[str]) -> list[ChangeLine]:
    """The last few changes of these flags, newest first."""
    return [line(row) for row in FlagChange.objects.filter(flag__in=flags, again=False).order_by("-at", "-pk")[:NEWEST]] if flags else []


def line(row: FlagChange) -> ChangeLine:
    """A stored change in words."""
    if row.kind == FlagChange.Kind.MISSED:
        return ChangeLine(row, "", "", "")
    if row.kind == FlagChange.Kind.OVERRIDE:
        return ChangeLine(
            row, flagwords.override(row.old), flagwords.override(row.new), row.by or ("" if row.why else _("nobody said who"))
        )
    old, new = flagwords.state(row.old), flagwords.state(row.new)
    by = row.by or (_("the file changed") if row.source == "file" else "" if row.why else _("not known"))
    return ChangeLine(row, old, new, by, flagwords.changed(row.old, row.new) if old == new else "")


@never_cache
@require_safe
def flags(request: HttpRequest) -> HttpResponse:
    """Every flag that a route reads, what is wrong with it, who overrides it, and what changed."""
    shown = board(routes.configuration())
    views = shown.every() if shown is not None else []
    chosen = storable(request.GET.get("flag", ""))
    rows = FlagChange.objects.filter(again=False).order_by("-at", "-pk")
    if chosen:
        rows = rows.filter(flag=chosen)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    recorded = FlagChange.objects.exclude(flag="").order_by("flag").values_list("flag", flat=True).distinct()[:500]
    context = {
        "board": shown,
        "flags": views,
        "changes": [line(row) for row in page.object_list],
        "page": page,
        "chosen": chosen,
        "names": sorted({view.name for view in views} | set(recorded) | ({chosen} if chosen else set())),
        "here": urlencode({"flag": chosen, "page": page.number}),
        "filter": urlencode({"flag": chosen}),
    }
    return render(request, "console/flags.html", context)


@never_cache
@require_safe
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """One change with the JSON before and after."""
    row = get_object_or_404(FlagChange, pk=pk)
    return render(request, "console/flag_change.html", {"change": line(row), "lines": flagwords.difference(row.old, row.new)})
