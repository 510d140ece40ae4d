"""NATS, where exchanges travel by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.config import Config
from gateway.doctor.findings import Finding

_ABOUT = "NATS"
_SHARE: Final = 0.8
"""Of the time; the rest is for closing a connection to a server that takes nothing any more."""
_FULL: Final = 0.8
"""Of max_bytes. Beyond it, soon everything is refused."""


def look(config: Config, within: float) -> Sequence[Finding]:
    """Whether it lets us in, and how full the stream is."""
    if config.shadow.sink != "jetstream":
        return [Finding(_ABOUT, "fine", 'not used: [shadow] sink is "local"')]
    from shadow.broker import TROUBLE, glance, reason
    from shadow.nkeys import NKeyError
    from shadow.sinks.remote import place_of

    place = place_of(config)
    servers = ", ".join(place.servers)
    try:
        state = asyncio.run(asyncio.wait_for(glance(place, "banyan doctor"), _SHARE * within))
    except NKeyError as error:
        return [Finding(_ABOUT, "wrong", f"its key cannot be used: {error}", "name another file under [shadow.jetstream]")]
    except TROUBLE as error:
        why = f"no answer within {_SHARE * within:g} s" if isinstance(error, TimeoutError) else reason(error)
        todo = "until it can be used, exchanges wait in the shipper, and are dropped and counted beyond [shadow.jetstream] buffer"
        return [Finding(_ABOUT, "wrong", f"{servers}: {why}", todo)]
    if state is None:
        return [Finding(_ABOUT, "note", f"{servers}: no stream {place.stream} yet; whoever comes first makes it")]
    said = f"{servers}: {state.messages} packs wait in {place.stream}, {state.bytes / 2**20:.1f} of {place.max_bytes / 2**20:.0f} MiB"
    if state.bytes > _FULL * place.max_bytes:
        return [Finding(_ABOUT, "warning", said, "start more shadow workers, or sample less: a full stream refuses what comes")]
    return [Finding(_ABOUT, "fine", said)]
