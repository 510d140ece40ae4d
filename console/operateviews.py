"""What an operator does: overrides of flags, their end, a look at the flags' source, and gates begun anew.

Each is a form, then a page that says what will happen, then a POST that does it, with the person and the reason. What each gateway answers,
also that it does not, is kept in the audit and shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override as in_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from console import audit, flagviews, routes, steering, watch
from console.admin_port import CHANGE_TIMEOUT, AdminPort, FlagsNow, GatewayError, Overridden
from console.flagboard import Board, FlagView
from console.models import Audit
from console.roles import Role, requires
from console.steering import OverrideAsked
from flags.overrides import LONGEST_TEXT
from gateway.config import Config
from shadow import gate_start, report
from shadow.gate_start import GateStartError
from shadow.models import GateStart
from shadow.storable import storable

REFRESH_TIMEOUT: Final = 12.0
"""Seconds: the gateway waits three of its polls of Unleash, 2 s each, and one interval."""
_UNKNOWN: Final = ("away", "large")
"""Kinds of silence after which nobody knows whether it was done."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OPERATOR)
def override(request: HttpRequest, flag: str) -> HttpResponse:
    """Asks for an override, says what it will do, does it."""
    config, board, view = _flag(flag)
    asked = OverrideAsked.of(request.POST)
    context = {
        **_about(board, view),
        "asked": asked,
        "usual": steering.USUAL_MINUTES,
        "most": steering.MOST_MINUTES,
        "longest": LONGEST_TEXT,
    }
    if request.method != "POST":
        context |= {"on": steering.consequences(config, view, enabled=True), "off": steering.consequences(config, view, enabled=False)}
        return render(request, "console/override.html", context)
    if wrong := _override_wrong(asked, board):
        context |= {"on": steering.consequences(config, view, enabled=True), "off": steering.consequences(config, view, enabled=False)}
        return render(request, "console/override.html", {**context, "wrong": wrong}, status=422)
    if request.POST.get("confirmed") != "yes":
        context |= {
            "state": _("on") if asked.enabled else _("off"),
            "will": steering.consequences(config, view, enabled=asked.enabled),
            "until": time.time() + asked.seconds,
        }
        return render(request, "console/override_confirm.html", context)
    subject = f"{flag} {asked.state} for {asked.minutes} min"
    detail = {"flag": flag, "enabled": asked.enabled, "seconds": asked.seconds}
    name = request.user.get_username()
    return _done(
        request,
        board,
        lambda port: port.override(flag, enabled=asked.enabled, seconds=asked.seconds, by=name, why=asked.why),
        "override-set",
        subject,
        route=_route(view),
        why=asked.why,
        detail=detail,
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OPERATOR)
def end_override(request: HttpRequest, flag: str) -> HttpResponse:
    """Says what the end of an override will do, and ends it."""
    _config, board, view = _flag(flag)
    why = storable(request.POST.get("why", "").strip())
    context = {**_about(board, view), "why": why, "longest": LONGEST_TEXT}
    if request.method != "POST":
        return render(request, "console/override_end.html", context)
    if wrong := steering.reason_wrong(why):
        return render(request, "console/override_end.html", {**context, "wrong": wrong}, status=422)
    name = request.user.get_username()
    return _done(
        request,
        board,
        lambda port: port.end_override(flag, by=name, why=why),
        "override-ended",
        flag,
        route=_route(view),
        why=why,
        detail={"flag": flag},
    )


@never_cache
@require_POST
@requires(Role.OPERATOR)
def refresh(request: HttpRequest) -> HttpResponse:
    """Has the gateway look at the flags' source now."""
    config = routes.configuration()
    board = flagviews.board(config)
    with in_language("en"):  # as the audit keeps everything
        source = board.source if board is not None else ""
    return _done(request, board, lambda port: port.refresh(), "flags-refreshed", source, timeout=REFRESH_TIMEOUT)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OPERATOR)
def begin_gate(request: HttpRequest, name: str) -> HttpResponse:
    """Says what beginning a route's gate anew will do, and does it."""
    config = routes.configuration()
    found = next((each for each in config.routes if each.name == name and not each.split), None) if config is not None else None
    if found is None:
        raise Http404(f"no route {name!r} with a gate")
    now = time.time()
    judged, gate = report.gates({name: found.gate}, now)[name]
    why = storable(request.POST.get("why", "").strip())
    context = {
        "route": name,
        "judged": judged,
        "gate": gate,
        "window": found.gate.window,
        "begun": gate_start.in_force(name),
        "why": why,
        "longest": gate_start.MAX_WHY,
    }
    if request.method != "POST":
        return render(request, "console/gate_begin.html", context)
    try:
        with transaction.atomic():
            made = gate_start.begin(name, by=request.user.get_username(), why=why, at=now)
            detail = {"start": made.pk, "compared_before": gate.compared, "passed_before": gate.passed}
            row = audit.record(
                request, "gate-begun", f"gate of {name}", route=name, why=why, link=reverse("route", args=[name]), detail=detail
            )
    except GateStartError as error:
        return render(request, "console/gate_begin.html", {**context, "wrong": [str(error)]}, status=422)
    return redirect("operation", pk=row.pk)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OPERATOR)
