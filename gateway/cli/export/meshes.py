"""`banyan export envoy` and `banyan export istio`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config

if TYPE_CHECKING:
    from flags.snapshot import Snapshot
    from gateway.export.losses import Loss
    from gateway.export.places import Surroundings
    from gateway.export.plan import Handing, Plan
    from gateway.settings import Config

Several = Annotated[list[str] | None, Parameter(negative=())]


def envoy(
    *,
    route: Several = None,
    give_up: Several = None,
    rest: str = "gateway",
    gateway: str = "",
    service: Several = None,
    listen: str = "127.0.0.1:10000",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Envoy's configuration for the routes that are settled: a listener, routes and clusters. What cannot be said there is refused, with
    why and what would be lost, and goes on to the gateway; the exit status is then 1.

    Example: banyan export envoy --route reviews --give-up fallback > envoy.yaml

    banyan.toml and the flags are taken as they are now.

    Parameters
    ----------
    route
        Only this route; once for each.
    give_up
        What you can do without, by the name that the refusal says; once for each.
    rest
        Who gets everything else: gateway, or legacy, if every route is handed over.
    gateway
        Where Envoy finds the gateway, HOST:PORT, if not [gateway] listen.
    service
        Where it finds an upstream, UPSTREAM=HOST:PORT, if not where banyan.toml says; in plain HTTP.
    listen
        Where Envoy listens, HOST:PORT.
    config
        The configuration.
    as_json
        For machines: what is handed over, what is not and why, and the documents.
    """
    from gateway.cli.export.asked import listening_on
    from gateway.export import envoy as words

    place = listening_on(listen)

    def documents(loaded: Config, plan: Plan, around: Surroundings) -> list[Any]:
        return [words.document(loaded, plan, around, place)]

    return _export("envoy", config, route or (), give_up or (), (rest, gateway, service or ()), words.unsayable, documents, as_json)


def istio(
    *,
    route: Several = None,
    give_up: Several = None,
    rest: str = "gateway",
    gateway: str = "",
    service: Several = None,
    host: Several = None,
    ingress: Several = None,
    name: str = "banyan",
    namespace: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Istio's VirtualService and DestinationRules for the routes that are settled. What cannot be said there is refused, with why and what
    would be lost, and goes on to the gateway; the exit status is then 1.

    Example: banyan export istio --gateway banyan.shop:8080 --host shop.example.com --ingress istio-system/public | kubectl apply -f -

    banyan.toml and the flags are taken as they are now.

    Parameters
    ----------
    route
        Only this route; once for each.
    give_up
        What you can do without, by the name that the refusal says; once for each.
    rest
        Who gets everything else: gateway, or legacy, if every route is handed over.
    gateway
        The gateway's service, HOST:PORT.
    service
        An upstream's service, UPSTREAM=HOST:PORT, if its host in banyan.toml is none; once for each.
    host
        A host that clients ask for; once for each. By default every one.
    ingress
        An Istio Gateway that they come through, NAMESPACE/NAME; once for each. By default the sidecars.
    name
        What the VirtualService is called, and the DestinationRules begin with.
    namespace
        Their namespace, if kubectl is not to say it.
    config
        The configuration.
    as_json
        For machines: what is handed over, what is not and why, and the documents.
    """
    from gateway.export import istio as words

    mesh = words.Mesh(name, namespace, tuple(host or ("*",)), tuple(ingress or ()))
    if wrong := words.impossible(mesh):
        raise RefusalError(wrong)

    def documents(loaded: Config, plan: Plan, around: Surroundings) -> list[Any]:
        return words.documents(loaded, plan, around, mesh)

    return _export("istio", config, route or (), give_up or (), (rest, gateway, service or ()), words.unsayable, documents, as_json)


def _export(
    mesh: Literal["envoy", "istio"],
    path: Path,
    only: Sequence[str],
    give_up: Sequence[str],
    where: tuple[str, str, Sequence[str]],
    unsayable: Callable[[Config, Surroundings, Handing], Iterable[Loss]],
    documents: Callable[[Config, Plan, Surroundings], list[Any]],
    as_json: bool,
) -> int:
    from gateway.cli.export import asked
    from gateway.export.notes import notes
    from gateway.export.plan import plan

    config = load_config(path)
    known = [each.name for each in config.routes]
    if unknown := sorted(set(only) - set(known)):
        raise RefusalError(f"there is no route {unknown[0][:80]!r} in {config.path} (there: {', '.join(known) or 'none'})")
    if only and where[0] == "legacy":
        raise RefusalError("--rest legacy is for when every route is handed over; leave out --route")
    asked.given_up(give_up)
    around = asked.surroundings(config, *where, by_name=mesh == "istio")
    state, snapshot = asked.flags(config, path)
    found = plan(config, state, lambda handing: unsayable(config, around, handing), only=only, give_up=give_up)
    needed = around.rest == "legacy" and found.refused
    made = documents(config, found, around) if found.handed and not needed else []
    said = [] if not made else list(notes(config, found, around, mesh))
    if as_json:
        from gateway.cli.export.told import told

        print(json.dumps({"mesh": mesh, **told(found, said, snapshot), "documents": made}, indent=2))
    else:
        _print(config, found, said, snapshot, made)
        if needed:
            print("nothing is exported: with --rest legacy there is no gateway any more for what is not handed over", file=sys.stderr)
    return 0 if made and not found.refused else 1


def _print(config: Config, plan: Plan, notes: Sequence[str], snapshot: Snapshot, documents: list[Any]) -> None:
    """The documents to standard output, all else to standard error."""
    from gateway.cli.export.told import lines
    from gateway.cli.flags.shown import plain
    from gateway.export.yaml import written

    for line in lines(plan, notes):
        print(plain(line), file=sys.stderr)
    if documents:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(snapshot.fetched_at))
        routes = ", ".join(handing.route for handing in plan.handed)
        head = [f"Made by `banyan export` from {config.path.name} and the flags of {at} ({snapshot.source}).", f"Routes: {routes}."]
        print(written(documents, [plain(line) for line in head]), end="")
