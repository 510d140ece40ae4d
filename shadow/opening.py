"""Opens messages: in a process that may be ended, where one has perhaps ended a worker, or is larger than a shipper makes them.

How often a message was delivered says nothing against it: workers that are told to end give back what they hold, whatever that is. What
speaks against it is that it ends the process in which nothing else happens.
"""

from __future__ import annotations

from typing import NamedTuple

from shadow.budget import BudgetedJudge
from shadow.pack import Pack, PackError, unpack

INLINE_BYTES = 8 * 1024 * 1024
"""Of a pack once decompressed. A shipper's are of 256 KiB, or of one exchange."""


class Sealed(NamedTuple):
    """A message as it came."""

    data: bytes
    fields: dict[str, str]
    route: str = "(a pack)"
    """For the log: it is not known yet."""


class _Unpacking:
    """The work of the process."""

    def judge(self, sealed: Sealed, /) -> Pack | PackError | None:
        """What is in it, or why nobody can say."""
        try:
            return unpack(sealed.data, sealed.fields)
        except PackError as error:
            return error

    def inconclusive(self, sealed: Sealed, /) -> Pack | PackError | None:
        """It took all of its time or memory, or ended the process."""
        return None


class Opener:
    """Not for several threads at once."""

    def __init__(self) -> None:
        self._child: BudgetedJudge[Sealed, Pack | PackError | None] = BudgetedJudge(_Unpacking())

    def open(self, data: bytes, fields: dict[str, str], *, careful: bool) -> Pack | None:
        """What is in a message; None: it ends the process that opens it. `careful`: it is not tried here.

        Raises:
            PackError: it is no pack, or one of another version.
            shadow.budget.NotStartedError: there is no process.
        """
        if not careful:
            found = unpack(data, fields, INLINE_BYTES)
            if found is not None:
                self._child.close()  # seldom needed; but where one message is suspected, the next may be too
                return found
        opened = self._child.judge(Sealed(data, fields))
        if isinstance(opened, PackError):
            raise opened
        return opened

    def kill(self) -> None:
        """From another thread: whoever waits for the process waits no longer, and is told None."""
        self._child.kill()

    def close(self) -> None:
        self._child.close()
