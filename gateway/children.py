"""Child processes of the supervisor: started, watched, started again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.control import Applied, Channel, Configure, Configured, CredentialEnded, Missing, Ready, Report, ToSupervisor, ToWorker
from gateway.telemetry import TurnstileStats, UpstreamStats

_log = logging.getLogger("banyan.supervisor")

BACKOFF_SECONDS = (0.2, 10.0)
CANNOT_START = 126
"""The status of a child that could not be started, as shells have it."""
HEALTHY_SECONDS = 30.0
"""A child that lived this long did not die of its start: the wait before its next start is short again."""

ALLOCATOR = {"PYTHONMALLOC": "mimalloc"} if sysconfig.get_config_var("WITH_MIMALLOC") and "PYTHONMALLOC" not in os.environ else {}
"""For workers: CPython's other allocator, where it was built in (--with-mimalloc, the default since 3.13). As fast as answers come, a
worker with it takes 0.95 of the CPU that one with pymalloc takes for a pass-through; in the shadow, and at 2,000 requests/s, no difference
was seen (both in turns under the loads of `python -m bench`, 9 to 15 rounds). PYTHONMALLOC chooses another."""

Ended = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Extra:
    """What a worker's module is started with besides: its own arguments, and the descriptors that they name."""

    arguments: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


Said = Ready | Configured | Applied | Report | CredentialEnded | Missing


class Backoff:
    """How long to wait before the next start."""

    def __init__(self) -> None:
        self._wait = BACKOFF_SECONDS[0]
        self._began = 0.0

    def began(self) -> None:
        self._began = time.monotonic()

    def wait(self) -> float:
        if time.monotonic() - self._began > HEALTHY_SECONDS:
            self._wait = BACKOFF_SECONDS[0]
        wait, self._wait = self._wait, min(self._wait * 2, BACKOFF_SECONDS[1])
        return wait


class Child:
    """A process without a channel: the shipper."""

    def __init__(self, name: str, command: Sequence[str], ended: Ended) -> None:
        self._name = name
        self._command = command
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keeps it running until `stop`."""
        backoff = Backoff()
        while not self._stopping:
            backoff.began()
            try:
                # A session of its own: Ctrl-C in the terminal is the supervisor's to pass on.
                self._process = await asyncio.create_subprocess_exec(*self._command, start_new_session=True)
            except OSError as error:  # no open files or no memory left: it may be otherwise soon
                _log.error("the %s cannot be started: %s", self._name, error.strerror)
                self._ended(self._name, CANNOT_START)
                await asyncio.sleep(backoff.wait())
                continue
            if self._stopping:  # while it was being started
                self._process.terminate()
            status = await self._process.wait()
            if self._stopping:
                return
            self._ended(self._name, status)
            await asyncio.sleep(backoff.wait())

    async def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL after `seconds`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            _log.warning("%s did not end within %g s", self._name, seconds)
            process.kill()
            await process.wait()


class WorkerProcess:
    """One edge worker: its process, its channel, and the sockets that every incarnation inherits."""

    def __init__(
        self,
        index: int,
        engine: str,
        sockets: Sequence[socket.socket],
        limits: int,
        configure: Configure,
        told: Callable[[], Sequence[ToWorker]],
        heard: Callable[[WorkerProcess, Said], None],
        extra: Extra = Extra(),
    ) -> None:
        self.index = index
        self.ready = asyncio.Event()
        self.away_at = time.monotonic()
        """Since when it is not ready, if it is not."""
        self.revision = ""
        """Of the flags that it decides by."""
        self.overrides = -1
        """The number of the overrides that it decides by."""
        self.gauges = (0, 0)
        """Connections and requests in flight, as last reported."""
        self.upstreams: dict[str, UpstreamStats] = {}
        """How it finds the upstreams, as last reported."""
        self.turnstiles: dict[str, TurnstileStats] = {}
        """How the upstreams' limits are, likewise."""
        self.ledger = False
        """It can use the ledger, as last reported."""
        self.owed = 0
        """Outcomes of payments that it could not write down yet, likewise."""
        self.configured = asyncio.Event()
        """It has taken, or refused, the newest configuration."""
        self.number = -1
        """Of the configuration that its requests begin under."""
        self.refusal = ""
        """Why it does not take the newest."""
        self.stopping = False
        self._engine = engine
        self._sockets = sockets
        self._limits = limits
        self._configure = configure
        self._told = told
        """What a new process is told after its configuration: certificates and flags as they are now."""
        self._heard = heard
        self._extra = extra
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel[ToSupervisor] | None = None
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self, ended: Ended) -> None:
        """Keeps a process running until `stopping`."""
        backoff = Backoff()
        try:
            while not self.stopping:
                backoff.began()
                try:
                    status = await self._once()
                except OSError as error:  # no open files or no memory left: it may be otherwise soon
                    _log.error("worker %d cannot be started: %s", self.index, error.strerror)
                    status = CANNOT_START
                self.away_at = time.monotonic() if self.ready.is_set() else self.away_at
                self.ready.clear()
                self.number = self.overrides = -1
                self.gauges = (0, 0)
                self.ledger = False
                self.owed = 0
                self.turnstiles = {}
                if self.stopping:
                    break
                ended(f"worker {self.index}", status)
                await asyncio.sleep(backoff.wait())
        finally:
            self._gone.set()

    def send(self, message: ToWorker) -> None:
        """To the running process, if there is one: the next is told everything anew."""
        if self._channel is not None:
            self._channel.send(message)

    def reconfigure(self, configure: Configure) -> None:
        """To the running process, and to every one after it."""
        self._configure = configure
        self.configured.clear()
        self.refusal = ""
        self.send(configure)

    async def ended(self, seconds: float) -> None:
        """Waits for the last process to end; kills it after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            _log.warning("worker %d did not end within %g s", self.index, seconds)
            self.kill()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.stopping = True
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    async def _once(self) -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        listen = ",".join(str(sock.fileno()) for sock in self._sockets)
        try:
            process = self._process = await self._start(theirs, listen)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        channel: Channel[ToSupervisor] = Channel(reader, writer, ToSupervisor)
        self._channel = channel
        channel.send(self._configure)
        for known in self._told():
            channel.send(known)
        while (message := await channel.receive()) is not None:
            if isinstance(message, Ready | Configured) and message.number == self._configure.number:
                if isinstance(message, Configured) and message.error:
                    self.refusal = message.error
                else:
                    self.number = message.number
                self.configured.set()
            self._heard(self, message)
            if isinstance(message, Ready):
                self.ready.set()
        self._channel = None
        channel.close()
        return await process.wait()

    async def _start(self, control: socket.socket, listen: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._engine,
            "--control",
            str(control.fileno()),
            "--listen",
            listen,
            "--limits",
            str(self._limits),
            *self._extra.arguments,
            pass_fds=[control.fileno(), self._limits, *(sock.fileno() for sock in self._sockets), *self._extra.descriptors],
            start_new_session=True,
            env=os.environ | ALLOCATOR,
        )
