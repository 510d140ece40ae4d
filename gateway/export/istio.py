"""A plan in Istio's words (networking.istio.io/v1): one VirtualService with all routes in order, and a DestinationRule for each service.

It is one VirtualService because Istio promises no order among several of one host. A VirtualService changes path and Host for a route as a
whole, and not for one of its destinations: what needs more stays with the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.export import paths
from gateway.export.losses import Loss
from gateway.export.places import Surroundings, duration, numeric
from gateway.export.plan import Handing, Plan, Share
from gateway.policy.decision import LEGACY
from gateway.settings import Config

Json = dict[str, Any]

API: Final = "networking.istio.io/v1"
LONGEST: Final = 1024
"""Characters of an expression, which Istio's webhook refuses beyond that."""
_HEADERS: Final[Json] = {"request": {"remove": ["banyan-identity", "banyan-shadow", "banyan-timeout-ms"]}}
"""What no client may say of itself."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """What it is called there."""

    name: str = "banyan"
    """Of the VirtualService, and what the names of its DestinationRules begin with."""
    namespace: str = ""
    hosts: tuple[str, ...] = ("*",)
    """Those that clients ask for."""
    gateways: tuple[str, ...] = ()
    """Istio's ingress gateways, as namespace/name; none: the sidecars."""


_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?")
_HOST: Final = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_GATEWAY: Final = re.compile(r"(?:[a-z0-9-]+/)?[a-z0-9][a-z0-9.-]*")


def impossible(mesh: Mesh) -> str:
    """What of it cannot be, and what would be right; '' where all can."""
    for option, name in (("--name", mesh.name), ("--namespace", mesh.namespace)):
        if name and not _NAME.fullmatch(name):
            return f"{option}: {name[:60]!r} is no name: lower-case letters, digits and hyphens, at most 42"
    for host in mesh.hosts:
        if not _HOST.fullmatch(host):
            return f"--host: {host[:80]!r} is no host; write shop.example.com, *.example.com or *"
    for gateway in mesh.gateways:
        if not _GATEWAY.fullmatch(gateway):
            return f"--ingress: {gateway[:80]!r} is no Istio Gateway; write NAMESPACE/NAME"
    if "*" in mesh.hosts and not mesh.gateways:
        return "sidecars take no host of *: say which hosts it is about (--host), or through which Istio Gateway they come (--ingress)"
    return ""


def unsayable(config: Config, around: Surroundings, handing: Handing) -> Iterator[Loss]:
    """What a VirtualService cannot say of it."""
    why = "Istio tidies paths before it matches them, unless meshConfig.pathNormalization.normalization is NONE"
    yield Loss("untidy-paths", why, "a path such as /x/../reviews/3 reaches the candidate, and not legacy as it came")
    if around.rest == "legacy" and paths.wild(handing.match):
        why = "a path with % or ; in it reaches the candidate where it can mean nothing else"
        yield Loss("encoded-paths", why, "legacy answers all of these")
    if strange := sorted(set(handing.methods) - paths.KNOWN_METHODS):
        why = f"the methods {', '.join(strange)} are refused by proxies that do not know them"
        yield Loss("method", why, "its callers are answered 400")
    if len(paths.expression(handing.match, groups=True)) > LONGEST:
        yield Loss("path", f"match = {handing.match!r} is an expression of over {LONGEST} characters", "Istio refuses it")
    first = handing.shares[0]
    if len(handing.shares) > 1 and (first.rewrite is not None or first.host is not None):
        why = f"the candidate, which gets {first.weight} %, is asked for another path or by another host than legacy"
        yield Loss("share-rewrite", why, "a VirtualService would ask legacy for the same")
    if len(handing.shares) > 1 and first.mirror is not None:
        why = "requests are shared between two, and each one's are copied to the other"
        yield Loss("share-mirror", why, "a VirtualService would send copies to the side that has answered already")
    for name in handing.upstreams:
        yield from _of_service(config, around, name)


def _of_service(config: Config, around: Surroundings, name: str) -> Iterator[Loss]:
    places = around.places(config, name)
    host, _, path = places[0]
    if len(places) > 1 or path or numeric(host) or host == "localhost":
        why = f"{name} is no service by name; say which it is: --service {name}=HOST:PORT"
        yield Loss("service", why, "Istio routes to services of its registry, and to no addresses")
    for other in config.upstreams:
        if other != name and [place[0] for place in around.places(config, other)] == [host]:
            why = f"{name} and {other} are one service to Istio, {host}; give each a name of its own with --service"
            yield Loss("one-service", why, "one would be treated as the other is: its time to connect, its TLS")
    if (health := config.upstreams[name].health) is not None:
        lost = "Istio asks nobody; Kubernetes' readiness probes may take its place"
        yield Loss("health", f"{name} is asked how it is, at {health.path}", lost)
    tls = config.upstreams[name].tls
    if around.secure(config, name) and tls.verify and not tls.ca:
        why = f"{name} is verified by the authorities that the gateway's machine knows; name a file of them: upstreams.{name}.tls.ca"
        yield Loss("tls", why, "a proxy that knows none would believe whoever answers")


