"""The admin port: is it alive, is it ready, what does it do, and what does it count. JSON, and Prometheus' text for /metrics.

/healthz never depends on anything but this process: a liveness probe that asks an upstream turns its outage into a restart loop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import admin_capture, admin_flags, admin_top
from gateway.admin_answers import answer, problem
from gateway.domains.metrics import state as domains_state
from gateway.identity import stamping
from gateway.masking import masked
from gateway.metrics import Collector
from gateway.settings import Route as RouteSettings
from gateway.splits import standing
from gateway.upstreams import state as upstreams_state

if TYPE_CHECKING:
    from gateway.settings import Config
    from gateway.supervisor import Supervisor
    from gateway.switchboard import Switchboard


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


AWAY_SECONDS = 2.0
"""A worker that ends is back within this time (edge.md 66), and nobody has to look away; one that stays away for longer keeps ending."""
LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]", "::1"))


class _OwnName:
    """On a loopback address, answers only to loopback names: a page in somebody's browser, whose own name was made to point here (DNS
    rebinding), reads nothing. And it changes nothing either."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if scope["type"] == "http" and server is not None and server[0] in LOOPBACK:
            name = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if name.rpartition(":")[0] not in LOOPBACK and name not in LOOPBACK:
                refusal = answer({"error": f"this is the admin port of {server[0]}, not of the host that was asked for"}, 421)
                await refusal(scope, receive, send)
                return
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and b"origin" in dict(scope["headers"]):
            # Browsers name the page's origin with every POST: no page in somebody's browser drains his gateway.
            refusal = answer({"error": "this is no page's to ask for: the request has an Origin field"}, 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _KeySet:
    """The public keys of stamps as configured now, read once for each configuration."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._config: Config | None = None
        self._document: object = None

    def __call__(self) -> object:
        config = self._supervisor.config
        if config is not self._config:
            self._config, self._document = config, stamping.published(config)
        return self._document


def application(supervisor: Supervisor) -> Starlette:
    """The admin port's ASGI application."""
    registry = CollectorRegistry()
    registry.register(Collector(supervisor))
    key_set = _KeySet(supervisor)

    async def healthz(request: Request) -> Response:
        return answer({"status": "alive"})

    async def readyz(request: Request) -> Response:
        if supervisor.draining or supervisor.left_at is not None:
            return answer({"status": "draining"}, 503)
        if not supervisor.ready:
            return answer({"status": "starting"}, 503)
        now = time.monotonic()
        if away := [each for each in supervisor.workers if not each.ready.is_set() and now - each.away_at > AWAY_SECONDS]:
            # Its share of new connections waits in its socket (ADR 3): better they came where they are answered.
            reason = ", ".join(f"worker {worker.index} has been away for {now - worker.away_at:.0f} s" for worker in away)
            return answer({"status": "degraded", "reason": reason}, 503)
        return answer({"status": "ready"})

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def routes(request: Request) -> Response:
        states = admin_flags.flag_states(supervisor)
        listed = []
        for route in supervisor.config.routes:
            stats = supervisor.totals.route(route.name)
            shadow = stats.shadow
            listed.append(
                {
                    "name": route.name,
                    "match": route.match,
                    "methods": route.methods,
                    "priority": route.priority,
                    **(_split(route, supervisor.flags, supervisor.in_doubt) if route.split else _candidate(route, states)),
                    "rate_limit": route.rate_limit.model_dump() if route.rate_limit is not None else None,
                    "answered": stats.answered,
                    "fallbacks": stats.fallbacks,
                    "shadow": {
                        "eligible": shadow.eligible,
                        "captured": shadow.captured,
                        "skipped": shadow.skipped,
                        "dropped": shadow.dropped,
                    },
                }
            )
        return answer({"routes": listed})

    async def upstreams(request: Request) -> Response:
        return answer({"upstreams": upstreams_state(supervisor)})

    async def jwks(request: Request) -> Response:
        return answer(key_set())

    async def guard(request: Request) -> Response:
        return answer(supervisor.guard.state())

    async def domains(request: Request) -> Response:
        return answer(domains_state(supervisor))

    async def config(request: Request) -> Response:
        reloads = supervisor.reloads
        last = reloads.last
        return answer(
            {
                "path": str(supervisor.config.path),
                "number": supervisor.number,
                "loaded_at": reloads.succeeded_at,
                "workers": {str(worker.index): worker.number == supervisor.number for worker in supervisor.workers},
                "reloads": {"ok": reloads.ok, "failed": reloads.failed},
                "last_reload": last and {"why": last.why, "at": last.at, "ok": last.ok, "error": last.error},
                "jwks": supervisor.keys.state(),
                "config": masked(supervisor.config),
            }
        )

    async def reload(request: Request) -> Response:
        if not supervisor.ready or supervisor.draining:
            return problem(503, "not-serving", "The gateway is starting or draining.", "Nothing was read.")
        outcome = await supervisor.reloads.reload("POST /reload")
        if outcome.problems:
            return problem(422, "configuration", "The file cannot be used; the old configuration serves on.", outcome.error)
        if outcome.unconfirmed:
            return problem(500, "unconfirmed", "The file is good, but not every worker serves by it.", outcome.error)
        return answer({"status": "ok", "number": supervisor.number, "workers": len(supervisor.workers)})

    async def drain(request: Request) -> Response:
        supervisor.leave()
        gauges = [worker.gauges for worker in supervisor.workers]
        return answer({"status": "draining", "connections": sum(each[0] for each in gauges), "in_flight": sum(each[1] for each in gauges)})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/routes", routes),
            Route("/upstreams", upstreams),
            *admin_flags.routes(supervisor),
            *admin_top.routes(supervisor),
            *admin_capture.routes(supervisor),
            Route("/config", config),
            Route("/jwks", jwks),
            Route("/guard", guard),
            Route("/domains", domains),
            Route("/reload", reload, methods=["POST"]),
            Route("/drain", drain, methods=["POST"]),
        ],
        middleware=[Middleware(_OwnName)],
    )


def _candidate(route: RouteSettings, states: Mapping[str, bool]) -> dict[str, Any]:
    return {
        "candidate": route.candidate,
        "split": None,
        "flag": {"name": route.serve_flag, "enabled": states.get(route.serve_flag)},
        "shadow_flag": {"name": route.shadow_flag, "enabled": states.get(route.shadow_flag)},
        "fallback": route.fallback,
    }


def _split(route: RouteSettings, flags: Switchboard, in_doubt: Mapping[str, int]) -> dict[str, Any]:
    """In the same shape: what only a candidate has is null."""
    feature = flags.changes.features.get(route.split_flag)
    found = standing(feature, flags.overrides.answers.get(route.split_flag), route.split)
    split = {
        "configured": route.split,
        "weights": found.weights,
        "from": found.source,
        "sticky": route.sticky,
        "failover": route.failover,
        "ledger": route.ledgered,
        "require_key": route.require_key,
        "in_doubt": in_doubt.get(route.name, 0) if route.ledgered else None,
    }
    enabled = None if feature is None else bool(feature.get("enabled"))
    return {
        "candidate": None,
        "split": split,
        "flag": {"name": route.split_flag, "enabled": enabled},
        "shadow_flag": None,
        "fallback": False,
    }


async def serve(supervisor: Supervisor) -> None:
    """Runs the admin port until cancelled."""
    settings = uvicorn.Config(application(supervisor), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    await _Server(settings).serve(sockets=[supervisor.sockets.admin])
