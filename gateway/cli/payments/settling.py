"""`banyan payments settle` and `settled`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gateway.cli.payments.shared import ConfigFile, Json, NothingPaidError, opened, plain, words
from gateway.cli.shared import RefusalError, who

if TYPE_CHECKING:
    from gateway.ledger.entries import Settled


def settle(
    number: int,
    outcome: Literal["executed", "not-executed"],
    /,
    *,
    why: str,
    by: str = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Says of a payment in doubt what the provider has said of it. Kept with who, when and why.

    Example: banyan payments settle 12 executed --why "psp-a: charge ch_81 of 30 November"

    Exit status 1: it is not in doubt, or somebody was first.

    Parameters
    ----------
    number
        Its number, as `banyan payments in-doubt` shows it.
    outcome
        executed: its key is never sent again, and a repeat is answered 409. not-executed: the key is as new, and a repeat is sent.
    why
        How that was found out.
    by
        Who. By default your login name and this machine's.
    """
    from gateway.ledger import book

    with opened(config) as ledger:
        try:
            done = book.settle(ledger, number, outcome, by=by or who(), why=why)
        except book.NotInDoubtError as error:
            raise RefusalError(f"{error}: `banyan payments in-doubt` lists what is. Nothing was changed", 1) from error
        except ValueError as error:
            raise RefusalError(f"{error}. Nothing was changed") from error
    if as_json:
        print(json.dumps(_plain(done), indent=2))
    else:
        print(f"{number}: {outcome}, says {done.by}")
    return 0


def settled(*, route: str = "", limit: int = 100, config: ConfigFile = Path("banyan.toml"), as_json: Json = False) -> int:
    """Payments that were in doubt, and what was found out; the newest first.

    Example: banyan payments settled

    Parameters
    ----------
    route
        Only those of this route.
    limit
        How many at most.
    """
    from gateway.cli.flags.shown import clock
    from gateway.cli.flags.shown import plain as readable
    from gateway.ledger import book

    try:
        with opened(config, route) as ledger:
            found = book.settlements(ledger, route, max(1, limit))
    except NothingPaidError:
        found = []
    if as_json:
        print(json.dumps([_plain(each) for each in found], indent=2))
        return 0
    for each in found:
        print(readable(f"{each.doubt.number}  {each.doubt.route}  {each.outcome}, {clock(each.at)}, by {each.by}: {each.why}"))
        print(f"    {words(each.doubt)}")
    return 0


def _plain(done: Settled) -> dict[str, Any]:
    about = asdict(done)
    del about["doubt"]
    return {**plain(done.doubt), **about}
