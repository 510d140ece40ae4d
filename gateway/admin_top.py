"""The admin port's part about hot endpoints: GET /top, and GET /top/minutes for whoever keeps them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin_answers import answer, problem
from gateway.endpoints.live import MINUTES, ORDERS, Span, listing, told
from gateway.explaining import BusyError, Explainer

if TYPE_CHECKING:
    from gateway.endpoints.templates import Templates
    from gateway.supervisor import Supervisor

LIMIT = 50
"""Endpoints of an answer …"""
MOST = 500
"""… and how many may be asked for."""
DEFAULT_MINUTES = 15
_BUSY = "They are worked out one after the other. Ask again."

_encoder = msgspec.json.Encoder()


class QuestionError(ValueError):
    """What is wrong with the query."""


def routes(supervisor: Supervisor) -> list[Route]:
    """What to serve."""
    # In a thread: an hour of many endpoints takes 0.2 s, and this loop feeds the workers.
    thread = Explainer()
    live = supervisor.live

    async def top(request: Request) -> Response:
        try:
            minutes = _number(request, "minutes", DEFAULT_MINUTES, 1, MINUTES)
            limit = _number(request, "limit", LIMIT, 1, MOST)
            order = _order(request)
        except QuestionError as error:
            return problem(422, "question", "That cannot be listed.", str(error))
        now = time.time()
        try:
            found = await thread.ask(_listed, live.span(minutes, now), live.templates, order, limit)
        except BusyError:
            return problem(503, "busy", "Too many have asked.", _BUSY)
        asked = {"gateway": supervisor.flags.run_id, "at": now, "minutes": minutes, "counting_since": live.began}
        return answer(asked | {"told": live.told, "stood_for": round(live.stood_for)} | found)

    async def kept(request: Request) -> Response:
        try:
            after = _number(request, "after", 0, 0, 2**40)
        except QuestionError as error:
            return problem(422, "after", "after is a number of seconds.", str(error))
        try:
            found = await thread.ask(_encoded, supervisor.flags.run_id, live.after(after, time.time()), live.templates)
        except BusyError:
            return problem(503, "busy", "Too many have asked.", _BUSY)
        return Response(found["body"], media_type="application/json", headers={"Cache-Control": "no-store"})

    return [Route("/top", top), Route("/top/minutes", kept)]


def _listed(span: Span, templates: Templates, order: str, limit: int) -> dict[str, Any]:
    return listing(span, templates, order=order, limit=limit)


def _encoded(gateway: str, span: Span, templates: Templates) -> dict[str, Any]:
    return {"body": _encoder.encode({"gateway": gateway, "minutes": told(span, templates)})}


def _order(request: Request) -> str:
    """
    Raises:
        QuestionError: there is none of that name.
    """
    order = request.query_params.get("sort", "time")
    if order not in ORDERS:
        raise QuestionError(f"sort is one of {', '.join(ORDERS)}")
    return order


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """
    Raises:
        QuestionError: it is none from `least` to `most`.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and least <= int(text) <= most):
        raise QuestionError(f"{name} is a whole number from {least} to {most}")
    return int(text)
