"""Explanations, one at a time and in a thread of their own: some take seconds, and nobody who reads a file, sets an override or reloads may
have to wait for a thread that is busy with one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

WAITING: Final = 8
"""Questions that wait behind the one that is being answered."""


class BusyError(Exception):
    """As many wait as may."""


class Explainer:
    """See the module's docstring. It belongs to one event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._under_way = 0

    async def ask[**P](self, explain: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """What `explain` says.

        Raises:
            BusyError: too many have asked.
        """
        if self._under_way > WAITING:
            raise BusyError
        self._under_way += 1
        answer = asyncio.get_running_loop().run_in_executor(self._thread, lambda: explain(*args, **kwargs))
        answer.add_done_callback(self._done)
        return await asyncio.shield(answer)  # who leaves does not make the thread free

    def _done(self, answer: asyncio.Future[dict[str, Any]]) -> None:
        self._under_way -= 1
