"""A plan in Envoy's words: a whole bootstrap with one listener, its routes and clusters (API v3).

Candidate and legacy are routes of their own, the first with `runtime_fraction`: so each has a path, a Host and copies of its own, as in the
gateway. What the gateway cuts from requests and says itself is cut and said on the routes that are handed over. What goes on to the gateway
goes as it came: there the gateway does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.export import paths
from gateway.export.losses import Loss
from gateway.export.places import Surroundings, duration, numeric
from gateway.export.plan import Handing, Plan, Share
from gateway.policy.decision import LEGACY
from gateway.settings import Config

Json = dict[str, Any]

REST: Final = "banyan:gateway"
"""The gateway's cluster. No upstream can be named so."""
_TYPES: Final = "type.googleapis.com/envoy.extensions"
_MILLION: Final = 1_000_000
_CUT: Final = ("banyan-identity", "banyan-shadow", "banyan-timeout-ms", "forwarded", "x-real-ip", "traceparent", "tracestate")
"""What the gateway believes from trusted proxies only, or from nobody (docs/reference/headers.md). It is cut from everything: where the
gateway gets the rest, Envoy is a trusted proxy."""
_SAID: Final = {"X-Forwarded-For": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "X-Forwarded-Host": "%REQ(:AUTHORITY)%"}
"""In the place of what clients say."""
_OURS: Final = ("banyan-error", "banyan-replayed", "banyan-route")
"""What an answer has from the gateway, and from no upstream."""


def unsayable(config: Config, around: Surroundings, handing: Handing) -> Iterator[Loss]:
    """What Envoy cannot say of it."""
    for name in handing.upstreams:
        upstream = config.upstreams[name]
        if around.secure(config, name) and upstream.tls.verify and not upstream.tls.ca:
            why = f"{name} is verified by the authorities that the gateway's machine knows; name a file of them: upstreams.{name}.tls.ca"
            yield Loss("tls", why, "Envoy, which knows none by itself, would believe whoever answers")
    if around.rest == "legacy" and paths.wild(handing.match):
        why = "a path with % or ; in it reaches the candidate where it can mean nothing else"
        yield Loss("encoded-paths", why, "legacy answers all of these")


def document(config: Config, plan: Plan, around: Surroundings, listen: tuple[str, int]) -> Json:
    """The bootstrap."""
    rest: Json = {"route": {"cluster": REST, "timeout": "0s"}}
    if around.rest == "legacy":
        rest = _answer(config, [Share(LEGACY, 1)])
    routes: list[Json] = [{"name": "trace", "match": _match("/.*", ("TRACE",)), "direct_response": {"status": 405}}]
    for entry in plan.entries:
        if entry.handing is None:
            routes.append({"name": f"{entry.route} (gateway)", "match": _match(paths.loosely(entry.match), entry.methods), **rest})
        else:
            routes += _routes(config, entry.handing)
    routes.append({"name": "rest", "match": {"safe_regex": {"regex": ".*"}}, **rest})
    names = list(dict.fromkeys([*plan.upstreams, *([LEGACY] if around.rest == "legacy" else [])]))
    clusters = [_cluster(config, name, around) for name in names]
    if around.rest == "gateway":
        clusters.append(_placed(config, REST, [(*around.gateway, "")], 1.0))
    return {"static_resources": {"listeners": [_listener(config, listen, routes)], "clusters": clusters}}


def _routes(config: Config, handing: Handing) -> Iterator[Json]:
    """Its routes, each tried before the next one: first those of the methods that are copied, and for each the candidate's first."""
    copied = next((share.mirror.methods for share in handing.shares if share.mirror), frozenset())
    groups = [tuple(sorted(copied))] if copied else []
    left = tuple(method for method in handing.methods if method not in copied)
    if left or not handing.methods:
        groups.append(left)
    path = paths.expression(handing.match)
    for number, methods in enumerate(groups):
        mirrored = bool(copied) and number == 0
        first, *others = handing.shares
        if others and handing.candidate:  # two sides, each with a path and a Host of its own
            match = {**_match(path, methods), "runtime_fraction": {"default_value": {"numerator": first.weight, "denominator": "HUNDRED"}}}
            yield {"name": handing.route, "match": match, **_answer(config, [first], handing.match, mirrored=mirrored)}
            yield {"name": handing.route, "match": _match(path, methods), **_answer(config, others, handing.match, mirrored=mirrored)}
        else:
            yield {
                "name": handing.route,
                "match": _match(path, methods),
                **_answer(config, [first, *others], handing.match, mirrored=mirrored),
            }


def _match(path: str, methods: tuple[str, ...]) -> Json:
    found: Json = {"safe_regex": {"regex": path}}
    if methods:
        exactly: Json = {"exact": methods[0]} if len(methods) == 1 else {"safe_regex": {"regex": paths.either(methods)}}
        found["headers"] = [{"name": ":method", "string_match": exactly}]
    return found


