"""The processes of a drill, in a temporary folder: every one is started through here, so that every one is ended, by its own id."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from demo.processes import Running, StartError

Say = Callable[[str], None]


class Stage:
    """Call `close` whatever happens: it ends what was started and removes the folder. `start` may be called from several threads."""

    def __init__(self, drill: str, say: Say) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"banyan-drill-{drill}-"))
        self.say = say
        self._running: list[tuple[Running, Callable[[], object]]] = []
        self._starting = 0
        self._closed = False
        self._changed = threading.Condition()

    def start[Server: Running](self, begin: Callable[[], Server], stop: Callable[[Server], object] = Running.stop) -> Server:
        """What `begin` starts. `stop` ends it in the end; it may have ended before.

        Raises:
            StartError: it did not come up, or the drill is over.
        """
        with self._changed:
            if self._closed:
                raise StartError("the drill is over")
            self._starting += 1
        try:
            running = begin()
            with self._changed:
                self._running.append((running, lambda: stop(running)))
            return running
        finally:
            with self._changed:
                self._starting -= 1
                self._changed.notify_all()

    def end(self, running: Running) -> None:
        """Stops one of them before the others."""
        with self._changed:
            stops = [stop for other, stop in self._running if other is running]
            self._running = [(other, stop) for other, stop in self._running if other is not running]
        for stop in stops:
            stop()

    def close(self, *, keep: bool = False) -> None:
        """Ends everything. What is being started is waited for, since it has no id before: `demo.processes.start` bounds that."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._starting)
            stops = [stop for _, stop in self._running]
            self._running = []
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stop") as threads:
            for stopped in [threads.submit(stop) for stop in stops]:
                stopped.result()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def stage(drill: str, say: Say, *, keep: bool = False) -> Iterator[Stage]:
    """A stage for as long as the block lasts. `keep`: the folder stays, with logs and databases."""
    found = Stage(drill, say)
    try:
        yield found
    finally:
        found.close(keep=keep)
        if keep:
            say(f"logs and databases are in {found.folder}")
