"""What is otherwise in a mesh for every route that it carries out: no reason to refuse one, and nothing to find out at night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from gateway.export.places import Surroundings
from gateway.export.plan import Plan
from gateway.settings import Config


def notes(config: Config, plan: Plan, around: Surroundings, mesh: Literal["envoy", "istio"]) -> Iterator[str]:
    """One line each."""
    if not plan.handed:
        return
    yield "flags are not asked any more: whoever flips one of these routes' has to export again, and apply it"
    yield (
        "an upstream's response_timeout is for the whole answer there, and for its head in the gateway: longer downloads and event streams "
        "are cut off; change `timeout` where there are any"
    )
    yield "what the mesh answers itself (503, 504) is no problem document and has no Banyan-Error"
    yield "these routes leave the access log, the metrics, the console, `banyan top` and `banyan burndown`"
    yield "no trace is begun: traceparent is for the mesh's own tracing to make"
    if config.gateway.expose_decision:
        yield "answers have no Banyan-Route and no Server-Timing"
    yield f"gateway.limits.body_bytes ({config.gateway.limits.body_bytes} bytes) is not kept there"
    if any(config.upstreams[name].breaker is not None for name in plan.upstreams):
        yield "there is no breaker: outlier detection is the mesh's own, and not in this"
    if any(share.mirror for handing in plan.handed for share in handing.shares):
        yield "copies are sent and their answers thrown away: nothing is compared, and no gate counts them"
        if mesh == "istio":
            yield "Istio's copies have -shadow behind their Host, which Django refuses if ALLOWED_HOSTS lacks it, and no Banyan-Shadow"
    if any(len(handing.shares) > 1 and not handing.candidate for handing in plan.handed):
        yield "of providers with different response_timeouts the longest is every one's"
    if around.rest == "gateway":
        yield "what comes to the gateway comes from the mesh: add its addresses to gateway.trusted_proxies, or it is every request's client"
        yield "paths that are not tidy (%, ;, //, dot segments) go to the gateway, which finds out what they could mean"
        if config.gateway.proxy_protocol:
            yield "gateway.proxy_protocol: a trusted proxy that sends no PROXY header is refused, and the mesh is not told to send one"
    else:
        yield "what the gateway refuses beyond RFC 9112 reaches legacy, such as %00 in a path (docs/reference/edge.md)"
    if config.gateway.tls:
        yield "TLS to clients is not in this"
    if mesh == "istio":
        yield "X-Forwarded-For is made by Istio's numTrustedProxies; what clients say of themselves in Forwarded and X-Real-IP stays"
    elif config.gateway.trusted_proxies:
        yield "whoever connects is the client there: where another proxy stands before Envoy, set xff_num_trusted_hops"
