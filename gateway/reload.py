"""Reload: banyan.toml read again while the gateway serves, on SIGHUP, on a change of the file, or by POST /reload.

Invariant: a file that cannot be used changes nothing. It is read and validated whole, and compared with what is in force, before anybody
hears of it; until then, and after a failure, the old configuration serves.

The file is looked at by `stat`, which follows symbolic links, as flags/file.py does and says why. It is read when it has been the same for
two looks: an editor that writes in place is not caught in the middle.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway import access
from gateway.config import Config, ConfigError, parse, read

_log = logging.getLogger("banyan.reload")

LOOK_SECONDS = 0.25
"""Between two looks at the file: a change is in force about half a second after its last byte."""
RACY_NS = 50_000_000
"""A file that was written this recently when it was read may have been written again within its time stamp's precision."""

FIXED = (
    "gateway.listen",
    "gateway.admin",
    "gateway.workers",
    "gateway.http3",
    "flags.source",
    "flags.path",
    "flags.url",
    "flags.token",
    "flags.refresh",
    "flags.backup",
    "flags.app_name",
    "flags.environment",
    "flags.overrides",
    "shadow.sink",
    "shadow.database",
    "ledger.database",
)
"""What a reload does not change: sockets, processes and the flag source belong to the supervisor's life."""

_Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one reload."""

    why: str
    """file | SIGHUP | POST /reload."""
    at: float
    """Unix time."""
    problems: tuple[str, ...] = ()
    """One for each mistake, as `banyan check` says them."""
    unconfirmed: tuple[str, ...] = ()
    """Workers that did not take a good file: why."""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.unconfirmed

    @property
    def error(self) -> str:
        return "\n".join((*self.problems, *self.unconfirmed))


class Reloads:
    """See the module's docstring. `current`: what is in force. `check`: what stands against another on this machine. `adopt` puts one
    in its place, and returns what went wrong with that."""

    def __init__(
        self,
        text: str,
        current: Callable[[], Config],
        check: Callable[[Config], list[str]],
        adopt: Callable[[Config, str], Awaitable[list[str]]],
    ) -> None:
        self.ok = 0
        self.failed = 0
        self.last: Outcome | None = None
        self.succeeded_at = time.time()
        """Of what is in force; the start counts."""
        self._path = current().path
        self._current = current
        self._check = check
        self._adopt = adopt
        self._tried: str | None = text
        self._read: _Stamp | None = None
        """The file's stamp when it was read; None: it has to be read again to know."""
        self._seen: _Stamp = ()
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def ask(self) -> None:
        """SIGHUP."""
        self._asked.set()

    async def run(self) -> None:
        """Reloads when it was asked for and when the file has changed, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                if self._changed():
                    await self._reload("file", only_if_different=True)
            else:
                self._asked.clear()
                await self._reload("SIGHUP")

    async def reload(self, why: str) -> Outcome:
        """Reads the file and puts it in force, or says why not."""
        outcome = await self._reload(why)
        assert outcome is not None  # noqa: S101 - it was not to look for a difference only
        return outcome

    async def _reload(self, why: str, *, only_if_different: bool = False) -> Outcome | None:
        async with self._one_at_a_time:
            self._read = stamp(self._path)
            if self._read and time.time_ns() - self._read[0] < RACY_NS:
                self._read = None
            try:
                text = await asyncio.to_thread(read, self._path)
            except ConfigError as error:
                self._tried = None
                return self._note(Outcome(why, time.time(), tuple(str(error).splitlines())))
            if only_if_different and text == self._tried:
                return None
            self._tried = text
            try:
                config = await asyncio.to_thread(self._usable, text)
            except ConfigError as error:
                return self._note(Outcome(why, time.time(), tuple(str(error).splitlines())))
            except Exception as error:  # a file that stumbles us costs this reload, not those after it
                _log.exception("%s cannot be judged", self._path)
                return self._note(Outcome(why, time.time(), (f"{self._path}: cannot be judged ({type(error).__name__}): see the log",)))
            return self._note(Outcome(why, time.time(), unconfirmed=tuple(await self._adopt(config, text))))

    def _usable(self, text: str) -> Config:
        config = parse(self._path, text)
        problems = [
            f"{key}: a reload cannot change it; restart the gateway, or put the old value back" for key in fixed(self._current(), config)
        ]
        if not problems:
            problems = self._check(config)
        if problems:
            raise ConfigError(self._path, problems)
        return config

    def _note(self, outcome: Outcome) -> Outcome:
        self.last = outcome
        if outcome.ok:
            self.ok += 1
            self.succeeded_at = outcome.at
            _log.info("%s was reloaded (%s)", self._path, outcome.why)
        elif outcome.problems:
            self.failed += 1
            _log.error("reload (%s) failed, the old configuration serves on: %s", outcome.why, " | ".join(outcome.problems))
        else:
            self.failed += 1
            _log.error("reload (%s): not every worker took %s: %s", outcome.why, self._path, " | ".join(outcome.unconfirmed))
        return outcome

    def _changed(self) -> bool:
        now = stamp(self._path)
        settled = now == self._seen
        self._seen = now
        return settled and now != self._read


def stamp(path: Path) -> _Stamp:
    """What tells one content from another without reading it, its time first; () where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, found.st_size)


def fixed(old: Config, new: Config) -> Iterator[str]:
    """The keys that differ and cannot, by a reload."""
    for key in FIXED:
        section, _, name = key.partition(".")
        if getattr(getattr(old, section), name) != getattr(getattr(new, section), name):
            yield key
    if bool(old.gateway.tls) != bool(new.gateway.tls):
        yield "gateway.tls (whether there is any)"


def unwritable(config: Config) -> Iterator[str]:
    """Logs that cannot be written."""
    for key, target in (("gateway.access_log", config.log_target), ("flags.impressions", config.impressions_target)):
        try:
            access.check(target)
        except OSError as error:
            yield f"{key}: {error.filename}: {error.strerror}. Name another file"


def for_the_shipper(config: Config) -> bytes:
    """All that the shipper goes by: as long as it stays the same, the shipper goes on."""
    compare = {route.name: route.shadow.compare.model_dump() for route in config.routes}
    shadow = config.shadow
    rest = [shadow.redact, shadow.redact_patterns, shadow.retention, shadow.processes, compare, shadow.broker]
    return msgspec.json.encode(rest, order="sorted")
