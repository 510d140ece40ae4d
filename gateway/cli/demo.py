"""`banyan demo`: all of it on this machine, in a temporary folder."""

from __future__ import annotations

import signal
import sys
import time
from typing import Annotated, Literal

from cyclopts import Parameter

from gateway.cli.shared import RefusalError


def demo(
    *,
    script: Annotated[bool, Parameter(negative=())] = False,
    unleash: Annotated[bool, Parameter(negative=())] = False,
    events: Annotated[bool, Parameter(negative=())] = False,
    engine: Literal["edge", "mitmproxy"] = "edge",
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    keep: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """A shop, two new services, the gateway and the console, with 50 people's traffic, until Ctrl-C. Nothing stays behind.

    Example: banyan demo --script

    Parameters
    ----------
    script
        Hands an API over unattended, step by step; prints step, expected and seen; exit status 1 if any differs.
    unleash
        Flags in the real Unleash server, over an embedded PostgreSQL. The first time installs it, once.
    events
        Data moves too: the shop on PostgreSQL, with its outbox; relays, NATS, the reviews service kept in step, and the product view.
    engine
        See banyan run.
    as_json
        With --script: the result for machines.
    keep
        With --script: leave the folder with its logs and databases.
    """
    if (as_json or keep) and not script:
        raise RefusalError("--json and --keep go with --script")
    if script and events:
        raise RefusalError("--events goes without --script: the story is told of a shop whose data stays")
    try:
        from demo import live
        from demo import script as story
        from demo.figures import FiguresError
        from demo.processes import StartError
        from demo.traffic import TrafficError
        from flags.admin import AdminError
    except ModuleNotFoundError as error:
        raise RefusalError(f"the demo needs {error.name}: install Banyan with its extra `demo`", status=1) from error

    # A demo that was started in the background ignores Ctrl-C unless told otherwise; and however it is ended, it tidies up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        if script:
            return story.run(say, engine=engine, unleash=unleash, as_json=as_json, keep=keep)
        return live.run(say, engine=engine, unleash=unleash, events=events)
    except (StartError, TrafficError, AdminError, FiguresError) as error:
        raise RefusalError(str(error), status=1) from error


def _stop(number: int, frame: object) -> None:
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)  # tidying up is not to be interrupted
    raise KeyboardInterrupt
