"""The faults that rewrites really have, each switchable, and what a comparison must say of each.

    BANYAN_FAULTS=rounded_average,null_left_out python -m services.reviews serve

One fault gives one signature, and none hides or distorts another's: the list that is reordered holds no fault of its elements, so that it
stays recognisable as the same elements in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """Closed: the demo asserts that exactly the planted ones are found."""

    ROUNDED_AVERAGE = "rounded_average"
    """The new service formats the average for people."""
    NULL_LEFT_OUT = "null_left_out"
    """Its serialiser drops empty fields; the clients' parsers were written against explicit nulls. In lists only."""
    TIME_ZONE_FORMAT = "time_zone_format"
    """The same instant as +00:00 instead of Z, as isoformat() writes it. In lists only."""
    NUMBER_AS_STRING = "number_as_string"
    """A count arrives as text, as some database drivers hand over 64-bit integers."""
    OTHER_ORDER = "other_order"
    """Sorted by score alone: equal scores come in whatever order they lay in."""
    EMPTY_INSTEAD_OF_404 = "empty_instead_of_404"
    """Nobody asked whether the user or the item exists: no rows, so an empty list and 200."""


class Signature(NamedTuple):
    """What the comparison counts a difference under."""

    route: str
    kind: str
    path: str


SIGNATURES: Mapping[Fault, Signature] = {
    Fault.ROUNDED_AVERAGE: Signature("reviews", "value", "$.average"),
    Fault.NULL_LEFT_OUT: Signature("reviews", "missing", "$.results[*].reply"),
    Fault.TIME_ZONE_FORMAT: Signature("reviews", "value", "$.results[*].created_at"),
    Fault.NUMBER_AS_STRING: Signature("reviews", "type", "$.count"),
    Fault.OTHER_ORDER: Signature("recommendations", "order", "$.results"),
    Fault.EMPTY_INSTEAD_OF_404: Signature("recommendations", "authorization", "404->200"),
}


def of_service(service: str) -> frozenset[Fault]:
    """The faults that `service` can have."""
    return frozenset(fault for fault, signature in SIGNATURES.items() if signature.route == service)


def expected(faults: Iterable[Fault]) -> frozenset[Signature]:
    """What a comparison must find when `faults` are on, and nothing else."""
    return frozenset(SIGNATURES[fault] for fault in faults)


class UnknownFaultError(ValueError):
    """A name in BANYAN_FAULTS is no fault's."""


def parse(text: str, service: str) -> frozenset[Fault]:
    """The faults of `service` among those in `text`, a comma-separated list. Another service's are no error: one variable may serve all.

    Raises:
        UnknownFaultError: a name is no fault's.
    """
    names = {name.strip() for name in text.split(",")} - {""}
    unknown = sorted(names - {fault.value for fault in Fault})
    if unknown:
        raise UnknownFaultError(f"BANYAN_FAULTS: unknown fault {', '.join(map(repr, unknown))}; known: {', '.join(Fault)}")
    return frozenset(map(Fault, names)) & of_service(service)
