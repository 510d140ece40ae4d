"""The demo for people: everything runs until Ctrl-C, with a table of what the gateway does, and the commands to play with."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo import moving
from demo.configuration import PRODUCT_VIEW
from demo.figures import Figures
from demo.processes import StartError
from demo.shop import PASSWORD, USERS
from demo.traffic import Traffic
from demo.world import CONSOLE_USER, Engine, Say, World
from services.faults import Fault

if TYPE_CHECKING:
    from shadow.report import RouteReport

RATES: Final[dict[Engine, float]] = {"edge": 40.0, "mitmproxy": 25.0}
"""Requests a second: enough to see, and few enough to leave the machine usable."""
LATELY_SECONDS: Final = 10.0
REFRESH_SECONDS: Final = 1.0
PLAIN_SECONDS: Final = 5.0
"""Between two looks where the output is no terminal."""
_SERVICE: Final = {"product_view": "new service, kept in step by events"}


def run(say: Say, *, engine: Engine, unleash: bool, events: bool = False) -> int:
    """Until KeyboardInterrupt. Returns the exit status, 1 where something that the demo needs ended by itself.

    Raises:
        demo.processes.StartError: something did not come up.
        demo.traffic.TrafficError: nobody could sign in.
        flags.admin.AdminError: Unleash refused the flags.
    """
    world = World(say, engine=engine, unleash=unleash, events=events)
    traffic: Traffic | None = None
    try:
        world.start(faults=Fault)
        traffic = Traffic(world.gateway_port, USERS, PASSWORD, RATES[engine], world.routes)
        say("signing 50 people in")
        traffic.start()
        for route in world.routes:
            world.steering.turn(f"{route}.shadow", True)
        traffic.resume()
        _watch(world, traffic, Figures(world.config))
    except KeyboardInterrupt:
        pass
    finally:
        if traffic is not None:
            traffic.stop()
        say("stopping everything")
        world.close()
    return 0


def _watch(world: World, traffic: Traffic, figures: Figures) -> None:
    print(_places(world), flush=True)
    console = Console()
    if not console.is_terminal:
        while True:
            time.sleep(PLAIN_SECONDS)
            for line in _lines(world, traffic, figures):
                print(line, flush=True)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_table(world, traffic, figures), refresh=True)
            time.sleep(REFRESH_SECONDS)


def _places(world: World) -> str:
    places = [
        ("gateway", world.gateway_url, f"the shop through it: sign in as {USERS[0]} … {USERS[-1]}, password {PASSWORD}"),
        ("console", world.console.url, f"the differences: sign in as {CONSOLE_USER}, password {world.console_password}"),
        ("admin port", f"http://127.0.0.1:{world.steering.admin_port}", "/routes /flags /metrics /readyz"),
        ("shop", world.shop.url, "legacy itself"),
        *((name, service.url, _SERVICE.get(name, "new service, with faults planted")) for name, service in world.services.items()),
    ]
    if world.unleash is not None:
        unleash = world.unleash
        places.insert(
            2,
            (
                "Unleash",
                unleash.url,
                f"the flags: sign in as {unleash.username}, password {unleash.password}; rollouts count signed-in users",
            ),
        )
    places.append(("files", str(world.folder), "banyan.toml, databases and logs; removed at the end"))
    width = max(len(place) for _, place, _ in places)
    banyan = "banyan" if shutil.which("banyan") else shlex.quote(os.path.relpath(sys.argv[0]))
    config = f"--config {shlex.quote(str(world.config))}"
    lines = [
        "",
        *(f"{name:15}  {place:{width}}  {what}" for name, place, what in places),
        "",
        "Move traffic" + (", here or in Unleash's pages:" if world.unleash else ":"),
        f"  {banyan} flags set reviews 10% {config}",
        f"  {banyan} flags off reviews {config}",
        "See what differs, in the console or here:",
        f"  {banyan} report reviews {config}",
        *(_moving(world, f"{banyan} flags on {PRODUCT_VIEW} {config}") if world.events else []),
        "Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


def _moving(world: World, flag: str) -> list[str]:
    """What can be seen of the data that moves."""
    interpreter = shlex.quote(os.path.relpath(sys.executable))
    shop = shlex.quote(world.shop.database)
    stores = {name: shlex.quote(str(world.folder / f"{name}.sqlite3")) for name in moving.FOLLOWING}
    return [
        "Data moves: what changes in the shop comes to the services by events, and reviews that are written there come to the shop.",
        "All of an item in one document, gathered by the shop; with the flag on, kept ready by the new service for who is signed in:",
        f"  {world.gateway_url}/api/v1/{PRODUCT_VIEW}/17",
        f"  {flag}",
        "Has a service drifted from the shop? Exit status 1 if so:",
        *(f"  BANYAN_{name.upper()}_DB={store} {interpreter} -m services.{name} check --from {shop}" for name, store in stores.items()),
        f"What waits, and how far each is behind: {world.console.url}/events/, or",
        *(f"  {name:20}  {part.metrics}" for name, part in world.parts.items()),
    ]


def _looks(world: World, figures: Figures) -> Iterable[tuple[RouteReport, RouteReport]]:
    """(all of it, the last seconds) of each route."""
    ended = world.dead()
    if ended:
        raise StartError("; ".join(f"the {running.name} has ended:\n{running.tail()}" for running in ended))
    lately = figures.reports(world.routes, time.time() - LATELY_SECONDS)
    return zip(figures.reports(world.routes, 0), lately, strict=True)


def _row(total: RouteReport, lately: RouteReport) -> tuple[str, ...]:
    mode = lately.mode + (" + shadow" if lately.eligible else "")
    fallbacks = f" ({total.fallback} for the candidate)" if total.fallback else ""
    return total.route, mode, f"{total.legacy}{fallbacks}", str(total.candidate), _percent(total.match_rate), _percent(total.coverage)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _table(world: World, traffic: Traffic, figures: Figures) -> Table:
    counts = traffic.counts
    failed = f", {counts.failed} failed (the last: {counts.last_failure})" if counts.failed else ", none failed"
    down = [name for name, service in world.services.items() if not service.alive()]
    caption = f"{counts.answered} requests by {len(USERS)} people{failed}" + (f"; not running: {', '.join(down)}" if down else "")
    if world.parts:
        caption += "\n" + moving.line(world.parts)
    table = Table(caption=caption, caption_justify="left")
    for name in ("route", "mode"):
        table.add_column(name)
    for name in ("by legacy", "by candidate", "match rate", "coverage"):
        table.add_column(name, justify="right")
    for total, lately in _looks(world, figures):
        table.add_row(*_row(total, lately))
    return table


def _lines(world: World, traffic: Traffic, figures: Figures) -> Iterable[str]:
    for total, lately in _looks(world, figures):
        route, mode, legacy, candidate, match, coverage = _row(total, lately)
        yield f"{route}: {mode}; legacy {legacy}, candidate {candidate}, match {match}, coverage {coverage}"
    if world.parts:
        yield moving.line(world.parts)
    yield f"requests: {traffic.counts.answered}, failed {traffic.counts.failed}"
