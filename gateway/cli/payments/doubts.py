"""`banyan payments in-doubt`."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.cli.payments.shared import ConfigFile, Json, NothingPaidError, opened, plain, words


def in_doubt(*, route: str = "", config: ConfigFile = Path("banyan.toml"), as_json: Json = False) -> int:
    """Every payment that was sent to a provider and of which nobody knows whether it was made; the oldest first.

    Example: banyan payments in-doubt --json

    Ask the provider by the Idempotency-Key or the X-Request-ID, both of which it got, then `banyan payments settle`.

    Parameters
    ----------
    route
        Only those of this route.
    """
    from gateway.ledger import book

    try:
        with opened(config, route) as ledger:
            found = book.doubts(ledger, route, limit=None)
    except NothingPaidError:
        found = []
    if as_json:
        print(json.dumps([plain(doubt) for doubt in found], indent=2))
        return 0
    if not found:
        print("nothing is in doubt")
    from gateway.cli.flags.shown import clock

    for doubt in found:
        print(f"{doubt.number}  {doubt.route}  since {clock(doubt.doubted)}, begun {clock(doubt.began)}")
        print(f"    {words(doubt)}")
    return 0
