"""Who is calling, as the rest of the gateway hears it from whichever source knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from gateway.policy.admission import Standing

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """See the module's docstring. Equal callers are the same to flags and upstreams."""

    user_id: str | None = None
    session_id: str | None = None
    """A name for the session that cannot be used to enter it."""
    claims: Mapping[str, str] = field(default=NOTHING)
    """What else the source says of a user, of what identity.claims names, as text: plan, country …"""
    fleeting: bool = field(default=False, compare=False)
    """Nobody whom the flags would meet again: a visitor who was made for this request, and may never show his cookie."""
    standing: Standing = Standing.NOBODY
    why: str = ""
    """For REFUSED and UNSAID, a code for logs and explain: expired, signature, doubled, timeout … Never part of a credential."""
    expires: float | None = None
    """Unix time at which the credential ends by its own word; None: it does not say."""
    cookies: tuple[bytes, ...] = field(default=(), compare=False)
    """Values of Set-Cookie by which the source renewed the credential: for the answers of the requests that waited for it, no others."""


ANONYMOUS: Final = Caller()


def known(caller: Caller | None) -> Literal["", "user", "nobody"]:
    """What is told of a caller beside what was answered: whether there is a user, and never who. None: nobody was asked."""
    if caller is None:
        return ""
    return "nobody" if caller.user_id is None else "user"


def explained(caller: Caller) -> str:
    """Why such a caller is not let in where somebody has to be logged in: for the client, and without anything of the credential."""
    if caller.standing is Standing.UNSAID:
        return f"It could not be found out who is calling ({caller.why}). Try again."
    if caller.standing is Standing.REFUSED:
        return f"The credential is not valid ({caller.why})."
    return "The request has no credential of somebody who is logged in."


def refused(why: str) -> Caller:
    """The caller whose credential is no good."""
    return Caller(standing=Standing.REFUSED, why=why)


def unsaid(why: str) -> Caller:
    """The caller of whom nobody can say who it is at the moment."""
    return Caller(standing=Standing.UNSAID, why=why)
