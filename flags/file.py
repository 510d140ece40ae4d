"""Flags from a file. The last good state stands, whatever happens to the file while the gateway runs.

The file is looked at every 100 ms by `stat`, which follows symbolic links. Notification by the kernel was the alternative and is not
taken: for a ConfigMap it must watch every directory along a chain of links that is swapped underneath it, on network and overlay file
systems it stays silent, and it saves nothing: a `stat` is 2 µs, ten times a second.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from flags.features import FeaturesError, normalised, revision
from flags.snapshot import Snapshot
from flags.source import Publish
from flags.variants import NO_VARIANTS

_log = logging.getLogger("banyan.flags")

POLL: Final = 0.1
"""Seconds between looks. A flip is promised within 200 ms."""
MAX_BYTES: Final = 64 * 1024 * 1024
_RACY: Final = 50_000_000
"""Nanoseconds. A file changed this recently may change again within the same clock tick of its file system and keep its stamp."""

_Stamp = tuple[int, int, int, int, int]


class FlagFileError(ValueError):
    """The flag file cannot be used. The message says what, where and what to do."""


class FileSource:
    """Implements `flags.source.Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._publish: Publish | None = None
        self._published: Snapshot | None = None
        self._stamp: _Stamp | None = None
        self._read: tuple[bytes, bytes] = (b"", b"")
        """What the file held last that was good, and what became of it."""
        self._suspect: str = ""
        self._confirmed = -math.inf
        self._looking = asyncio.Lock()

    async def run(self, publish: Publish) -> None:
        """See `Source.run`."""
        self._stamp = _stamp(self._path)
        data = await asyncio.to_thread(self._content)
        self._publish = publish
        self._good(data)
        while True:
            await asyncio.sleep(POLL)
            await self.refresh()

    async def refresh(self) -> None:
        """See `Source.refresh`."""
        if self._publish is None:
            return
        async with self._looking:
            # Stamped before it is read: what changes in between is read again the next time.
            stamp = _stamp(self._path)
            if stamp is not None and stamp == self._stamp and not self._suspect:
                if self._published is not None and not self._published.error:
                    self._confirmed = time.monotonic()
                return
            self._stamp = stamp
            try:
                data = await asyncio.to_thread(self._content)
            except FlagFileError as error:
                self._bad(str(error))
            except Exception as error:  # whatever it is, the next content is looked at all the same
                self._bad(f"flag file {self._path}: it cannot be read ({type(error).__name__}: {str(error)[:100]})")
            else:
                self._good(data)

    def staleness(self) -> float:
        """See `Source.staleness`."""
        return time.monotonic() - self._confirmed

    def report(self, usage: Mapping[str, tuple[int, int]], variants: Mapping[str, Mapping[str, int]] = NO_VARIANTS) -> None:
        """A file has nobody to tell."""

    def close(self) -> None:
        """Nothing is held open between two looks."""

    def _content(self) -> bytes:
        """In a thread. A file from the future, which the clock that was set back makes of any, is read at each look: it costs that alone.

        Raises:
            FlagFileError: as `read`.
        """
        data = _bytes(self._path)
        before, found = self._read
        if data != before:
            found = _checked(self._path, data)
            self._read = (data, found)
        return found

    def _good(self, data: bytes) -> None:
        self._suspect = ""
        self._confirmed = time.monotonic()
        before = self._published
        snapshot = Snapshot(revision=revision(data), features=data, source="file", fetched_at=time.time())
        if before is not None and before.error:
            _log.info("flags: %s is readable again", self._path)
        if before is None or before.revision != snapshot.revision or before.error:
            self._send(snapshot)

    def _bad(self, error: str) -> None:
        before = self._published
        if before is None or before.error == error:
            self._suspect = ""
        elif self._suspect != error:
            # Perhaps caught half-written, or between an editor's delete and rename: it has until the next look.
            self._suspect = error
        else:
            self._suspect = ""
            _log.warning("%s. The last good flags stay in force.", error)
            self._send(replace(before, error=error))

    def _send(self, snapshot: Snapshot) -> None:
        self._published = snapshot
        if self._publish is not None:
            self._publish(snapshot)


def read(path: Path) -> bytes:
    """The file's content as the engine takes it.

    Raises:
        FlagFileError: it is missing, unreadable, or not Unleash's client-features JSON.
    """
    return _checked(path, _bytes(path))


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file() and path.exists():
            raise FlagFileError(f"flag file {path}: it is not a file. Name the file that holds the flags")  # a pipe would block for ever
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FlagFileError(
            f'flag file {path}: there is no such file. `banyan flags off NAME` starts one, or write {{"version": 1, "features": []}}'
        ) from None
    except OSError as error:
        raise FlagFileError(f"flag file {path}: {error.strerror or error}. Make it readable for the user that runs the gateway") from None
    if len(data) > MAX_BYTES:
        raise FlagFileError(f"flag file {path}: over {MAX_BYTES // 1024 // 1024} MiB. Is it the right file?")
    return data


def _checked(path: Path, data: bytes) -> bytes:
    try:
        return normalised(data, strict=True)
    except FeaturesError as error:
        raise FlagFileError(f"flag file {path}: {error}. Correct it; `banyan flags off NAME` shows what a right one looks like") from None


def _stamp(path: Path) -> _Stamp | None:
    """What tells one content from another without reading it; None where that can't be told and it must be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if time.time_ns() - stat.st_mtime_ns < _RACY:
        return None
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev, stat.st_size)
