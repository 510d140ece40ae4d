"""Turns one flag off and does not rest until it is: where it lives, and meanwhile, if that takes longer than a moment, on this gateway.

Never turns anything on: an override that it set is ended once the flag is seen to be off, or when a person has put the flag on again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from flags.admin import AdminError
from flags.daemons import Daemons
from flags.overrides import LONGEST, LONGEST_TEXT, Override
from gateway.guard.place import Place
from gateway.guard.trips import Outcome
from gateway.switchboard import Switchboard

_log = logging.getLogger("banyan.guard")

BY: Final = "banyan guard"
AT_ONCE_SECONDS: Final = 1.0
"""How long the flag's place has, before the flag is overridden here: traffic must not wait for an Unleash that hangs."""
AGAIN_SECONDS: Final = (2.0, 60.0)
"""First and longest wait between two tries."""
SEEN_SECONDS: Final = 5.0
"""How long it may take until this gateway has the flag as it is since then: Unleash publishes once a second."""
LOOK_SECONDS: Final = 0.1


class Turning:
    """Of one flag. `told` hears what is wrong with its place, "" when nothing is, and whether it was overridden here."""

    def __init__(self, board: Switchboard, place: Callable[[], Place], flag: str, why: str, told: Callable[[str, bool], None]) -> None:
        self._board = board
        self._place = place
        self._flag = flag
        self._why = "".join(character if character.isprintable() else " " for character in why)[:LONGEST_TEXT]
        self._told = told
        self._error = ""
        self._overridden = False
        self._threads = Daemons(f"guard: {flag}")
        """An Unleash that hangs must not keep the gateway from ending."""

    async def run(self) -> Outcome:
        """Until the flag is off where it lives and this gateway goes by that, or a person has decided otherwise."""
        flag, board = self._flag, self._board
        self._overridden = self._mine()  # by the guard of before a restart
        if board.overrides.answers.get(flag):
            await self._override()  # by a person, on: nothing that is done to the flag would reach anybody
        try:
            outcome = await self._off()
            if outcome == "already-off":
                board.changes.forget(flag)
            if outcome != "on-again" and not await self._is_seen():
                outcome = "on-again"
        finally:
            board.changes.forget(flag)
        if self._mine():
            await board.clear(flag, BY, "the flag is off where it lives" if outcome != "on-again" else "the flag was turned on again")
        return outcome

    async def _off(self) -> Outcome:
        """Tries until it is off where it lives."""
        wait, longest = AGAIN_SECONDS
        while True:
            self._board.changes.expect(self._flag, BY, self._why)
            trying = asyncio.get_running_loop().run_in_executor(self._threads, self._place().off, self._flag)
            done, _ = await asyncio.wait({trying}, timeout=AT_ONCE_SECONDS)
            if not done and not self._overridden:
                await self._override()
            try:
                was_on = await trying
            except AdminError as error:
                await self._not_off(str(error))
            except Exception as error:  # whatever it is: the flag is not off, and somebody has to know
                _log.exception("guard: turning %s off stumbled", self._flag)
                await self._not_off(f"{type(error).__name__}: see the log")
            else:
                self._failed("")
                return "switched-off" if was_on else "already-off"
            if await self._ended_by_somebody(wait):
                return "on-again" if self._on() else "already-off"
            wait = min(2 * wait, longest)

    async def _not_off(self, error: str) -> None:
        """A try has failed. Whoever turns the flag off between two tries is a person, and it is told as theirs."""
        self._board.changes.forget(self._flag)
        self._failed(error)
        if not self._overridden:
            await self._override()

    async def _is_seen(self) -> bool:
        """Waits until this gateway has the flag off. False: it does not, since somebody turned it on again in the same moment."""
        board, flag = self._board, self._flag
        while self._on():
            try:
                async with asyncio.timeout(SEEN_SECONDS):
                    await board.source.refresh()
                    while self._on():  # noqa: ASYNC110 - a snapshot is no event that one could wait for
                        await asyncio.sleep(LOOK_SECONDS)
            except TimeoutError:
                try:
                    if await asyncio.get_running_loop().run_in_executor(self._threads, self._place().enabled, flag):
                        return False
                except AdminError as error:
                    self._failed(str(error))
                # It is off, and this gateway does not get to know: so it has to be told.
                if not self._overridden:
                    await self._override()
                elif not self._mine():
                    return False
        return True

    async def _ended_by_somebody(self, seconds: float) -> bool:
        """Waits. Whether the flag is seen off meanwhile, or a person has ended the override: both are decisions."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._on() or not self._mine():
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _override(self) -> None:
        self._overridden = True
        now = time.time()
        await self._board.override(self._flag, Override(False, now, now + LONGEST, BY, self._why))
        self._told(self._error, True)

    def _mine(self) -> bool:
        override = self._board.overrides.by_flag.get(self._flag)
        return override is not None and override.by == BY and not override.enabled

    def _on(self) -> bool:
        """As this gateway has it from where it lives, whatever overrides it."""
        feature = self._board.changes.features.get(self._flag)
        return feature is not None and bool(feature.get("enabled"))

    def _failed(self, error: str) -> None:
        if error and error != self._error:
            _log.error("guard: %s cannot be turned off where it lives, which is tried again: %s", self._flag, error)
        elif self._error and not error:
            _log.warning("guard: %s is turned off where it lives, at last", self._flag)
        self._error = error
        self._told(error, self._overridden)
