"""Sources that know by themselves who is calling, without a call: whatever both engines ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from gateway.identity.caller import Caller
from gateway.identity.credential import Credential
from gateway.identity.django_session import Sessions
from gateway.settings import Config

ASKING: Final = "asking"
"""Why nobody can say who it is: what is missing for that is being asked for."""


class Checker(Protocol):
    """Checks credentials."""

    def caller(self, credential: Credential, fields: bytes, now: float) -> Caller:
        """Who sent the request with these field lines, each with its CRLF before it. `now`: Unix time. Nothing a client sends raises."""


@runtime_checkable
class Asking(Checker, Protocol):
    """A Checker that may lack something: a key that its token's issuer has new."""

    patience: float
    """Seconds after which nobody waits any longer."""

    def wait(self, then: Callable[[], None]) -> None:
        """Calls `then` when what a caller was UNSAID for, because of ASKING, has come or will not come: at once, where nothing is asked."""


def check(
    checker: Checker, credential: Credential, fields: bytes, then: Callable[[Caller], None], wall: Callable[[], float]
) -> Caller | None:
    """Who it is, as Checker.caller says. None: that depends on something that is being asked for, and `then` is called with him, later and
    once. So a token that is signed by a new key waits for it, and is not refused. `wall`: a clock of Unix time. On the loop's thread."""
    caller = checker.caller(credential, fields, wall())
    if caller.why != ASKING or not isinstance(checker, Asking):
        return caller
    _Waiting(checker, credential, fields, then, wall)
    return None


class _Waiting:
    """A request that waits, for so long and no longer."""

    def __init__(
        self, checker: Asking, credential: Credential, fields: bytes, then: Callable[[Caller], None], wall: Callable[[], float]
    ) -> None:
        self._question = (checker, credential, fields)
        self._then: Callable[[Caller], None] | None = then
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._again = True
        """An answer may have been on its way already, and too early: then it waits for another one. Not for a third."""
        self._timer = self._loop.call_later(checker.patience, self._known, True)
        checker.wait(self._soon)

    def _soon(self) -> None:
        """Not from within: whoever waits must not be called before it knows that it has to wait, nor does one come in another's way."""
        self._loop.call_soon(self._known, False)

    def _known(self, late: bool) -> None:
        if self._then is None:
            return
        checker, credential, fields = self._question
        caller = checker.caller(credential, fields, self._wall())
        if caller.why == ASKING and self._again and not late:
            self._again = False
            checker.wait(self._soon)
            return
        then, self._then = self._then, None
        self._timer.cancel()
        then(caller)


def checker(config: Config, before: Checker | None = None) -> Checker | None:
    """The one that `config` asks for; None: its source is another. `before`: that of the terms which these replace, whose keys and
    remembered callers are carried over where nothing that they depend on has changed."""
    identity = config.identity
    if identity.source == "jwt":
        from gateway.identity.tokens import Tokens  # not for every worker: cryptography takes its time and its room

        return before if isinstance(before, Tokens) and before.same(config) else Tokens(config)
    if identity.source == "django-session" and identity.django_session is not None:
        terms = (identity.django_session, identity.claims, identity.entries)
        return before if isinstance(before, Sessions) and before.terms == terms else Sessions(*terms)
    return None
