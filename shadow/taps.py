"""Whoever captures traffic of a running gateway (`banyan capture`): they come to a socket beside the shipper's own, and get what it is
given from then on, redacted, as JSON lines.

The edge does nothing for it, and the shipper's reader hardly anything: a tap takes a reference, or counts a loss, and is never waited for.
What is captured is what is compared: a request that the shadow does not take never comes here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from socket import socket
from typing import Final

import msgspec

from recorded import json_lines
from shadow.captured import entry
from shadow.exchange import Exchange, weight
from shadow.logs import about
from shadow.redact import Redactor

_log = logging.getLogger("banyan.shadow")

MOST: Final = 4
"""Taps at once."""
MAX_COUNT: Final = 1000
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of exchanges that wait for one tap's reader."""
TURN: Final = 20
"""Exchanges that are redacted at a time."""
ASK_SECONDS: Final = 5.0
SEND_SECONDS: Final = 30.0
"""A reader that takes nothing for so long is left."""
TELL_SECONDS: Final = 0.5
"""Between two lines of counts, where nothing else is said."""
MAX_QUESTION: Final = 64 * 1024


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """What a reader wants: the one line that it writes."""

    routes: list[str] = []
    """Empty: all."""
    sample: float = 1.0


class Counts(msgspec.Struct):
    """What became of the exchanges of the wanted routes, so far."""

    seen: int = 0
    sampled_out: int = 0
    dropped: int = 0
    """There was no room: whoever reads is slower than they come."""
    failed: int = 0
    """They could not be redacted, and so are not told."""


class Told(msgspec.Struct):
    """A line that is no entry."""

    capture: Counts
    refused: str = ""
    ended: bool = False
    """The shipper ends, or takes other rules of redaction: there will be no more from it."""


class Tap:
    """One reader's."""

    def __init__(self, question: Question) -> None:
        self.counts = Counts()
        self.filled = asyncio.Event()
        self._routes = frozenset(question.routes)
        self._sample = question.sample
        self._waiting: deque[Exchange] = deque()
        self._bytes = 0

    def offer(self, exchange: Exchange) -> None:
        """Takes it, or counts why not."""
        if exchange.kind != "pair" or (self._routes and exchange.route not in self._routes):
            return
        counts = self.counts
        counts.seen += 1
        if self._sample < 1 and random.random() >= self._sample:  # noqa: S311 - a sample
            counts.sampled_out += 1
        elif len(self._waiting) >= MAX_COUNT or self._bytes + weight(exchange) > MAX_BYTES:
            counts.dropped += 1
        else:
            self._waiting.append(exchange)
            self._bytes += weight(exchange)
            self.filled.set()

    def take(self) -> list[Exchange]:
        """The oldest few."""
        taken = [self._waiting.popleft() for _ in range(min(TURN, len(self._waiting)))]
        self._bytes -= sum(map(weight, taken))
        if not self._waiting:
            self.filled.clear()
        return taken


class Taps:
    """All of one shipper. It belongs to the reading loop."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._taps: list[Tap] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ending = asyncio.Event()

    def offer(self, exchange: Exchange) -> None:
        """To whoever captures. Most of the time that is nobody."""
        for tap in self._taps:
            tap.offer(exchange)

    async def listen(self, sock: socket) -> None:
        """Takes readers from now on."""
        self._server = await asyncio.start_unix_server(self._begin, sock=sock, limit=MAX_QUESTION)

    async def close(self) -> None:
        """Tells every reader that this is all, and waits for that a moment."""
        if self._server is not None:
            self._server.close()
        self._ending.set()
        for tap in self._taps:
            tap.filled.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="tap")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                question = msgspec.json.decode(await reader.readline(), type=Question)
            if len(self._taps) >= MOST:
                writer.write(_line(Told(Counts(), refused=f"{MOST} captures are under way already")))
            else:
                await self._feed(Tap(question), reader, writer)
        except msgspec.MsgspecError:
            writer.write(_line(Told(Counts(), refused="the shipper does not understand the question: is it of another version?")))
        except (OSError, ValueError):  # TimeoutError among them; and a line without end
            pass  # the reader is gone, or says nothing: there is nobody to be told
        finally:
            writer.close()

    async def _feed(self, tap: Tap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the reader goes, or the shipper ends."""
        gone = asyncio.get_running_loop().create_task(reader.read(1), name="tap's reader")
        self._taps.append(tap)
        number = 0
        try:
            while not gone.done():
                taken = tap.take()
                if taken:
                    writer.write(await asyncio.to_thread(self._lines, tap, taken, number))
                    number += len(taken)
                writer.write(_line(Told(tap.counts, ended=self._ending.is_set() and not taken)))
                async with asyncio.timeout(SEND_SECONDS):
                    await writer.drain()
                if self._ending.is_set() and not taken:
                    return
                if not taken:
                    try:
                        async with asyncio.timeout(TELL_SECONDS):
                            await tap.filled.wait()
                    except TimeoutError:
                        pass  # nothing came: the counts are told again, by which the reader knows that this lives
        finally:
            self._taps.remove(tap)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    def _lines(self, tap: Tap, taken: list[Exchange], number: int) -> bytes:
        """In a thread: a body may be large."""
        lines = []
        for exchange in taken:
            number += 1
            try:
                lines.append(json_lines.line(entry(exchange, self._redactor, number)))
            except Exception:  # what cannot be redacted is not told, and the next one is; counted, and told here
                tap.counts.failed += 1
                _log.exception(
                    "request %s on route %s could not be captured",
                    exchange.request_id,
                    exchange.route,
                    extra=about(exchange.request_id, exchange.route),
                )
        return b"".join(lines)


def _line(told: Told) -> bytes:
    return msgspec.json.encode(told) + b"\n"
