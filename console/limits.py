"""How often a password may be tried: for one name, from one address, by one browser.

Kept in the database, so that a restart forgets nothing and several consoles count together, in a fixed number of places: whoever tries a
million names or addresses fills no table. A place is a moment until which the tries that were made still count: each adds some seconds, and
a try is refused while that many are to come (the generic cell rate algorithm of ITU-T I.371, with a bucket's worth at once). A try is
counted before the password is looked at, and given back where it was right: a thousand tries at once are a thousand tries.

The place of a name follows from a keyed hash, so nobody can choose one that somebody else's name has.
"""

from __future__ import annotations

import hmac
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from console.models import LoginSlot

PLACES: Final = 1 << 16
"""For each limit. With a thousand of them in use, a name is held up by another's tries once in 65 cases."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` tries at once, then one each `seconds`."""

    number: int
    burst: int
    seconds: float


NAME: Final = Limit(0, burst=5, seconds=60.0)
"""1,440 tries a day at most, from wherever: no password that the validators take is found so."""
ADDRESS: Final = Limit(1, burst=20, seconds=10.0)
"""Looser: an office has one address for many."""
BROWSER: Final = Limit(2, burst=5, seconds=60.0)
"""For a name from a browser in which it has logged in before: by failing with somebody's name nobody keeps him out of there."""
OWN: Final = Limit(3, burst=5, seconds=60.0)
"""For the old password where somebody changes his own: who finds an open session finds no password by it."""

Key = tuple[Limit, str]


def take(keys: Iterable[Key], now: float) -> float:
    """Counts one try for each of `keys`. 0, or how many seconds there are to wait: then nothing was counted.

    Raises:
        django.db.Error: the database refused; nobody is let in then.
    """
    places = _places(keys)
    wait = _wait(places, now)
    if wait > 0.0:  # whoever goes on all the same costs a look, and nobody who writes waits for him
        return wait
    with transaction.atomic(), connection.cursor() as cursor:
        for limit, place in places:
            most = now + (limit.burst - 1) * limit.seconds
            cursor.execute(
                "INSERT INTO console_loginslot (slot, until) VALUES (%s, %s) ON CONFLICT (slot) DO UPDATE SET until ="
                " CASE WHEN console_loginslot.until > %s THEN console_loginslot.until ELSE %s END + %s"
                " WHERE console_loginslot.until <= %s RETURNING until",
                [place, now + limit.seconds, now, now, limit.seconds, most],
            )
            if cursor.fetchone() is None:
                until = LoginSlot.objects.values_list("until", flat=True).get(slot=place)
                wait = max(wait, until - most)
        if wait > 0:
            transaction.set_rollback(True)
    return wait


def _wait(places: Iterable[tuple[Limit, int]], now: float) -> float:
    """How many seconds there are to wait for all of these."""
    limits = {place: limit for limit, place in places}
    held = LoginSlot.objects.filter(slot__in=limits).values_list("slot", "until")
    return max([0.0, *(until - now - (limits[slot].burst - 1) * limits[slot].seconds for slot, until in held)])


def give_back(keys: Iterable[Key], now: float, *, whole: Iterable[Key] = ()) -> None:
    """Takes one try back for each of `keys`; for each of `whole`, all that are counted."""
    with transaction.atomic():
        LoginSlot.objects.filter(slot__in=[place for _, place in _places(whole)]).delete()
        for limit, place in _places(keys):
            row = LoginSlot.objects.select_for_update().filter(slot=place).first()
            if row is not None:
                LoginSlot.objects.filter(slot=place).update(until=max(now, row.until - limit.seconds))


def purge(now: float) -> None:
    """Removes what counts no more."""
    LoginSlot.objects.filter(until__lt=now).delete()


def name_key(name: str) -> Key:
    """Of a name that is tried, whoever has it: in one form for all its spellings."""
    return NAME, unicodedata.normalize("NFKC", name).casefold()


def address_key(address: str) -> Key:
    """Of a client's address. IPv6 addresses count by their /64: one client has them all."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ADDRESS, ""
    if isinstance(found, IPv6Address):
        return ADDRESS, str(found.ipv4_mapped) if found.ipv4_mapped else found.packed[:8].hex()
    return ADDRESS, str(found)


def seconds(wait: float) -> int:
    """Whole ones, as people and Retry-After have them."""
    return max(1, math.ceil(wait))


def digest(text: str) -> bytes:
    """Keyed with the console's secret."""
    return hmac.digest(settings.SECRET_KEY.encode(), b"console.limits:" + text.encode("utf-8", "surrogatepass"), "sha256")


def _places(keys: Iterable[Key]) -> list[tuple[Limit, int]]:
    """In one order everywhere, so that two tries can't wait for each other."""
    found = [(limit, limit.number * PLACES + int.from_bytes(digest(f"{limit.number} {text}")[:4]) % PLACES) for limit, text in keys]
    return sorted(found, key=lambda item: item[1])
