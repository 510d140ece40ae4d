"""`banyan drill surge`: a push notification brings ten times what the shop can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.drill.running import Json, Keep, Picture, missing, run
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from drills.report import Report
    from drills.stage import Say


def surge(*, seconds: float = 30.0, times: float = 10.0, as_json: Json = False, picture: Picture = None, keep: Keep = False) -> int:
    """A push notification brings ten times what the shop can take; without the gateway, then with it.

    Example: banyan drill surge --picture surge.png

    Without, the crowd starves the shop's health check, and it is restarted again and again. Counted: what was answered in time, how slow
    that was, restarts, and how long it takes until everybody is served again.

    Parameters
    ----------
    seconds
        How long the surge lasts.
    times
        How many times the shop's capacity it is.
    """
    if not (1 <= seconds <= 600 and 0.1 <= times <= 100):
        raise RefusalError("--seconds: from 1 to 600; --times: from 0.1 to 100")

    def drill(say: Say) -> Report:
        try:
            from drills.surge import run as drilled
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return drilled(say, seconds=seconds, times=times, keep=keep)

    return run(drill, as_json=as_json, picture=picture)