def take_back_gate(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    """Says what taking back a gate's beginning will do, and does it."""
    begun = get_object_or_404(GateStart, pk=pk, route=name)
    why = storable(request.POST.get("why", "").strip())
    context = {"route": name, "begun": begun, "why": why, "longest": gate_start.MAX_WHY}
    if request.method != "POST":
        return render(request, "console/gate_take_back.html", context)
    try:
        with transaction.atomic():
            gate_start.take_back(pk, by=request.user.get_username(), why=why, at=time.time())
            link = reverse("route", args=[name])
            row = audit.record(request, "gate-taken-back", f"gate of {name}", route=name, why=why, link=link, detail={"start": pk})
    except GateStartError as error:
        status = 409 if begun.ended_at is not None else 422
        return render(request, "console/gate_take_back.html", {**context, "wrong": [str(error)]}, status=status)
    return redirect("operation", pk=row.pk)


@never_cache
@require_http_methods(["GET", "HEAD"])
@requires(Role.OPERATOR)
def operation(request: HttpRequest, pk: int) -> HttpResponse:
    """What came of something that an operator did."""
    row = get_object_or_404(Audit, pk=pk)
    return render(
        request,
        "console/operation.html",
        {"row": row, "late": _late(row.detail), "detail": json.dumps(row.detail, indent=2, ensure_ascii=False)},
    )


def _override_wrong(asked: OverrideAsked, board: Board) -> list[str]:
    """What keeps an override from being asked for."""
    if board.look is None:
        return [_("This console looks at no gateway: it was not started by `banyan console`.")]
    return asked.wrong()


def _flag(flag: str) -> tuple[Config, Board, FlagView]:
    """
    Raises:
        Http404: no route reads it, and nothing overrides it.
    """
    config = routes.configuration()
    board = flagviews.board(config)
    view = steering.flag_view(board, flag)
    if config is None or board is None or view is None:
        raise Http404(f"no flag {flag!r}")
    return config, board, view


def _about(board: Board, view: FlagView) -> dict[str, Any]:
    return {
        "flag": view,
        "board": board,
        "address": ", ".join(look.address for look in board.looks),
        "gateways": len(board.looks),
        "replaced": steering.replaced(view),
        "route": _route(view),
    }


def _route(view: FlagView) -> str:
    """The one that reads the flag; "" where several do, or none."""
    names = {name for name, _role in view.uses}
    return names.pop() if len(names) == 1 else ""


def _late(detail: dict[str, Any]) -> list[str]:
    workers = detail.get("workers")
    return [name for name, decides in workers.items() if not decides] if isinstance(workers, dict) else []


def _done(
    request: HttpRequest,
    board: Board | None,
    change: Callable[[AdminPort], Overridden | FlagsNow],
    action: str,
    subject: str,
    *,
    route: str = "",
    why: str = "",
    detail: dict[str, Any] | None = None,
    timeout: float = 0.0,
) -> HttpResponse:
    """Keeps that it is to be done, asks the gateway, keeps what it answered, and leads to it."""
    link = reverse("route", args=[route]) if route else reverse("flags")
    looks = board.looks if board is not None else watch.looks()
    addresses = [look.address for look in looks]
    intent = {**(detail or {}), "gateway": ", ".join(addresses), "outcome": "unknown", "error": "nothing was heard"}
    row = audit.record(request, action, subject, route=route, why=why, link=link, detail=intent)
    audit.conclude(row, _asked_all(addresses, change, timeout or CHANGE_TIMEOUT))
    return redirect("operation", pk=row.pk)


def _asked_all(addresses: list[str], change: Callable[[AdminPort], Overridden | FlagsNow], timeout: float) -> dict[str, Any]:
    """What came of a question to every gateway, all asked at once: each has `timeout` seconds for each wait, and none waits for another."""
    if not addresses:
        return {"outcome": "refused", "error": "this console looks at no gateway"}
    if len(addresses) == 1:
        return _asked(addresses[0], change, timeout)
    with ThreadPoolExecutor(len(addresses), thread_name_prefix="operate") as pool:  # MOST_GATEWAYS at most
        answers = list(pool.map(lambda address: _asked(address, change, timeout), addresses))
    told = [{"gateway": address, **answer} for address, answer in zip(addresses, answers, strict=True)]
    outcomes = {answer["outcome"] for answer in answers}
    found: dict[str, Any] = {"gateways": told, "outcome": outcomes.pop() if len(outcomes) == 1 else "partly", "error": ""}
    found["workers"] = {f"{each['gateway']} {name}": decides for each in told for name, decides in each.get("workers", {}).items()}
    return found | {"until": max((each["until"] for each in told if each.get("until")), default=None)}


def _asked(address: str, change: Callable[[AdminPort], Overridden | FlagsNow], timeout: float) -> dict[str, Any]:
    """What came of a question to one gateway."""
    port = AdminPort(address, timeout)
    try:
        answer = change(port)
    except GatewayError as error:
        return {"outcome": "unknown" if error.kind in _UNKNOWN else "refused", "error": str(error)}
    finally:
        port.close()
    told = {"outcome": "done", "workers": answer.workers, "error": ""}
    if isinstance(answer, Overridden):
        return {**told, "until": answer.until, "warning": answer.warning}
    return {**told, "revision": answer.revision, "source": answer.source, "error": answer.error}