def documents(config: Config, plan: Plan, around: Surroundings, mesh: Mesh) -> list[Json]:
    """The VirtualService, and the DestinationRules."""
    rest: Json = {"route": [_destination(*around.gateway)], "retries": {"attempts": 0}, "headers": _HEADERS}
    if around.rest == "legacy":
        rest = _answer(config, around, [Share(LEGACY, 1)])
    http: list[Json] = [{"name": "trace", "match": [{"method": {"exact": "TRACE"}}], "directResponse": {"status": 405}}]
    for entry in plan.entries:
        if entry.handing is None:
            http.append({"name": f"{entry.route}-gateway", "match": [_match(paths.loosely(entry.match), entry.methods)], **rest})
        else:
            http += _routes(config, around, entry.handing, paths.expression(entry.match))
    http.append({"name": "rest", **rest})
    spec: Json = {"hosts": list(mesh.hosts), **({"gateways": list(mesh.gateways)} if mesh.gateways else {}), "http": http}
    names = dict.fromkeys([*plan.upstreams, *([LEGACY] if around.rest == "legacy" else [])])
    rules = [_rule(config, around, name, _metadata(mesh, label)) for name, label in _labels(mesh, names).items()]
    return [{"apiVersion": API, "kind": "VirtualService", "metadata": _metadata(mesh, mesh.name), "spec": spec}, *rules]


def _labels(mesh: Mesh, upstreams: Iterable[str]) -> dict[str, str]:
    """What each one's DestinationRule is called: a label of RFC 1123, and no two the same."""
    found: dict[str, str] = {}
    for name in upstreams:
        label = re.sub(r"[^a-z0-9-]+", "-", f"{mesh.name}-{name}".lower())[:59].strip("-")
        found[name] = f"{label}-{len(found)}" if label in found.values() else label
    return found


def _metadata(mesh: Mesh, name: str) -> Json:
    return {"name": name, **({"namespace": mesh.namespace} if mesh.namespace else {})}


def _match(path: str, methods: Iterable[str]) -> Json:
    found: Json = {"uri": {"regex": path}}
    if named := sorted(methods):
        found["method"] = {"exact": named[0]} if len(named) == 1 else {"regex": paths.either(named)}
    return found


def _destination(host: str, port: int) -> Json:
    return {"destination": {"host": host, "port": {"number": port}}}


def _place(config: Config, around: Surroundings, name: str) -> Json:
    host, port, _ = around.places(config, name)[0]
    return _destination(host, port)


def _routes(config: Config, around: Surroundings, handing: Handing, path: str) -> Iterator[Json]:
    """Its routes: first that of the methods that are copied."""
    mirror = handing.shares[0].mirror
    copied = mirror.methods if mirror is not None else frozenset()
    shares = list(handing.shares)
    left = [method for method in handing.methods if method not in copied]
    if mirror is not None:
        mirrors = [{**_place(config, around, mirror.upstream), "percentage": {"value": max(0.0001, round(100 * mirror.share, 4))}}]
        name = f"{handing.route}-mirrored"
        yield {"name": name, "match": [_match(path, copied)], **_answer(config, around, shares, handing.match), "mirrors": mirrors}
    if left or not handing.methods:
        yield {"name": handing.route, "match": [_match(path, left)], **_answer(config, around, shares, handing.match)}


def _answer(config: Config, around: Surroundings, shares: list[Share], match: str = "") -> Json:
    """One of `shares` answers."""
    patience = max(config.upstreams[share.upstream].response_timeout for share in shares)
    total = sum(share.weight for share in shares)
    found: Json = {"route": []}
    for share in shares:
        place = _place(config, around, share.upstream)
        found["route"].append({**place, "weight": share.weight} if total != share.weight else place)
    rewrite: Json = {}
    if shares[0].rewrite is not None:
        rewritten = {"match": paths.expression(match, groups=True), "rewrite": paths.substitution(match, shares[0].rewrite)}
        rewrite["uriRegexRewrite"] = rewritten
    if shares[0].host is not None:
        rewrite["authority"] = shares[0].host
    if rewrite:
        found["rewrite"] = rewrite
    found["timeout"] = duration(patience)
    found["retries"] = {"attempts": 0}  # Istio's own would repeat what may have been executed
    found["headers"] = _HEADERS
    return found


def _rule(config: Config, around: Surroundings, name: str, metadata: Json) -> Json:
    upstream = config.upstreams[name]
    host = around.places(config, name)[0][0]
    policy: Json = {
        "connectionPool": {"tcp": {"connectTimeout": duration(upstream.connect_timeout)}},
        "loadBalancer": {"simple": "LEAST_REQUEST"},
    }
    if around.secure(config, name):
        tls = upstream.tls
        server = tls.server_name or host
        found: Json = {"mode": "MUTUAL" if tls.certificate else "SIMPLE", "sni": server}
        if tls.verify:
            found |= {"caCertificates": str(config.resolve(tls.ca)), "subjectAltNames": [server]}
        else:
            found["insecureSkipVerify"] = True
        if tls.certificate:
            found |= {"clientCertificate": str(config.resolve(tls.certificate)), "privateKey": str(config.resolve(tls.key))}
        policy["tls"] = found
    spec = {"host": host, "trafficPolicy": policy}
    return {"apiVersion": API, "kind": "DestinationRule", "metadata": metadata, "spec": spec}
