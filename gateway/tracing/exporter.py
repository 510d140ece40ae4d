"""The process that makes spans of what workers hand over, and sends them: `python -m gateway.tracing.exporter --config FILE --socket PATH`.

It reads as fast as workers write, whatever becomes of sending: what there is no room for is dropped here, and counted. It is niced, and it
ends when its parent does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from setproctitle import setproctitle

from gateway.config import ConfigError, load, parse, read
from gateway.settings.tracing import Tracing
from gateway.tracing.records import Frames, Record, spans
from gateway.tracing.spans import spans_of
from gateway.tracing.status import Figures, write
from shadow import logs
from shadow.exchange import FrameError

_log = logging.getLogger("banyan.tracing")

NICE: Final = 10
BATCH: Final = 512
"""Records that are sent at once."""
GATHER_SECONDS: Final = 0.25
"""How long the first of a batch waits for others."""
END_SECONDS: Final = 1.2
"""For what is left, at the end: the gateway waits for twice as long (gateway/tracing/running.py)."""
REST_SECONDS: Final = 0.5
"""And before that for what workers have written last."""
QUIET_SECONDS: Final = 0.15
"""A connection on which nothing came for this long while ending has nothing more to say."""


class Complaint(logging.Filter):
    """What OpenTelemetry says of a batch, which is said again for each: kept, for it to be said once."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.last = record.getMessage()[:300]
        return False


class RedirectError(Exception):
    """Spans were not taken, but sent elsewhere."""


def _refuse_redirects(answer: requests.Response, *_: object, **__: object) -> None:
    """OpenTelemetry follows none, and takes one for success: a login page before the endpoint would swallow every span unseen."""
    if 300 <= answer.status_code < 400:
        answer.close()
        raise RedirectError(f"it redirects ({answer.status_code}), and is not followed: write the address that takes spans")


class Sender:
    """The bounded queue, and the thread that empties it."""

    def __init__(self, settings: Tracing) -> None:
        # What the environment says of the process (OTEL_RESOURCE_ATTRIBUTES) is taken by Resource, what it says of TLS by the exporter.
        self._resource = Resource.create({SERVICE_NAME: settings.service})
        headers = {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}
        session = requests.Session()
        session.hooks["response"].append(_refuse_redirects)
        self._exporter = OTLPSpanExporter(endpoint=settings.endpoint, headers=headers, timeout=settings.timeout, session=session)
        self._complaint = Complaint()
        for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.exporter.otlp.common.http"):
            logging.getLogger(name).addFilter(self._complaint)
        self._endpoint = settings.endpoint
        self._most = settings.queue
        self._queue: deque[Record] = deque()
        self._waiting = 0
        self._some = threading.Event()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._failing = False
        self.figures = Figures(dropped={})
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, record: Record) -> None:
        """Takes it, or counts it as dropped."""
        if len(self._queue) >= self._most:
            self._drop("exporter_full", spans(record))
            return
        with self._lock:
            self._waiting += spans(record)
        self._queue.append(record)
        self._some.set()

    def told(self) -> Figures:
        """The figures as they are now."""
        with self._lock:
            return Figures(self.figures.exported, dict(self.figures.dropped), self._waiting)

    def stop(self, seconds: float) -> bool:
        """Sends what is left, for at most `seconds`; what cannot be is dropped. Whether nothing was."""
        self._ending.set()
        self._some.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call] # typed in part; it ends the wait before the next try
            self._thread.join(0.2)
        with self._lock:
            left, self._waiting = self._waiting, 0
        if left:
            self._drop("exporter_stopped", left)
        return not left

    def _drop(self, reason: str, number: int) -> None:
        with self._lock:
            self.figures.dropped[reason] = self.figures.dropped.get(reason, 0) + number

    def _run(self) -> None:
        while True:
            self._some.wait()
            if not self._ending.is_set() and len(self._queue) < BATCH:
                self._ending.wait(GATHER_SECONDS)
            self._some.clear()
            while self._queue:
                self._send([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])
            if self._ending.is_set():
                return

    def _send(self, records: list[Record]) -> None:
        made: list[ReadableSpan] = []
        for record in records:
            try:
                made += spans_of(record, self._resource)
            except (ValueError, TypeError):  # of a worker of another version; it costs that one
                _log.exception("a record cannot be made a span of")
                self._drop("unreadable", spans(record))
                with self._lock:
                    self._waiting -= spans(record)
        taken = bool(made) and self._exporter.export(made) is SpanExportResult.SUCCESS
        with self._lock:
            self._waiting = max(0, self._waiting - len(made))
            if taken:
                self.figures.exported += len(made)
        if made and not taken:
            self._drop("not_taken", len(made))
        if made and taken == self._failing:
            self._failing = not taken
            if taken:
                _log.warning("%s takes spans again", self._endpoint)
            else:
                _log.error("spans cannot be sent to %s (%s): they are dropped until they can", self._endpoint, self._complaint.last)


