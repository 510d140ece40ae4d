"""The flags as this gateway has them: where they come from, what overrides them, what is wrong with them, and what every worker decides by.

Invariants:
- There is one source, and every worker decides by the snapshot that it published last, and by the overrides in force.
- An override reaches the workers before it is written down, and ends whatever the disk does: a full or hanging one must not keep the
  traffic where it hurts. What could not be written is tried again until it could.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from flags import overrides, problems
from flags import source as flag_source
from flags.changes import Changes
from flags.overrides import Override, OverrideError, Overrides
from flags.problems import Problem
from flags.snapshot import Snapshot
from flags.splits import Split
from gateway.children import WorkerProcess
from gateway.config import Config
from gateway.control import Applied, FlagState, Ready, Report
from gateway.control import Overrides as OverridesMessage

_log = logging.getLogger("banyan.flags")

CONFIRM_SECONDS = 2.0
"""How long whoever sets an override waits for the workers."""
WRITE_SECONDS = 1.0
"""And then for the disk."""
WRITE_AGAIN_SECONDS = 5.0
"""Between two tries to write the overrides down."""
LOOK_SECONDS = 1.0
"""Between two looks at the clock on the wall, by which overrides end: it may be set, or have gone on while the machine slept."""
FIRST_FLAGS_SECONDS = 5.0
"""How long start-up waits for the flags; then everything is legacy's until they come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an override."""

    workers: dict[str, bool]
    """Does each decide by it?"""
    warning: str = ""
    """Why a restart will not know of it."""


