"""`banyan drill timedeal`: everybody wants the same few things at the same moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.drill.running import Json, Keep, Picture, missing, run
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from drills.report import Report
    from drills.stage import Say


def timedeal(*, buyers: int = 200, seconds: float = 8.0, as_json: Json = False, picture: Picture = None, keep: Keep = False) -> int:
    """A time deal on a real PostgreSQL: orders as the shop placed them on the day, then as it does now; with and without one per user.

    Example: banyan drill timedeal --picture time-deal.png

    Counted: deadlocks, by PostgreSQL itself; orders a second; pieces oversold, and orders of one user, from the shop's own tables; the p99.

    Parameters
    ----------
    buyers
        At once, in each of the four runs.
    seconds
        How long each of the four runs lasts.
    """
    if not (1 <= buyers <= 1000 and 1 <= seconds <= 600):
        raise RefusalError("--buyers: from 1 to 1000; --seconds: from 1 to 600")

    def drill(say: Say) -> Report:
        try:
            from drills.timedeal import run as drilled
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return drilled(say, buyers=buyers, seconds=seconds, keep=keep)

    return run(drill, as_json=as_json, picture=picture)
