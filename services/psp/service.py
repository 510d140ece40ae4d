"""POST /api/v1/payments/ charges; GET finds out what became of it. PUT /faults says how to fail from now on, and
GET /hanging which payments wait for an answer that does not come.

A payment is {"reference": "order-17", "amount": 1990, "currency": "EUR", "card": "…"}. With an Idempotency-Key the same request is charged
once (draft-ietf-httpapi-idempotency-key-header): a repeat gets the first answer and `Idempotent-Replayed: true`, another body 422, a twin
that comes meanwhile 409.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, Final, NoReturn, override

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services import writing
from services.psp import faults
from services.psp.door import Door
from services.psp.faults import Fault, UnknownFaultError
from services.psp.ledger import Answer, Ledger, Order, OtherBodyError
from services.serving import PROBLEMS, ProblemError, not_found

MOST_AMOUNT: Final = 10**9
_KEY: Final = re.compile(r"[!-~]{1,255}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_SENT_SECONDS: Final = 0.05
"""What was written before a death is on its way by then."""


def die() -> NoReturn:
    """As a machine does: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL was survived")


class Payments:
    """The endpoints of one provider."""

    def __init__(self, provider: str, ledger: Ledger, door: Door) -> None:
        self._provider = provider
        self._ledger = ledger
        self._door = door
        self._running: set[str] = set()
        """Keys that are being answered. Gone with the process, as is whatever ran."""
        self._hanging: list[str] = []
        """The names of those that were read and get no answer, as long as somebody waits for it."""

    async def pay(self, request: Request) -> Response:
        """POST."""
        key = _key(request)
        data = await writing.whole(request)
        order = _order(writing.parsed(data))
        name = key or order.reference
        if key in self._running:
            raise ProblemError(409, "running", "This key is being answered.")
        if key:
            self._running.add(key)
        try:
            return await self._pay(request, name, key, sha256(data).hexdigest(), order)
        finally:
            self._running.discard(key)

    async def _pay(self, request: Request, name: str, key: str, digest: str, order: Order) -> Response:
        fault = await self._fault(name)
        match fault:
            case Fault.ERROR:
                raise ProblemError(500, "internal", "Something went wrong. Nothing was charged.")
            case Fault.HANG:
                self._hanging.append(name)
                try:
                    await _gone(request)
                finally:
                    self._hanging.remove(name)
                return Response(status_code=499)  # nobody is there to read it
            case Fault.SLOW:
                await asyncio.sleep(faults.SLOW_SECONDS)
            case Fault.DIE_BEFORE_CHARGING:
                die()
        try:
            answer = await run_in_threadpool(self._ledger.charge, name, key, digest, order)
        except OtherBodyError:
            raise ProblemError(422, "key_reused", "This key was used for another payment.") from None
        match fault:
            case Fault.DIE_AFTER_CHARGING:
                die()
            case Fault.DIE_MID_ANSWER:
                return _CutOff(answer.body, answer.status)
        return _response(answer)

    async def _fault(self, name: str) -> Fault | None:
        """What this payment meets. That it brings a death is written down before it does."""
        plan = self._door.plan
        if not plan.chosen:
            return None
        fault = plan.of(name, await run_in_threadpool(self._ledger.met, name))
        if fault in faults.DEATHS:
            await run_in_threadpool(self._ledger.meet, name, fault)
        return fault

    async def search(self, request: Request) -> Response:
        """GET ?key=&reference="""
        key, reference = (request.query_params.get(name, "") for name in ("key", "reference"))
        found = await run_in_threadpool(self._ledger.search, key, reference)
        return JSONResponse({"count": len(found), "results": found})

    async def payment(self, request: Request) -> Response:
        """GET by its id."""
        number = str(request.path_params["payment"]).removeprefix(f"{self._provider}-")
        found = await run_in_threadpool(self._ledger.find, int(number)) if re.fullmatch(r"[0-9]{1,12}", number) else None
        if found is None:
            raise not_found("Payment")
        return JSONResponse(found)

    async def faults(self, request: Request) -> Response:
        """GET and PUT, as the text of `faults.parse`."""
        if request.method == "PUT":
            try:
                plan = faults.parse((await writing.whole(request)).decode())
            except (UnknownFaultError, UnicodeDecodeError) as error:
                raise ProblemError(400, "bad_faults", str(error)) from None
            self._door.keep(plan)
        return PlainTextResponse(str(self._door.plan))

    async def hanging(self, request: Request) -> Response:
        """GET. What a drill has to know before it kills this process: nobody can find out afterwards."""
        return JSONResponse(self._hanging)

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "provider": self._provider, "faults": str(self._door.plan)})


class _CutOff(JSONResponse):
    """Half of an answer."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(_SENT_SECONDS)
        die()


def _response(answer: Answer) -> Response:
    return JSONResponse(answer.body, answer.status, {"Idempotent-Replayed": "true"} if answer.replayed else None)


def _key(request: Request) -> str:
    """The Idempotency-Key; "" where there is none."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return ""
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise ProblemError(400, "bad_key", "Idempotency-Key: expected one, of 1 to 255 visible characters.")
    return given[0]


def _order(values: dict[str, Any]) -> Order:
    currency = writing.text(values, "currency", 3)
    if not _CURRENCY.fullmatch(currency):
        raise ProblemError(400, "bad_field", "currency: expected three capital letters.")
    amount = writing.number(values, "amount", 1, MOST_AMOUNT)
    return Order(writing.text(values, "reference", 255), amount, currency, writing.text(values, "card", 64))


async def _gone(request: Request) -> None:
    """Until the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build(provider: str, ledger: Ledger, door: Door) -> Starlette:
    """The ASGI application."""
    payments = Payments(provider, ledger, door)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        ledger.close()

    async def either(request: Request) -> Response:
        return await (payments.pay(request) if request.method == "POST" else payments.search(request))

    app = Starlette(
        routes=[
            Route("/healthz", payments.healthz, methods=["GET"]),
            Route("/faults", payments.faults, methods=["GET", "PUT"]),
            Route("/hanging", payments.hanging, methods=["GET"]),
            Route("/api/v1/payments/", either, methods=["GET", "POST"]),
            Route("/api/v1/payments/{payment}", payments.payment, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={**PROBLEMS, sqlite3.Error: _unavailable},
    )
    app.router.redirect_slashes = False
    return app


async def _unavailable(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "unavailable", "detail": "The ledger cannot be used. Nothing was charged."}, 503, {"Retry-After": "1"})