def _answer(config: Config, shares: list[Share], match: str = "", *, mirrored: bool = False) -> Json:
    """One of `shares` answers."""
    patience = max(config.upstreams[share.upstream].response_timeout for share in shares)
    action: Json = {"cluster": shares[0].upstream}
    if len(shares) > 1:
        action = {"weighted_clusters": {"clusters": [{"name": share.upstream, "weight": share.weight} for share in shares]}}
    action["timeout"] = duration(patience)
    action["retry_policy"] = {"retry_on": "connect-failure", "num_retries": 1}  # nothing was sent: it may be a POST
    share = shares[0]
    if share.rewrite is not None:
        rewritten = {"pattern": {"regex": paths.expression(match, groups=True)}, "substitution": paths.substitution(match, share.rewrite)}
        action["regex_rewrite"] = rewritten
    if share.host is not None:
        action["host_rewrite_literal"] = share.host
    if mirrored and (mirror := share.mirror) is not None:
        part = {"numerator": max(1, round(mirror.share * _MILLION)), "denominator": "MILLION"}
        action["request_mirror_policies"] = [
            {
                "cluster": mirror.upstream,
                "runtime_fraction": {"default_value": part},
                "disable_shadow_host_suffix_append": True,
                "request_headers_mutations": [{"append": _said("Banyan-Shadow", "1")}],
            }
        ]
    return {
        "route": action,
        "request_headers_to_add": [_said("Banyan-Timeout-Ms", str(round(patience * 1000)))],
        "response_headers_to_remove": list(_OURS),
    }


def _said(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _listener(config: Config, listen: tuple[str, int], routes: list[Json]) -> Json:
    limits = config.gateway.limits
    everywhere = {
        "name": "all",
        "domains": ["*"],
        "request_headers_to_remove": list(_CUT),
        "request_headers_to_add": [_said(name, value) for name, value in _SAID.items()],
        "routes": routes,
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "banyan",
        "codec_type": "AUTO" if config.gateway.http2 else "HTTP1",
        # Paths are matched, and passed on, as they came: whatever tidies them would make another route of them.
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        # Whoever connects is the client, and what he says of himself is not believed. Behind another proxy: xff_num_trusted_hops.
        "use_remote_address": True,
        # Nobody is internal, whose X-Request-ID and x-envoy-* Envoy would believe: of an empty list it makes all private networks.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "server_header_transformation": "PASS_THROUGH",
        "http_protocol_options": {"allow_custom_methods": True},
        "common_http_protocol_options": {
            "idle_timeout": duration(limits.idle_timeout),
            "max_headers_count": limits.headers,
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "max_request_headers_kb": max(1, min(8192, -(-limits.header_bytes // 1024))),
        "request_headers_timeout": duration(limits.header_timeout),
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"name": "banyan", "most_specific_header_mutations_wins": True, "virtual_hosts": [everywhere]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": listen[0], "port_value": listen[1]}}
    return {"name": "banyan", "address": address, "filter_chains": [{"filters": filters}]}


def _cluster(config: Config, name: str, around: Surroundings) -> Json:
    upstream = config.upstreams[name]
    found = _placed(config, name, around.places(config, name), upstream.connect_timeout)
    if around.secure(config, name):
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": _tls(config, name)}
    if (health := upstream.health) is not None:
        asked: Json = {"path": health.path, "expected_statuses": [{"start": 200, "end": 400}]}
        if health.host:
            asked["host"] = health.host
        found["health_checks"] = [
            {
                "timeout": duration(health.timeout),
                "interval": duration(health.interval),
                "interval_jitter_percent": 10,
                "healthy_threshold": health.rise,
                "unhealthy_threshold": health.fall,
                "http_health_check": asked,
            }
        ]
    return found


def _placed(config: Config, name: str, places: list[tuple[str, int, str]], connect_timeout: float) -> Json:
    """A cluster. It lets in as many requests as the gateway has connections; Envoy's own bound is 1,024."""
    most = config.gateway.limits.connections
    endpoints = [{"endpoint": {"address": _address(*place)}} for place in places]
    return {
        "name": name,
        "type": "STATIC" if all(path or numeric(host) for host, _, path in places) else "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": duration(connect_timeout),
        "circuit_breakers": {"thresholds": [{"max_connections": most, "max_pending_requests": most, "max_requests": most}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _address(host: str, port: int, path: str) -> Json:
    return {"pipe": {"path": path}} if path else {"socket_address": {"address": host, "port_value": port}}


def _tls(config: Config, name: str) -> Json:
    """Files are named as banyan.toml does, made absolute."""
    upstream = config.upstreams[name]
    tls = upstream.tls
    server = tls.server_name or upstream.places[0][0]
    common: Json = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}}
    if tls.verify:
        names = [{"san_type": "IP_ADDRESS" if numeric(server) else "DNS", "matcher": {"exact": server}}]
        authorities = {"filename": str(config.resolve(tls.ca))}
        common["validation_context"] = {"trusted_ca": authorities, "match_typed_subject_alt_names": names}
    if tls.certificate:
        pair = {"certificate_chain": tls.certificate, "private_key": tls.key}
        common["tls_certificates"] = [{key: {"filename": str(config.resolve(file))} for key, file in pair.items()}]
    found = {"@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": common}
    return found if numeric(server) else {**found, "sni": server}
