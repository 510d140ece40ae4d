"""What rules say of single values: how far apart two numbers may be, and when two texts name the same instant."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fractions import Fraction

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?%")
_ISO = re.compile(
    r"\d{4}-?\d\d-?\d\d[Tt ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d{1,6}0*)?)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
"""A date and a time. Digits behind the microseconds are zeros, or it would be rounded and no longer itself."""
_RFC = re.compile(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? (?:GMT|UTC|UT|Z|[+-]\d{4})", re.ASCII)
_FRACTION = re.compile(r"(?<=\d)[.,](\d{1,6})0*")
_MAX_TIME = 64


class ToleranceError(ValueError):
    """Not a tolerance; the message says what one is."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the candidate's number may be from legacy's."""

    amount: Fraction
    relative: bool = False
    """`amount` is a share of legacy's number. Of nothing, that is nothing."""

    def __str__(self) -> str:
        """The same for the same tolerance, however it was written."""
        return f"{self.amount * 100} %" if self.relative else str(self.amount)

    @classmethod
    def parse(cls, given: float | str) -> Tolerance:
        """A number, or a text such as "1 %".

        Raises:
            ToleranceError: it is neither, or negative, or infinite.
        """
        if isinstance(given, str):
            found = _PERCENT.fullmatch(given)
            if found is None:
                raise ToleranceError(f'a tolerance is a number such as 0.01, or a share of legacy\'s such as "1 %": {given!r} is neither')
            return cls(Fraction(found[1]) / 100, relative=True)
        if not math.isfinite(given) or given < 0:
            raise ToleranceError(f"a tolerance is a finite number from 0 on: {given!r} is not")
        return cls(_exact(given))

    def allows(self, legacy: float, candidate: float) -> bool:
        """Whether the two count as one. Exact, as decimals: 0.1 + 0.2 - 0.3 decides nothing, and 4,000 digits overflow nothing."""
        reference = _exact(legacy)
        return abs(reference - _exact(candidate)) <= (self.amount * abs(reference) if self.relative else self.amount)


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def instant(text: str) -> datetime | None:
    """The moment that `text` names as ISO 8601 (RFC 3339 and its kin) or as RFC 5322 and HTTP do; None where it names none.

    A time of nowhere in particular (ISO without an offset) stays so, and equals no other kind. Finer than microseconds is no instant here.
    """
    if len(text) > _MAX_TIME:
        return None
    try:
        if _ISO.fullmatch(text):
            # Python cuts off what is finer, and would take no seven digits of which the last is 0.
            found = datetime.fromisoformat(_FRACTION.sub(lambda match: f".{match[1]}", text).upper())
        elif _RFC.fullmatch(text):
            found = parsedate_to_datetime(text)
            if found.tzinfo is None:
                found = found.replace(tzinfo=UTC)  # -0000: UTC, from a place that is not told (RFC 5322 section 3.3)
        else:
            return None
        return found if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
