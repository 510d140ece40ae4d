"""The list of flags for people: what routes read first, and below a flag whatever asks for somebody's attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flags.admin.states import MARK, OURS
from gateway.cli.flags.shown import clock, duration, in_words, plain

if TYPE_CHECKING:
    from gateway.cli.flags.listing import Listing, Row

_ROLES = {"serve": "who answers", "shadow": "compare", "split": "shares of the providers"}


def table(listing: Listing, now: float) -> Iterator[str]:
    """Its lines."""
    yield from map(plain, _table(listing, now))


def _table(listing: Listing, now: float) -> Iterator[str]:
    where = listing.where
    yield f"flags    {where.where}"
    yield f"gateway  {_gateway(listing, now)}"
    yield ""
    rows = [(row.name, _state(row, listing), row.state.type if row.state else "", _reads(row)) for row in listing.rows]
    head = ("FLAG", "STATE", "TYPE", "READ BY")
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(3)]
    yield _line(head, widths)
    for row, cells in zip(listing.rows, rows, strict=True):
        yield _line(cells, widths)
        for text in _below(row, now):
            yield f"  {text}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, [*widths, 0], strict=True)).rstrip()


def _gateway(listing: Listing, now: float) -> str:
    known = listing.gateway
    if known is None:
        return listing.silence
    workers: Mapping[str, bool] = known["workers"]
    parts = [f"at {listing.where.admin}: flags from {known.get('source')}, {_confirmed(known, now)}"]
    late = [number for number, current in workers.items() if not current]
    parts.append(f"worker {', '.join(late)} not there yet" if late else f"all {len(workers)} workers decide by them")
    if known.get("error"):
        parts.append(f"error: {known['error']}")
    return "; ".join(parts)


def _confirmed(known: Mapping[str, Any], now: float) -> str:
    staleness = known.get("staleness_seconds")
    if staleness is not None:
        return f"confirmed {duration(float(staleness))} ago"
    fetched = known.get("fetched_at")
    return f"never confirmed since its start; as of {clock(float(fetched))}" if fetched else "never confirmed since its start"


def _state(row: Row, listing: Listing) -> str:
    if row.state is not None:
        return in_words(row.state)
    if listing.error or row.running is not None:
        return "not known" if row.running is None else ("on" if row.running else "off")
    return "does not exist" if any(read.split for read in row.reads) else "does not exist: off"


def _reads(row: Row) -> str:
    """Such as "reviews: who answers /api/v1/reviews/*"."""
    if not row.reads:
        made = row.state is not None and (MARK in row.state.tags or row.state.description.startswith(OURS))
        return "no route any more" if made else "no route"
    return ", ".join(f"{read.route}: {_ROLES[read.role]}{'' if read.role == 'shadow' else f' {read.match}'}" for read in row.reads)


def _below(row: Row, now: float) -> Iterator[str]:
    if row.override is not None:
        left = duration(float(row.override["until"]) - now)
        why = f": {row.override['why']}" if row.override.get("why") else ""
        state = "ON" if row.override["enabled"] else "OFF"
        yield f"overridden: {state} for everybody, for {left} more, by {row.override.get('by') or 'somebody'}{why}"
    if row.state is not None and row.running is not None and row.running != row.state.enabled and row.override is None:
        yield f"the gateway has it {'on' if row.running else 'off'}: it may take Unleash two seconds, or see the gateway's error above"
    if row.state is not None and row.state.stale:
        yield "marked as stale in Unleash: somebody means to remove it"
    for route, found in row.shares.items():
        source = "by its variants, where it is on" if found.source == "flag" else "as configured"
        yield f"shares: {found.shares} ({source}){f' on {route}' if len(row.shares) > 1 else ''}"
    for problem in row.problems:
        yield f"problem: {problem}"
