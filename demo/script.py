"""The story unattended: runs the steps, prints them as a table or as JSON, and says by its exit status whether all was as expected."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from demo.client import ClientError, SignInError
from demo.figures import Figures, FiguresError
from demo.processes import StartError
from demo.shop import PASSWORD, USERS
from demo.steering import SteeringError
from demo.steps import steps
from demo.story import Step, Story
from demo.traffic import Traffic, TrafficError
from demo.world import Engine, Say, World
from flags.admin import AdminError
from services.faults import Fault

RATES: Final[dict[Engine, float]] = {"edge": 75.0, "mitmproxy": 40.0}
"""Requests a second. mitmproxy spends some 3 ms of CPU on each, and the shop, the services and the people share its cores."""
PATIENCE: Final[dict[Engine, float]] = {"edge": 1.0, "mitmproxy": 2.0}
FLIP_SECONDS_FILE: Final = 1.0
FLIP_SECONDS_UNLEASH: Final = 2.0
"""Unleash publishes once a second and is asked twice a second."""
PLAIN_WIDTH: Final = 150
"""Of the table where nobody says how wide the terminal is."""

BREAKS: Final = (StartError, SteeringError, AdminError, TrafficError, ClientError, SignInError, FiguresError)
"""What ends the story: the stage itself fell over."""


@dataclass(slots=True)
class Line:
    """A step as it is told."""

    number: int
    step: str
    expected: str
    seen: str = "not run"
    ok: bool = False
    seconds: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)


def run(say: Say, *, engine: Engine, unleash: bool, as_json: bool, keep: bool) -> int:
    """The exit status: 0 where everything was as expected, else 1."""
    began = time.monotonic()
    flip_seconds = FLIP_SECONDS_UNLEASH if unleash else FLIP_SECONDS_FILE
    plan = steps(flip_seconds)
    lines = [Line(number, step.title, step.expected) for number, step in enumerate(plan, 1)]
    trouble = ""
    world = World(say, engine=engine, unleash=unleash)
    traffic: Traffic | None = None
    try:
        world.start(faults=Fault, access_log=True)
        traffic = Traffic(world.gateway_port, USERS, PASSWORD, RATES[engine])
        say("signing 50 people in")
        traffic.start()
        story = Story(world, traffic, Figures(world.config), flip_seconds, PATIENCE[engine])
        for line, step in zip(lines, plan, strict=True):
            say(f"{line.number}/{len(lines)} {line.step}")
            _run(step, story, line)
            say(f"    {'as expected' if line.ok else 'NOT AS EXPECTED'}: {line.seen} ({line.seconds:.1f} s)")
    except BREAKS as error:
        trouble = str(error)
        say(f"the story broke off: {trouble}")
    finally:
        if traffic is not None:
            traffic.stop()
        say("stopping everything")
        world.close(keep=keep)
    if keep:
        say(f"logs and databases are in {world.folder}")
    ok = not trouble and all(line.ok for line in lines)
    _tell(lines, ok, trouble, time.monotonic() - began, engine, unleash, as_json)
    return 0 if ok else 1


def _run(step: Step, story: Story, line: Line) -> None:
    failed = story.traffic.counts.failed
    began = time.monotonic()
    try:
        outcome = step.run(story)
    except BREAKS as error:
        line.seen = f"broke off: {str(error).partition('\n')[0]}"
        raise
    finally:
        line.seconds = round(time.monotonic() - began, 1)
    line.ok, line.seen, line.measured = outcome.ok, outcome.seen, outcome.measured
    failed = story.traffic.counts.failed - failed
    line.measured["failed_requests"] = failed
    if failed:  # no step of the story may cost anybody an answer
        line.ok = False
        line.seen += f"; {failed} requests failed, the last: {story.traffic.counts.last_failure}"


def _tell(lines: list[Line], ok: bool, trouble: str, seconds: float, engine: Engine, unleash: bool, as_json: bool) -> None:
    if as_json:
        flags = "unleash" if unleash else "file"
        told = {"ok": ok, "error": trouble, "engine": engine, "flags": flags, "seconds": round(seconds, 1)}
        print(json.dumps({**told, "steps": [asdict(line) for line in lines]}, indent=2))
        return
    table = Table(title=f"{engine} engine, flags in {'Unleash' if unleash else 'a file'}, {seconds:.0f} s", title_justify="left")
    table.add_column("", justify="right")
    for name in ("step", "expected", "seen", ""):
        table.add_column(name)
    table.add_column("s", justify="right")
    for line in lines:
        verdict = "[green]ok[/]" if line.ok else "[bold red]DIFFERS[/]"
        table.add_row(str(line.number), line.step, line.expected, line.seen, verdict, f"{line.seconds:.1f}")
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    console.print(table)
    if trouble:
        console.print(f"The story broke off: {trouble}", style="bold red", markup=False)
    console.print("Everything as expected." if ok else "Not everything was as expected.")
