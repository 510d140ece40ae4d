"""What every drill's verb shares: it can be interrupted at any time and ends what it started, says how far it is, and tells in the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from drills.report import Report
    from drills.stage import Say

Json = Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")]
Picture = Annotated[Path | None, Parameter(name="--picture", help="Draw the charts into this PNG.")]
Keep = Annotated[bool, Parameter(negative=(), help="Leave the folder with logs and databases.")]


def run(drill: Callable[[Say], Report], *, as_json: bool, picture: Path | None) -> int:
    """Runs `drill`, and tells what it found. Returns the exit status.

    Raises:
        RefusalError: something that it needs is missing or did not come up, or the picture cannot be written.
    """
    if picture is not None and not picture.absolute().parent.is_dir():
        raise RefusalError(f"--picture: there is no folder {picture.absolute().parent}")
    try:
        from demo.processes import StartError
        from drills.telling import tell

        if picture is not None:
            import PIL  # noqa: F401 - missed now rather than after a minute and a half
    except ModuleNotFoundError as error:
        raise missing(error) from error
    # A drill that was started in the background ignores Ctrl-C unless told otherwise; and however it is ended, it tidies up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    load_before = round(os.getloadavg()[0], 1)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        report = drill(say)
    except StartError as error:
        raise RefusalError(str(error), status=1) from error
    report.seconds = time.monotonic() - began
    report.load_before = load_before
    try:
        return tell(report, say, as_json=as_json, to=picture)
    except OSError as error:
        raise RefusalError(f"--picture: {picture} cannot be written: {error.strerror}", status=1) from error


def missing(error: ModuleNotFoundError) -> RefusalError:
    """Drills need what the demo needs."""
    return RefusalError(f"drills need {error.name}: install Banyan with its extra `demo`", status=1)


def _stop(number: int, frame: Any) -> None:
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)  # tidying up is not to be interrupted
    raise KeyboardInterrupt
