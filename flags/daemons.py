"""Threads that nothing has to wait for.

Those of the standard library's pool are waited for at the end of the process, however long a server keeps them: with one that sends a byte
of its header every second, for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final

LONGEST: Final = 10.0
"""Seconds that `shutdown` waits for what is still running, in sum."""


class Daemons(Executor):
    """A thread for each call. Whoever calls sees to it that there are few."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`.

        Raises:
            RuntimeError: after `shutdown`.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(fn(*args, **kwargs))
                    except BaseException as error:  # a future takes whatever it was
                        future.set_exception(error)
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=self._name, daemon=True)
        with self._lock:
            if self._closed:
                raise RuntimeError("no new threads after the end")
            self._threads.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for what is running, for at most `LONGEST`."""
        with self._lock:
            self._closed = True
            threads = set(self._threads) - {threading.current_thread()}
        until = time.monotonic() + LONGEST
        for thread in threads if wait else ():
            thread.join(max(0.0, until - time.monotonic()))
