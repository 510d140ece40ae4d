"""What of the configuration this engine cannot carry out. Apart from the engine, so that nobody has to import mitmproxy to ask."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings import Config


def unfit(config: Config, *, alone: bool = False) -> Iterator[str]:
    """One line for each key that cannot be kept. `alone`: there is one worker, whatever the configuration says."""
    if config.gateway.proxy_protocol:
        yield "gateway.proxy_protocol: the mitmproxy engine does not read it; run the edge engine"
    if config.gateway.http3 and config.gateway.workers != 1 and not alone:
        yield "gateway.http3: mitmproxy binds its address by itself, and workers cannot share it; set workers = 1"
    if config.domains is not None and config.domains.enforce != "off":
        yield 'domains.enforce: the mitmproxy engine looks at no calls between domains; write "off", or run the edge engine'
    if config.tracing.endpoint and not alone:  # whoever inspects sees the requests themselves
        yield "tracing.endpoint: the mitmproxy engine records no spans; remove it, or run the edge engine"
    for route in config.routes:
        if route.ledgered:
            yield f'route {route.name!r}: sticky = "idempotency-key": the mitmproxy engine keeps no ledger; run the edge engine'
        if route.failover == "safe":
            yield f'route {route.name!r}: failover = "safe": the mitmproxy engine asks no other provider; run the edge engine'
    for name, upstream in config.upstreams.items():
        if upstream.concurrency is not None:
            yield f"upstreams.{name}.concurrency: the mitmproxy engine does not count; run the edge engine, or remove it"
        if upstream.urls:
            yield f"upstreams.{name}.urls: the mitmproxy engine takes one address; run the edge engine"
        if upstream.health is not None:
            yield f"upstreams.{name}.health: the mitmproxy engine does not ask for it; run the edge engine"
        if upstream.breaker is not None and "breaker" in upstream.model_fields_set:
            yield f"upstreams.{name}.breaker: the mitmproxy engine has none; remove it, or run the edge engine"
        if upstream.url.startswith("unix:"):
            yield f"upstreams.{name}.url: the mitmproxy engine reaches no unix sockets; run the edge engine"
