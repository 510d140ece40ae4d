"""What both services share of HTTP: parameters, errors, the health check, the application around their endpoints."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from services.database import DatabaseError, Pool
from services.faults import Fault
from services.stamp import FIELD, Stamped, StampError, Verifier

MAX_ID = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}")

type Endpoint = Callable[[Request], Response]
type Write = Callable[[Request], Awaitable[Response]]


class ProblemError(Exception):
    """An answer other than the one asked for: `{"error": code, "detail": sentence}`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def not_found(what: str) -> ProblemError:
    return ProblemError(404, "not_found", f"{what} not found.")


def whole_number(text: str) -> int | None:
    """A positive whole number of 31 bits; None for everything else."""
    value = int(text) if _DIGITS.fullmatch(text) else 0
    return value if 1 <= value <= MAX_ID else None


def identifier(request: Request, name: str, what: str) -> int:
    """The id in a path. What can't be one is not found, like one that isn't there."""
    value = whole_number(request.path_params[name])
    if value is None:
        raise not_found(what)
    return value


def parameter(request: Request, name: str) -> int | None:
    """A whole number in the query string; None where it isn't given. Of several, the last one counts."""
    text = request.query_params.get(name)
    if text is None:
        return None
    value = whole_number(text)
    if value is None:
        raise ProblemError(400, "bad_parameter", f"{name}: expected a whole number from 1 to {MAX_ID}.")
    return value


def stamped(request: Request, verifier: Verifier, *, login: bool = False) -> Stamped:
    """Who calls. `login`: somebody who has logged in.

    Raises:
        StampError: the request is to be refused.
    """
    return verifier.read(request.headers.getlist(FIELD), login=login)


def application(
    pool: Pool,
    endpoints: Mapping[str, Endpoint],
    faults: frozenset[Fault],
    verifier: Verifier,
    writes: Mapping[str, Write] | None = None,
    quick: frozenset[str] = frozenset(),
) -> Starlette:
    """The ASGI application of a service. Endpoints are plain functions, run in threads: they wait for the disk. `writes`: those for POST,
    by paths of `endpoints`; they are coroutines, since a body may be long in coming. `quick`: those of `endpoints` that read one row by its
    key, which takes less than to hand it to a thread and back.

    Where stamps can be verified, what is not stamped for this service is refused (services/stamp). Where nobody has said how, as when the
    service is run alone, reading is open to whoever reaches the port, and nobody can write.
    """

    def guarded(endpoint: Endpoint) -> Endpoint:
        def answer(request: Request) -> Response:
            if verifier.configured:
                stamped(request, verifier)
            return endpoint(request)

        return answer

    def route(path: str, endpoint: Endpoint) -> Route:
        read, write = guarded(endpoint), (writes or {}).get(path)
        if path in quick:

            async def at_once(request: Request) -> Response:
                if verifier.configured:
                    await run_in_threadpool(stamped, request, verifier)  # it may have to fetch a key
                return endpoint(request)

            return Route(path, at_once, methods=["GET"])
        if write is None:
            return Route(path, read, methods=["GET"])

        async def either(request: Request) -> Response:
            return await write(request) if request.method == "POST" else await run_in_threadpool(read, request)

        return Route(path, either, methods=["GET", "POST"])

    def healthz(request: Request) -> Response:
        with pool.reading() as database:
            database.first("SELECT 1")
        return JSONResponse({"status": "ok", "faults": sorted(faults)})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        pool.close()

    routes: Sequence[BaseRoute] = [
        Route("/healthz", healthz, methods=["GET"]),
        *(route(path, endpoint) for path, endpoint in endpoints.items()),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            **PROBLEMS,
            DatabaseError: _unavailable,
            StampError: _refused,
        },
    )
    app.router.redirect_slashes = False
    return app


def _answer(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": code, "detail": detail}, status, headers)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - Starlette's type for handlers is wider than what it calls them with
    return _answer(error.status, error.code, error.detail)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code == 404:
        return _answer(404, "not_found", "There is no such API.")
    if error.status_code == 405:
        return _answer(405, "method_not_allowed", f"{request.method} is not allowed here.", error.headers)
    return _answer(error.status_code, "error", error.detail, error.headers)


PROBLEMS: Final = {ProblemError: _problem, HTTPException: _http_exception}
"""The handlers of what every service answers alike."""


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StampError)  # noqa: S101 - as above
    headers = {"WWW-Authenticate": FIELD} if error.status == 401 else {"Retry-After": "1"}
    return _answer(error.status, error.code, str(error), headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    return _answer(503, "unavailable", str(error), {"Retry-After": "1"})