class Switchboard:
    """See the module's docstring. `workers` is the supervisor's own list. `keep` runs a task for as long as the gateway runs."""

    def __init__(
        self, config: Config, workers: Sequence[WorkerProcess], keep: Callable[[Coroutine[Any, Any, object], str], object]
    ) -> None:
        flags = config.flags
        self.run_id = uuid.uuid4().hex
        """Of this life: numbers of changes start anew with the next."""
        self.snapshot = Snapshot("", b'{"version":1,"features":[]}', "none", 0.0, "no flags were read yet")
        self.overrides = Overrides()
        self.changes = Changes()
        self.problems: list[Problem] = []
        self.first = asyncio.Event()
        """The source has published something."""
        self._names: list[str] = []
        self._splits: list[Split] = []
        self._path = config.resolve(flags.overrides)
        self._workers = workers
        self._keep = keep
        self._number = 0
        """Of the overrides in force."""
        self._heard_something = asyncio.Event()
        self._said: set[Problem] = set()
        self._looking = asyncio.Lock()
        self._written = 0
        """The number of the overrides that the file holds."""
        self._unwritten = asyncio.Event()
        self._tried_to_write = asyncio.Event()
        self._unwritable = ""
        """Why the last try failed."""
        self.source = flag_source.create(
            source=flags.source,
            path=flags.path,
            url=flags.url,
            token=flags.token.get_secret_value(),
            refresh=flags.refresh,
            backup=flags.backup,
            folder=config.folder,
            app_name=flags.app_name,
        )
        self.take_routes(config)

    # From the supervisor

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            FlagFileError: the flag file cannot be read at start.
        """
        self._restore()
        self._keep(self._watch(), "overrides")
        self._keep(self._write_down(), "overrides file")
        await self.source.run(self._publish)

    async def wait_for_first(self, running: asyncio.Task[object], stop: asyncio.Event) -> None:
        """Until there are flags, `stop` is set, or the start has waited long enough.

        Raises:
            FlagFileError: what `run`, which is `running`, raised.
        """
        first = asyncio.create_task(self.first.wait(), name="first flags")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        tasks: set[asyncio.Task[Any]] = {first, stopped, running}
        done, _ = await asyncio.wait(tasks, timeout=FIRST_FLAGS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        stopped.cancel()
        if running in done:
            running.result()  # a flag file that cannot be read at start ends the start
        elif not self.first.is_set() and not stop.is_set():
            _log.warning("no flags after %g s: legacy answers everything until they come", FIRST_FLAGS_SECONDS)

    def take_routes(self, config: Config) -> None:
        """The routes, at the start or after a reload: with their flags something may be wrong."""
        self._names = [flag for route in config.routes for flag in route.flags]
        self._splits = config.splits
        if self.first.is_set():
            self._keep(self._look_for_problems(), "flag problems")

    def told(self) -> list[OverridesMessage | FlagState]:
        """What a worker has to know before it begins, which it does with the flags."""
        return [self._overridden(), self._state()]

    def heard(self, worker: WorkerProcess, message: Ready | Applied | Report) -> None:
        """What a worker says of its flags."""
        if isinstance(message, Report):
            if message.stats.flags:
                self.source.report(message.stats.flags, message.stats.variants)
            return
        worker.revision, worker.overrides = message.revision, message.overrides
        # It may have been started with what was replaced while it compiled it.
        if isinstance(message, Ready):
            if message.revision != self.snapshot.revision:
                worker.send(self._state())
            if message.overrides != self._number:
                worker.send(self._overridden())
        self._heard_something.set()

    def current(self, worker: WorkerProcess) -> bool:
        """Does it decide by the newest?"""
        return worker.revision == self.snapshot.revision and worker.overrides == self._number

    # From people

    @property
    def names(self) -> Sequence[str]:
        """The flags that routes read."""
        return self._names

    async def override(self, flag: str, override: Override) -> Outcome:
        """Puts it in force, and back when every worker decides by it, or CONFIRM_SECONDS later."""
        before = self.overrides.put(flag, override)
        self.changes.add(override.since, "override", flag, _told(before), _told(override), override.by, override.why)
        word = "on" if override.enabled else "off"
        _log.warning(
            "flags: %s is overridden %s for %.0f s by %s: %s",
            flag, word, override.until - override.since, override.by or "somebody", override.why or "no reason given",
        )  # fmt: skip
        return await self._changed()

    async def clear(self, flag: str, by: str, why: str) -> Outcome | None:
        """Ends the flag's override; None: it has none."""
        before = self.overrides.clear(flag)
        if before is None:
            return None
        self.changes.add(time.time(), "override", flag, _told(before), None, by, why)
        _log.warning("flags: the override of %s was ended by %s", flag, by or "somebody")
        return await self._changed()

    # Inside

    def _publish(self, snapshot: Snapshot) -> None:
        before, first = self.snapshot, not self.first.is_set()
        self.snapshot = snapshot
        self.first.set()
        if first or snapshot.revision != before.revision:
            state = self._state()
            for worker in self._workers:
                worker.send(state)
            if snapshot.source != "none":
                try:
                    self.changes.state(snapshot.features, time.time())
                except Exception:  # a record of what has been must not stop what is to be
                    _log.exception("what has changed of the flags could not be written down")
        if first or (snapshot.revision, snapshot.refused, snapshot.source) != (before.revision, before.refused, before.source):
            self._keep(self._look_for_problems(), "flag problems")

    def _state(self) -> FlagState:
        snapshot = self.snapshot
        return FlagState(snapshot.revision, snapshot.features, snapshot.source, snapshot.fetched_at, snapshot.error)

    def _overridden(self) -> OverridesMessage:
        return OverridesMessage(self._number, self.overrides.answers)

    async def _look_for_problems(self) -> None:
        async with self._looking:
            found = await asyncio.to_thread(problems.find, self.snapshot, self._names, self._splits)
        self.problems = found
        refused = dict(self.snapshot.refused)  # of which the source has said it
        for problem in found:
            if problem not in self._said and problem.flag not in refused:
                _log.warning("flags: %s: %s", problem.flag, problem.text)
        self._said = set(found)  # one that is mended and comes back is said again

    async def _changed(self) -> Outcome:
        self._send()
        number = self._number
        return Outcome(await self._confirmed(number), await self._is_written(number))

    def _send(self) -> None:
        self._number += 1
        self._unwritten.set()
        message = self._overridden()
        for worker in self._workers:
            worker.send(message)

    async def _confirmed(self, number: int) -> dict[str, bool]:
        """Which workers decide by these overrides, or newer ones."""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                while not all(worker.overrides >= number for worker in self._workers):
                    self._heard_something.clear()
                    await self._heard_something.wait()
        except TimeoutError:
            pass  # said worker by worker
        return {str(worker.index): worker.overrides >= number for worker in self._workers}

    async def _is_written(self, number: int) -> str:
        """Whether the file holds them; else why not, and what that means."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                while self._written < number and not self._unwritable:
                    self._tried_to_write.clear()
                    await self._tried_to_write.wait()
        except TimeoutError:
            pass
        if self._written >= number:
            return ""
        why = self._unwritable or "the disk takes its time"
        return f"flags.overrides: {self._path} is not written yet ({why}); it is tried again. A restart before would go by what it holds"

    async def _write_down(self) -> None:
        """Keeps the file as the overrides are."""
        while True:
            await self._unwritten.wait()
            self._unwritten.clear()
            number, data = self._number, self.overrides.dump()
            try:
                await asyncio.to_thread(overrides.write, self._path, data)
            except OSError as error:
                why = error.strerror or str(error)
                if why != self._unwritable:
                    _log.warning(
                        "flags.overrides: %s cannot be written (%s); tried again. A restart goes by what it holds", self._path, why
                    )
                self._unwritable = why
                self._tried_to_write.set()
                await asyncio.sleep(WRITE_AGAIN_SECONDS)
                self._unwritten.set()
            else:
                if self._unwritable:
                    _log.warning("flags.overrides: %s is written again", self._path)
                self._written, self._unwritable = number, ""
                self._tried_to_write.set()

    def _restore(self) -> None:
        try:
            data = overrides.read(self._path)
            for flag in self.overrides.load(data, time.time()) if data is not None else ():
                _log.warning("flags.overrides: %s: the entry of %s cannot be understood: it is not in force", self._path, flag)
        except OSError as error:
            _log.warning("flags.overrides: %s cannot be read (%s): what it holds is not in force", self._path, error.strerror)
        except OverrideError as error:
            _log.warning("flags.overrides: %s: %s: what it holds is not in force. Remove it", self._path, error)
        for flag, override in self.overrides.by_flag.items():
            self._number = self._written = 1
            word, left = "on" if override.enabled else "off", override.until - time.time()
            _log.warning("flags: %s is still overridden %s, for %.0f s (by %s)", flag, word, left, override.by or "somebody")

    async def _watch(self) -> None:
        """Ends each override when its time is over."""
        while True:
            now = time.time()
            over = self.overrides.end(now)
            for flag in over:
                self.changes.add(now, "override", flag, _told(over[flag]), None, why="its time was over")
                _log.warning("flags: the override of %s has ended: it is what it is where it lives", flag)
            if over:
                self._send()
            end = self.overrides.next_end
            await asyncio.sleep(LOOK_SECONDS if end is None else min(LOOK_SECONDS, max(0.0, end - time.time())))


def _told(override: Override | None) -> dict[str, object] | None:
    return None if override is None else {"enabled": override.enabled, "until": override.until}
