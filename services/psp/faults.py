"""How a provider can fail, and which payments meet it.

    BANYAN_PSP_FAULTS=die_after_charging@order-17,slow@2% python -m services.psp serve --name psp-a --port 8201

`fault@which`: which is `*`, an exact name, or a share of all names (by their digest, so always the same ones). `refuse@5s` is a time:
before a connection is accepted there is no name to choose by. The first that fits counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final


class Fault(StrEnum):
    """Closed, in the order of what a payment goes through."""

    REFUSE = "refuse"
    """Nobody listens, for so many seconds."""
    DIE_AFTER_ACCEPT = "die_after_accept"
    """SIGKILL as soon as the next connection is accepted: nothing of a request was read."""
    ERROR = "500"
    """Answered 500; nothing was charged."""
    SLOW = "slow"
    """SLOW_SECONDS later, but well."""
    HANG = "hang"
    """Never answered; nothing was charged."""
    DIE_BEFORE_CHARGING = "die_before_charging"
    """SIGKILL with the request read and nothing charged."""
    DIE_AFTER_CHARGING = "die_after_charging"
    """SIGKILL with the charge written and not a byte answered."""
    DIE_MID_ANSWER = "die_mid_answer"
    """SIGKILL with the answer's head and half of its body sent."""


DEATHS: Final = frozenset({Fault.DIE_BEFORE_CHARGING, Fault.DIE_AFTER_CHARGING, Fault.DIE_MID_ANSWER})
"""A payment meets each of these once: the provider that was started again does not die of it again."""
SLOW_SECONDS: Final = 1.0
LONGEST_REFUSAL: Final = 60.0

_SECONDS: Final = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)s")
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%")
_NAME: Final = re.compile(r"[!-+\--?A-~]{1,255}")
"""As names may be; neither a comma nor an @, which mean something here."""


class UnknownFaultError(ValueError):
    """It cannot be understood. The message says what would be right."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    fault: Fault
    name: str = ""
    share: float = 0.0

    def __str__(self) -> str:
        which = self.name or ("*" if self.share == 1 else f"{100 * self.share:g}%")
        return f"{self.fault}@{which}"

    def meets(self, name: str) -> bool:
        if self.name:
            return self.name == name
        digest = blake2b(f"{self.fault}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Plan:
    """Which payments meet which fault."""

    chosen: tuple[_Chosen, ...] = ()
    refuse: float = 0.0
    """Seconds for which nobody is to listen."""
    die_after_accept: bool = False

    def __str__(self) -> str:
        first = [f"{Fault.REFUSE}@{self.refuse:g}s"] if self.refuse else []
        first += [f"{Fault.DIE_AFTER_ACCEPT}@*"] if self.die_after_accept else []
        return ",".join([*first, *map(str, self.chosen)])

    def of(self, name: str, met: Iterable[Fault] = ()) -> Fault | None:
        """What the payment `name` meets, if it is none of `met`."""
        return next((each.fault for each in self.chosen if each.meets(name) and each.fault not in met), None)


def parse(text: str) -> Plan:
    """The plan that `text` says; "" is none.

    Raises:
        UnknownFaultError: it says none.
    """
    chosen: list[_Chosen] = []
    refuse, after_accept = 0.0, False
    for part in filter(None, map(str.strip, text.split(","))):
        word, at, which = part.partition("@")
        try:
            fault = Fault(word)
        except ValueError:
            raise UnknownFaultError(f"unknown fault {word!r}; known: {', '.join(Fault)}") from None
        if not at:
            raise UnknownFaultError(f"{word}: say which payments meet it: {word}@*, {word}@2% or {word}@order-17")
        if fault is Fault.REFUSE:
            refuse = _seconds(which)
        elif fault is Fault.DIE_AFTER_ACCEPT:
            if which != "*":
                raise UnknownFaultError(f"{word}: a connection has no name yet; write {word}@*")
            after_accept = True
        else:
            chosen.append(_choice(fault, which))
    return Plan(tuple(chosen), refuse, after_accept)


def _seconds(which: str) -> float:
    found = _SECONDS.fullmatch(which)
    if found is None or not 0 < float(found[1]) <= LONGEST_REFUSAL:
        raise UnknownFaultError(f"{Fault.REFUSE}: say for how long, up to {LONGEST_REFUSAL:g} s: {Fault.REFUSE}@5s")
    return float(found[1])


def _choice(fault: Fault, which: str) -> _Chosen:
    if which == "*":
        return _Chosen(fault, share=1.0)
    if found := _SHARE.fullmatch(which):
        if not 0 < float(found[1]) <= 100:
            raise UnknownFaultError(f"{fault}: a share is more than 0% and at most 100%")
        return _Chosen(fault, share=float(found[1]) / 100)
    if not _NAME.fullmatch(which):
        raise UnknownFaultError(f"{fault}: {which!r} can be no payment's name")
    return _Chosen(fault, name=which)
