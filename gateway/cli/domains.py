"""`banyan domains`: which domain calls which, whether that is the way, and where each route belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from gateway.domains.graph import Graph

Seen = dict[tuple[str, str], int]


def domains(
    *,
    form: Annotated[Literal["text", "dot", "svg"], Parameter(name="--format")] = "text",
    log: Path | None = None,
    lint: Annotated[bool, Parameter(negative=())] = False,
    admin: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """The calls between domains that a running gateway has seen, as a graph, with what goes against the order and the circles in it; and
    the routes that do not say where they belong. Exit status 1: there is one of these.

    Example: banyan domains --format svg > domains.svg

    Parameters
    ----------
    form
        text, dot (for Graphviz) or svg.
    log
        Reads the calls from an access log in place of the gateway.
    lint
        The routes alone: nobody is asked.
    admin
        The gateway's admin port, HOST:PORT, if not [gateway] admin.
    config
        The configuration.
    as_json
        For machines.
    """
    from gateway.domains import drawing
    from gateway.domains.graph import graph
    from gateway.domains.graph import lint as faults
    from gateway.policy.domains import Order

    if lint and log is not None:
        raise RefusalError("--lint looks at no calls, and --log reads them: give one of them")
    loaded = load_config(config)
    if loaded.domains is None:
        raise RefusalError(f'{config}: there is no order of domains: add  order = ["user", "item", ["search", "review"]]  under [domains]')
    order = Order(loaded.domains.order)
    seen = {} if lint else _of_log(log) if log is not None else _of_gateway(admin or loaded.gateway.admin)
    found = graph(order, _readable(seen), faults(loaded, order))
    if as_json:
        print(json.dumps(_plain(found, loaded.domains.enforce), indent=2))
    elif form == "dot":
        print(drawing.dot(found), end="")
    elif form == "svg":
        print(drawing.svg(found), end="")
    else:
        for line in drawing.text(found):
            print(line)
    return 0 if found.ok else 1


def _of_gateway(place: str) -> Seen:
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.shapes import Domains

    try:
        answer = AdminPort(place).get("/domains", kind=Domains)
    except AdminPortError as error:
        raise RefusalError(f"{error}. Start the gateway; or read --log access.log; or look at the routes alone: --lint", status=1) from None
    seen: Seen = {}
    for call in answer["calls"]:  # before and after a reload the same two may have been judged otherwise
        pair = (call["caller"], call["domain"])
        seen[pair] = seen.get(pair, 0) + call["calls"]
    return seen


def _of_log(path: Path) -> Seen:
    import sys

    from gateway.domains.graph import of_log

    try:
        with path.open("rb") as lines:
            seen, unread = of_log(lines)
    except OSError as error:
        raise RefusalError(f"--log: {path} cannot be read: {error.strerror}") from error
    if unread:
        print(f"{path}: {unread} lines could not be read", file=sys.stderr)
    return seen


def _readable(seen: Seen) -> Seen:
    """Whoever wrote the log may have called a domain anything: no name does anything to a terminal, or an SVG's reader, but stand there."""
    from gateway.cli.flags.shown import plain

    found: Seen = {}
    for (caller, domain), calls in seen.items():
        pair = (plain(caller), plain(domain))
        found[pair] = found.get(pair, 0) + calls
    return found


def _plain(found: Graph, enforce: str) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "order": found.order.places,
        "enforce": enforce,
        "calls": [
            {"caller": call.caller, "domain": call.domain, "calls": call.calls, "verdict": str(call.verdict)} for call in found.calls
        ],
        "cycles": found.cycles,
        "routes": [{"route": fault.route, "match": fault.match, "why": fault.why} for fault in found.faults],
    }
