"""`banyan drill events`: data moves from store to store while everything on its way is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gateway.cli.drill.running import Json, Keep, Picture, missing, run
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from drills.report import Report
    from drills.stage import Say


def events(
    *,
    events: int = 100_000,
    rate: float = 500.0,
    kills: int = 5,
    log: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
    picture: Picture = None,
    keep: Keep = False,
) -> int:
    """The shop's changes come to two services by events, while relay, broker and consumers are each killed at random moments.

    Example: banyan drill events --events 20000

    Counted from the shop's own database: events lost, effects doubled, effects out of order, rows and documents that differ. Timed: from a
    change to its effect, and a read of the product view beside what the shop gathers when it is asked.

    Parameters
    ----------
    events
        In all.
    rate
        Events a second.
    kills
        How often each part is killed.
    log
        The relay reads PostgreSQL's log (logical decoding) in the place of polling the outbox.
    """
    if events < 100 or not 1 <= rate <= 5000 or kills < 0:
        raise RefusalError("--events: at least 100; --rate: from 1 to 5000 a second; --kills: 0 or more")

    def drill(say: Say) -> Report:
        try:
            from drills.events import run as drilled
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return drilled(say, events=events, rate=rate, kills=kills, tail=log, keep=keep)

    return run(drill, as_json=as_json, picture=picture)
