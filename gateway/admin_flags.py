"""The admin port's part about flags: their state, what has changed, overrides, and why a request goes where it goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flags import overrides
from flags.overrides import OverrideError
from gateway import explain, upstreams
from gateway.admin_answers import answer, problem
from gateway.explain import QuestionError
from gateway.explaining import BusyError, Explainer

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor

LARGEST_BODY = 64 * 1024
"""Bytes of a request to these."""


class BodyError(ValueError):
    """A request has none that can be read."""


def flag_states(supervisor: Supervisor) -> dict[str, bool]:
    """Flag → is it enabled at all (for whom, its strategies say)."""
    return {name: bool(feature.get("enabled")) for name, feature in supervisor.flags.changes.features.items()}


def routes(supervisor: Supervisor) -> list[Route]:
    """What to serve."""
    board = supervisor.flags
    explainer = Explainer()

    async def flags(request: Request) -> Response:
        snapshot = board.snapshot
        return answer(
            {
                "source": snapshot.source,
                "revision": snapshot.revision,
                "error": snapshot.error,
                "fetched_at": snapshot.fetched_at,
                "staleness_seconds": _finite(board.source.staleness()),
                "flags": flag_states(supervisor),
                "definitions": {flag: feature for flag in board.names if (feature := board.changes.features.get(flag)) is not None},
                "overrides": {flag: asdict(override) for flag, override in board.overrides.by_flag.items()},
                "problems": [{"flag": found.flag, "problem": found.text} for found in board.problems],
                "workers": {str(worker.index): board.current(worker) for worker in supervisor.workers},
            }
        )

    async def refresh(request: Request) -> Response:
        try:
            await board.source.refresh()
        except TimeoutError:
            return problem(504, "no-answer", "The flag source did not answer.", "The last good flags stay in force; GET /flags says why.")
        return await flags(request)

    async def changes(request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return problem(422, "after", "after is a number.", "It is that of the last change which is known: 0 gets all that are kept.")
        return answer({"gateway": board.run_id, "changes": [asdict(change) for change in board.changes.after(after)]})

    async def override(request: Request) -> Response:
        flag = request.path_params["flag"]
        if flag not in board.names:
            known = ", ".join(board.names) or "none"
            return problem(404, "unknown-flag", f"No route reads a flag {flag!r}.", f"Routes read {known}.")
        try:
            asked = overrides.asked(await _body(request), time.time())
        except (BodyError, OverrideError) as error:
            return problem(422, "override", "That is no override.", str(error))
        outcome = await board.override(flag, asked)
        return answer(
            {"flag": flag, "enabled": asked.enabled, "until": asked.until, "workers": outcome.workers, "warning": outcome.warning}
        )

    async def clear(request: Request) -> Response:
        flag = request.path_params["flag"]
        try:
            body = await _body(request)
            by, why = overrides.said(orjson.loads(body)) if body else ("", "")
        except (AttributeError, ValueError) as error:  # BodyError and OverrideError are such
            return problem(422, "override", 'The body is nothing, or {"by": "who", "why": "…"}.', str(error))
        outcome = await board.clear(flag, by, why)
        if outcome is None:
            return problem(404, "no-override", f"Nothing overrides {flag!r}.", "GET /flags lists what is overridden.")
        return answer({"flag": flag, "enabled": None, "until": None, "workers": outcome.workers, "warning": outcome.warning})

    async def explained(request: Request) -> Response:
        try:
            question = explain.asked(await _body(request))
        except (BodyError, QuestionError) as error:
            return problem(422, "question", "That is no question.", str(error))
        try:
            # In a thread: 1,000 flags are compiled in 40 ms, and this loop feeds the workers.
            found = await explainer.ask(explain.explain, supervisor.config, board.snapshot, dict(board.overrides.by_flag), question)
            found["notes"] += upstreams.remarks(supervisor, found["decision"])
        except BusyError:
            return problem(503, "busy", "Too many explanations are asked for.", "They are worked out one after the other. Ask again.")
        return answer(found)

    return [
        Route("/explain", explained, methods=["POST"]),
        Route("/flags", flags),
        Route("/flags/refresh", refresh, methods=["POST"]),
        Route("/flags/changes", changes),
        Route("/flags/overrides/{flag}", override, methods=["PUT"]),
        Route("/flags/overrides/{flag}", clear, methods=["DELETE"]),
    ]


async def _body(request: Request) -> bytes:
    """
    Raises:
        BodyError: it is too long, or does not come.
    """
    body = b""
    try:
        async with asyncio.timeout(5.0):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise BodyError(f"the body is longer than {LARGEST_BODY} bytes")
    except TimeoutError:
        raise BodyError("the body did not come within 5 s") from None
    return body


def _finite(seconds: float) -> float | None:
    return round(seconds, 3) if seconds < time.time() else None
