"""`banyan drill provider`: a payment provider dies, again and again, at every stage of a payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.drill.running import Json, Keep, Picture, missing, run
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from drills.report import Report
    from drills.stage import Say


def provider(*, payments: int = 1000, rate: float = 40.0, as_json: Json = False, picture: Picture = None, keep: Keep = False) -> int:
    """A payment provider is killed at five stages, and hangs, while people pay; without the gateway, then with it and a second provider.

    Example: banyan drill provider --picture provider.png

    Counted from the providers' own ledgers: what was charged twice, what was charged and nobody knows of, what is in doubt and listed.

    Parameters
    ----------
    payments
        In each of the two runs.
    rate
        Payments a second.
    """
    if payments < 1 or not 0.1 <= rate <= 1000:
        raise RefusalError("--payments: at least 1; --rate: from 0.1 to 1000 a second")

    def drill(say: Say) -> Report:
        try:
            from drills.provider import run as drilled
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return drilled(say, payments=payments, rate=rate, keep=keep)

    return run(drill, as_json=as_json, picture=picture)
