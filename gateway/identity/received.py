"""A key server's keys, as the supervisor tells a worker of them; and what a worker asks the supervisor in turn: are there newer ones?

Keys go by their origin, a name for the place that they are from. So a reload that names another place never finds those of the old one, in
whichever order the messages come. No clock, no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.identity.keyring import Key

ORIGINS = 2
"""The place that is in force, and the one of before or after it, while a reload is under way."""
WAITING = 1000
"""Requests that wait for an answer. More get none, and hear at once that nobody can say."""
PATIENCE_SECONDS = 65.0
"""How long an answer is waited for: a little longer than any jwks_timeout."""


class Received:
    """See the module's docstring. `now` is Unix time in seconds. `asking`: how the supervisor is asked; None: nobody is."""

    def __init__(self, asking: Callable[[str], None] | None = None) -> None:
        self.asking = asking
        self._keys: dict[str, tuple[bytes, tuple[Key, ...]]] = {}
        self._asked: dict[str, float] = {}
        """Since when an answer is waited for."""
        self._quiet: dict[str, float] = {}
        """Until when there is no use in asking."""
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def take(self, origin: str, data: bytes, quiet_until: float) -> None:
        """The supervisor says which keys there are (keyring.dumped), and until when it would ask nobody for others.

        Raises:
            ValueError: these are none; those of before stay.
        """
        from gateway.identity import keyring  # not for every worker: cryptography takes its time and its room

        before = self._keys.get(origin)
        try:
            # The same ones stay the same object: whoever remembers what he found out by them sees that by `is`.
            if before is None or before[0] != data:
                self._keys[origin] = (data, tuple(keyring.loaded(data)))
        finally:
            self._quiet[origin] = quiet_until
            self._asked.pop(origin, None)
            while len(self._keys) > ORIGINS:
                self._forget(next(each for each in self._keys if each != origin))
            for then in self._waiting.pop(origin, ()):
                then()

    def keys(self, origin: str) -> tuple[Key, ...]:
        """Those of this place, as far as anybody has heard."""
        found = self._keys.get(origin)
        return found[1] if found is not None else ()

    def heard(self, origin: str) -> bool:
        """Was there anything about this place, be it that it has no keys?"""
        return origin in self._keys

    def asks(self, origin: str, now: float) -> bool:
        """Somebody needs a key that is not here: is there hope for it? Then the supervisor was asked, and has not answered yet."""
        if self.asking is None:
            return False
        since = self._asked.get(origin)
        if since is not None:
            if since <= now < since + PATIENCE_SECONDS:
                return True
        elif now < self._quiet.get(origin, 0.0) <= now + PATIENCE_SECONDS * 1000:
            return False
        self._asked[origin] = now
        self.asking(origin)
        return True

    def answered(self, origin: str, then: Callable[[], None]) -> None:
        """Calls `then` when the supervisor has answered: at once, where nothing was asked, or too many wait."""
        waiting = self._waiting.setdefault(origin, []) if origin in self._asked else None
        if waiting is not None and len(waiting) < WAITING:
            waiting.append(then)
        else:
            then()

    def _forget(self, origin: str) -> None:
        self._keys.pop(origin, None)
        self._quiet.pop(origin, None)
        self._asked.pop(origin, None)
        for then in self._waiting.pop(origin, ()):
            then()


RECEIVED = Received()
"""The process's own. A worker has one supervisor, and terms come and go: what was heard belongs to neither engine. The supervisor's own
has the same keys, for explain."""