class Connection(asyncio.Protocol):
    """One worker's."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._frames = Frames()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._receiver.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._receiver.heard = time.monotonic()
        try:
            for record in self._frames.feed(data):
                self._receiver.sender.offer(record)
        except FrameError as error:
            _log.error("a worker's connection is out of step and was dropped: %s", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._receiver.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Receiver:
    """The listening socket, in a folder that is the gateway's own."""

    def __init__(self, sender: Sender, path: Path, parent: int) -> None:
        self.sender = sender
        self.connections: set[Connection] = set()
        self.heard = 0.0
        """Monotonic time at which data last came."""
        self._path = path
        self._parent = parent

    async def run(self) -> bool:
        """Until SIGTERM, SIGINT or the parent's end. Whether all that was received was sent, or counted before."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._path.unlink(missing_ok=True)  # one that was killed has left it
        before = os.umask(0o177)
        try:
            server = await loop.create_unix_server(lambda: Connection(self), self._path)
        finally:
            os.umask(before)
        self.sender.start()
        while not stop.is_set() and os.getppid() == self._parent:
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except TimeoutError:
                pass
            await asyncio.to_thread(write, self._path, self.sender.told())
        began = time.monotonic()
        server.close()
        self.heard = began
        while self.connections and time.monotonic() < min(began + REST_SECONDS, self.heard + QUIET_SECONDS):  # noqa: ASYNC110 - silence is no event
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.close()
        whole = await asyncio.to_thread(self.sender.stop, END_SECONDS)
        await asyncio.to_thread(write, self._path, self.sender.told())
        return whole


def main(arguments: list[str] | None = None) -> int:
    """The command. 0: ended on request with everything sent; 1: something was lost at the end; 2: wrong use."""
    parser = argparse.ArgumentParser(prog="python -m gateway.tracing.exporter", description="Sends what edge workers traced, by OTLP/HTTP.")
    parser.add_argument("--config", type=Path, default=Path("banyan.toml"), help="banyan.toml")
    parser.add_argument("--text", type=Path, help="a file that holds what --config held when it was validated; --config may have changed")
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    options = parser.parse_args(arguments)
    setproctitle("banyan: exporter of spans")
    logs.begin("exporter", logging.INFO)
    os.nice(NICE)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # who sends it to everything that is called banyan means the supervisor
    try:
        config = parse(options.config, read(options.text)) if options.text else load(options.config)
    except ConfigError as error:
        print(f"exporter: {error}", file=sys.stderr)
        return 2
    if not config.tracing.endpoint:
        print(f"exporter: {options.config}: tracing.endpoint is not set: there is nobody to send spans to", file=sys.stderr)
        return 2
    try:
        whole = asyncio.run(Receiver(Sender(config.tracing), options.socket, options.parent).run())
    except OSError as error:
        print(f"exporter: cannot listen on {options.socket}: {error.strerror}", file=sys.stderr)
        return 2
    if not whole:
        _log.error("ended before every span could be sent")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
