"""The process beside the edge workers that takes their observations off their hands: `python -m shadow.shipper --config FILE --socket
PATH`.

It reads as fast as workers write, whatever comparing and storing do meanwhile, so that it never pushes back on the edge: what there is no
room for is dropped here, and counted. It is niced, and it ends when its parent does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

from gateway.config import Config, ConfigError, load, parse, read
from shadow import counters, logs
from shadow.exchange import Exchange, FrameError, Frames
from shadow.sinks import Sink, SinkError
from shadow.sinks.local import local, redaction
from shadow.sinks.status import status_path, tap_path, write_status
from shadow.taps import Taps

_log = logging.getLogger("banyan.shadow")

NICE = 10
DRAIN_SECONDS = 5.0
QUIET_SECONDS = 0.15
"""A connection on which nothing came for this long while draining has nothing more to say."""


class StartError(Exception):
    """The shipper can't be started: what, where and what to do."""


class Connection(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, shipper: Shipper) -> None:
        self._shipper = shipper
        self._frames = Frames()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._shipper.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._shipper.heard = time.monotonic()
        try:
            for record in self._frames.feed(data):
                self._shipper.sink.offer(record)
                if isinstance(record, Exchange):
                    self._shipper.taps.offer(record)
        except FrameError as error:
            _log.error("a worker's connection is out of step and was dropped: %s", error)
            self._shipper.sink.count("", time.time(), counters.BAD_FRAMES)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        # A worker that goes away in the middle of a record has lost that record; its own count of captured exchanges shows it.
        self._shipper.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Shipper:
    """The listening socket and the sink behind it."""

    def __init__(self, sink: Sink, taps: Taps, path: Path, parent: int) -> None:
        self.sink = sink
        self.taps = taps
        self._parent = parent
        self.connections: set[Connection] = set()
        self.heard = 0.0
        """Monotonic time at which data last came."""
        self._path = path

    async def run(self) -> bool:
        """Until SIGTERM, SIGINT or the parent's end. Whether everything that had been received was written."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        sock = listen(self._path)
        inode = self._path.stat().st_ino
        server = await loop.create_unix_server(lambda: Connection(self), sock=sock)
        try:
            await self.taps.listen(listen(tap_path(self._path)))
        except StartError as error:
            _log.error("traffic cannot be captured: %s", error)  # comparing does not need it
        self.sink.start()
        while not stop.is_set() and os.getppid() == self._parent:
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except TimeoutError:
                pass
            await asyncio.to_thread(write_status, self._path, self.sink.status())
        began = time.monotonic()
        server.close()
        if self._path.exists() and self._path.stat().st_ino == inode:  # not a successor's
            self._path.unlink()
            status_path(self._path).unlink(missing_ok=True)
            tap_path(self._path).unlink(missing_ok=True)
        await self._read_the_rest(began + 1.0)
        await self.taps.close()
        return await asyncio.to_thread(self.sink.stop, began + DRAIN_SECONDS - time.monotonic())

    async def _read_the_rest(self, deadline: float) -> None:
        """What workers had written before they were told to stop is still in the sockets' buffers."""
        self.heard = time.monotonic()
        while self.connections and time.monotonic() < min(deadline, self.heard + QUIET_SECONDS):  # noqa: ASYNC110 - silence is no event
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.close()


def listen(path: Path) -> socket.socket:
    """A listening unix socket of mode 0600, in the place of one that a dead process left.

    Raises:
        StartError: the path is too long, is something else, or is in use.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartError(f"{path} is there and is not a socket; give another with --socket")
    except FileNotFoundError:
        pass
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(os.fspath(path))
            except OSError:
                path.unlink(missing_ok=True)
            else:
                raise StartError(f"another shipper listens on {path}; stop it, or give another path with --socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def make_sink(config: Config) -> Sink:
    """The sink that `config` wants.

    Raises:
        SinkError: something in the configuration can't be used.
    """
    if config.shadow.sink == "jetstream":
        from shadow.sinks.remote import jetstream  # NATS is imported where it is used

        return jetstream(config)
    return local(config)


def main(arguments: list[str] | None = None) -> int:
    """The command. 0: ended on request with everything written; 1: something was lost at the end; 2: wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m shadow.shipper",
        description="Takes exchanges from edge workers; compares and stores them, or sends them to shadow workers.",
    )
    parser.add_argument("--config", type=Path, default=Path("banyan.toml"), help="banyan.toml")
    parser.add_argument("--text", type=Path, help="a file that holds what --config held when it was validated; --config may have changed")
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="the process to end with, where it may die before this one has started"
    )
    options = parser.parse_args(arguments)
    logs.begin("shipper", logging.INFO)
    os.nice(NICE)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # who sends it to everything that is called banyan means the supervisor
    try:
        config = parse(options.config, read(options.text)) if options.text else load(options.config)
        shipper = Shipper(make_sink(config), Taps(redaction(config)[1]), options.socket, options.parent)
        whole = asyncio.run(shipper.run())
    except (ConfigError, StartError, SinkError) as error:
        print(f"shipper: {error}", file=sys.stderr)
        return 2
    if not whole:
        _log.error("stopped before everything could be written")
    return 0 if whole else 1
