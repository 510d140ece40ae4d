"""The parent of everything on one machine: sockets, workers, the shipper, the one flag source, and the admin port.

Invariants:
- The listening sockets belong to this process. A worker that dies leaves its queue of new connections to its successor.
- There is one flag source (gateway/switchboard.py), and every worker decides by the snapshot that it published last.
- A child that ends unasked is started again, after a wait that doubles while it keeps ending.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway import limiting, tls
from gateway.children import Child, Extra, Said, WorkerProcess
from gateway.config import Config
from gateway.control import Applied, Certificates, Configure, CredentialEnded, Drain, Missing, Ready, Refuse, Report, ToWorker
from gateway.endpoints.live import Live
from gateway.guard.clerk import Clerk
from gateway.guard.guard import Guard
from gateway.jwks import KeyServer
from gateway.listening import Sockets, why_not
from gateway.reload import Reloads, for_the_shipper
from gateway.switchboard import Switchboard
from gateway.telemetry import Stats, merge
from gateway.tracing.running import END_SECONDS, Exporting
from gateway.usable import unprepared, unusable
from shadow.sinks import Status
from shadow.sinks.status import read_status, tap_path

_log = logging.getLogger("banyan.supervisor")

START_TRIES = 3
"""A worker that ends this often before the gateway was ready for the first time ends the start."""
ACCEPT_AFTER_TERM_SECONDS = 5.0
"""After SIGTERM readyz says 503 while connections are still accepted, so that load balancers can look away first (edge.md 64)."""
CONFIRM_SECONDS = 10.0
"""How long the workers have to take a reloaded configuration, before it is said that they did not."""
ENDING_SECONDS = 3.0
"""Of drain_timeout, kept for what comes after the last answer: telling who still waits (2 s, if they do not hang up), the shipper's last
records, the processes' ends. A quarter, where that is less."""
HANDSHAKES_SECONDS = 0.3
"""Connections that were begun before the sockets were shut have this long to come in: a round trip around the world."""


class StartError(Exception):
    """The gateway could not be started. The message says why and what to do."""


class Supervisor:
    """See the module's docstring. `engine` is the module that a worker runs, `extra` what it is started with besides; `workers`: how many
    there are, whatever the configuration says."""

    def __init__(
        self,
        config: Config,
        text: str,
        *,
        engine: str = "gateway.worker",
        announce: Callable[[str], None] = print,
        workers: int = 0,
        extra: Extra | None = None,
    ) -> None:
        self.config = config
        self.workers: list[WorkerProcess] = []
        self.totals = Stats()
        self.live = Live([route.match for route in config.routes], time.time())
        """Which endpoints are asked for."""
        self.started_at = time.time()
        self.ready = False
        self.draining = False
        self.left_at: float | None = None
        """Monotonic time at which this gateway was told to be left by its clients (POST /drain)."""
        self.number = 0
        """Of the configuration that is in force."""
        self.restarts: dict[str, int] = {}
        self.in_doubt: dict[str, int] = {}
        """Route → payments in doubt, as a worker read last."""
        self._text = text
        self._engine = engine
        self._announce = announce
        self._count = workers or config.gateway.processes
        self._extra = extra or Extra()
        self._tasks: set[asyncio.Task[object]] = set()
        self._stop = asyncio.Event()
        self._runtime = Path()
        self._limits = -1
        """The memory in which workers count for rate limits."""
        self._failed = ""
        """Why the start has come to an end."""
        self._reloading: asyncio.Task[object] | None = None
        self._shipper: Child | None = None
        self._shippers = 0
        """Started so far: each listens on an address of its own."""
        self.reloads = Reloads(text, lambda: self.config, self._unusable, self._adopt)
        self.certificates = tls.Certificates(config)
        self.flags = Switchboard(config, self.workers, self._keep)
        self.keys = KeyServer(config, self.workers, self._keep)
        self.exporting = Exporting(self._exporter_command, self.restarts, self._keep)
        self.guard = Guard(config, self.flags, self._keep, Clerk(self._clerk_command, self._clerk_ended))

    def listen(self) -> None:
        """Takes the addresses, before anything is started: one listening socket for each worker and address.

        Raises:
            BindError: one cannot be had.
            StartError: the access log cannot be written, the comparisons cannot be kept, or a certificate cannot be used.
        """
        config = self.config
        if problems := self._unusable(config) or unprepared(config):
            raise StartError("\n".join(f"{config.path}: {problem}" for problem in problems))
        try:
            warnings = [*self.certificates.read(), *tls.check_upstreams(config)]
        except tls.TlsError as error:  # it was good a moment ago
            raise StartError(f"{config.path}: {error}") from error
        for warning in warnings:
            _log.warning("%s", warning)
        gateway = config.gateway
        self.sockets = Sockets([address for address, _ in gateway.addresses], gateway.admin, workers=self._count)

    def _unusable(self, config: Config) -> list[str]:
        return unusable(config, self._engine)

    async def run(self, admin: Callable[[Supervisor], Coroutine[object, object, None]]) -> int:
        """Until SIGTERM or SIGINT. Returns the exit status.

        Raises:
            FlagFileError: the flag file cannot be read at start.
            StartError: workers or the shipper cannot be started as they are configured.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate, number)
        loop.add_signal_handler(signal.SIGHUP, self.reloads.ask)  # before the start is over too: it is done afterwards
        flags_task = self._keep(self.flags.run(), "flags")
        try:
            self._limits = limiting.make()
        except OSError as error:
            raise StartError(f"no memory can be shared with the workers: {error.strerror}") from error
        self._runtime = Path(tempfile.mkdtemp(prefix="banyan-"))
        try:
            self.keys.begin()
            await self.flags.wait_for_first(flags_task, self._stop)
            await self.keys.first(self._stop)
            self._start_shipper()
            self.exporting.begin(self._runtime, self.config)
            for index, sockets in enumerate(self.sockets.workers):
                worker = WorkerProcess(index, self._engine, sockets, self._limits, self._configure(), self._told, self._heard, self._extra)
                self.workers.append(worker)
                self._keep(worker.run(self._restarted), f"worker {index}")
            self._keep(admin(self), "admin")
            self._keep(self.guard.run(), "guard")
            if self.config.gateway.tls:
                self._keep(self._watch_certificates(), "certificates")
            await self._all_ready()
            self.ready = not self._stop.is_set()
            if self.ready:
                await self._greet()
                self._reloading = self._keep(self.reloads.run(), "reloads")
            await self._stop.wait()
            if self._failed:
                raise StartError(self._failed)
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.flags.source.close()
            for worker in self.workers:
                worker.kill()
            ending = [self.exporting.stop()]
            if self._shipper is not None:
                ending.append(self._shipper.stop(6.0))
            await asyncio.gather(*ending)
            for path in self._runtime.iterdir():
                path.unlink(missing_ok=True)
            self._runtime.rmdir()
            os.close(self._limits)
            self.sockets.close()
        return 0

    # Certificates

    def _certified(self) -> Certificates:
        return Certificates([(pair.certificate, pair.key) for pair in self.certificates.pairs])

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(tls.LOOK_SECONDS)
            changed, warnings, errors = await asyncio.to_thread(self.certificates.look)
            for said in warnings + errors:
                _log.warning("%s", said)
            if errors:
                self.totals.event("certificate-broken", len(errors))
            if changed:
                self.totals.event("certificate-reloaded")
                for worker in self.workers:
                    worker.send(self._certified())

    # Flags

    def _told(self) -> list[ToWorker]:
        """What a worker has to know before it begins, which it does with the flags."""
        told: list[ToWorker] = []
        if self.config.gateway.tls:
            told.append(self._certified())
        if self.left_at is not None or self.draining:
            told.append(Refuse())
        return [*told, *self.keys.told(), *self.flags.told()]

    # Children

    def _start_shipper(self) -> None:
        self._shippers += 1
        self._write_down()
        self._shipper = Child("shipper", self._shipper_command(), self._restarted)
        self._keep(self._shipper.run(), f"shipper {self._shippers}")

    def _write_down(self) -> None:
        """What is in force, for a shipper to start by: the file itself may have become another, or a bad one, since."""
        path = self._runtime / "banyan.toml"
        new = path.with_suffix(".new")
        new.write_text(self._text, encoding="utf-8")
        new.replace(path)

    def shipper(self) -> Status | None:
        """What the shipper says of itself; None: nothing yet."""
        return read_status(Path(self._shipper_socket()))

    @property
    def capturing(self) -> str:
        """The path of the socket at which the shipper tells what it is given."""
        return str(tap_path(Path(self._shipper_socket())))

    def _shipper_socket(self) -> str:
        return str(self._runtime / f"shipper-{self._shippers}")

    def _clerk_command(self) -> list[str]:
        return [*self._child("shadow.clerk"), "--gateway", self.flags.run_id]

    def _child(self, module: str) -> list[str]:
        return [sys.executable, "-m", module, "--config", str(self.config.path), "--text", str(self._runtime / "banyan.toml")]

    def _shipper_command(self) -> list[str]:
        return [
            *self._child("shadow.shipper"),
            "--socket",
            self._shipper_socket(),
            "--parent",
            str(os.getpid()),
        ]

    def _exporter_command(self, socket: str) -> list[str]:
        return [*self._child("gateway.tracing.exporter"), "--socket", socket, "--parent", str(os.getpid())]

    def _clerk_ended(self, name: str, status: int) -> None:
        """Unlike another child's, its end is never the gateway's: the guard does without it."""
        if not self.draining:
            self.restarts[name] = self.restarts.get(name, 0) + 1
            _log.error("the guard's %s ended with status %d; starting it again", name, status)

    def _restarted(self, name: str, status: int) -> None:
        if self.draining:
            return
        kind = name.partition(" ")[0]
        count = self.restarts[kind] = self.restarts.get(kind, 0) + 1
        # What fails before anything was served fails for a reason that another try does not mend; afterwards, to go on trying is right.
        if not self.ready and (status == 2 or count >= START_TRIES * self._count):
            self._failed = f"the {name} could not be started (status {status}): it has said why above"
            self._stop.set()
            return
        _log.error("%s ended with status %d; starting it again", name, status)

    def _heard(self, worker: WorkerProcess, message: Said) -> None:
        if isinstance(message, CredentialEnded):
            for other in self.workers:
                if other is not worker:
                    other.send(message)
        if isinstance(message, Missing):
            self.keys.missing(worker, message.origin)
        if isinstance(message, Report):
            worker.gauges = (message.stats.connections, message.stats.in_flight)
            worker.upstreams = message.stats.upstreams
            worker.turnstiles = message.stats.turnstiles
            worker.ledger = message.stats.in_doubt is not None
            worker.owed = message.stats.owed
            if message.stats.in_doubt is not None:
                self.in_doubt = message.stats.in_doubt
            merge(self.totals, message.stats)
            self.live.hear(message.stats.seen, message.stats.seen_of, time.time())
            self.guard.heard(message.stats)
        if isinstance(message, Report | Ready | Applied):
            self.flags.heard(worker, message)

    async def _all_ready(self) -> None:
        every = asyncio.create_task(self._each_ready(), name="workers ready")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks: set[asyncio.Task[Any]] = {every, stop}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _each_ready(self) -> None:
        for worker in self.workers:
            await worker.ready.wait()

    async def _greet(self) -> None:
        count = f"{self._count} worker{'s' if self._count > 1 else ''}"
        secure = [secure for _, secure in self.config.gateway.addresses]
        served = ", ".join(f"https://{address}" if tls else address for address, tls in zip(self.sockets.addresses, secure, strict=True))
        self._announce(f"banyan: serving on {served} with {count}; admin on {self.sockets.admin_address}")
        legacy = self.config.upstreams["legacy"]
        context = tls.client_context(legacy, "legacy", self.config)
        name = (legacy.tls.server_name or legacy.places[0][0]) if context is not None else None
        try:
            async with asyncio.timeout(legacy.connect_timeout):
                host, port, path = legacy.places[0]
                opening = (
                    asyncio.open_unix_connection(path) if path else asyncio.open_connection(host, port, ssl=context, server_hostname=name)
                )
                _, writer = await opening
            writer.close()
        except (OSError, TimeoutError) as error:
            why = tls.why(error) if isinstance(error, ssl.SSLError) else why_not(error)
            if isinstance(error, TimeoutError):
                why = "it did not answer in time"
            _log.warning(
                "legacy at %s cannot be reached (%s): its requests are answered 502 until it is up; check [upstreams] legacy",
                (legacy.urls or [legacy.url])[0],
                why,
            )

    # Reload

    def _configure(self) -> Configure:
        return Configure(str(self.config.path), self._text, self._shipper_socket(), self.number, self.config.held, self.exporting.socket)

    async def _adopt(self, config: Config, text: str) -> list[str]:
        """Puts a validated configuration in force. What went wrong, worker by worker."""
        if self.draining:
            return ["the gateway is draining: it serves nothing new"]
        certificates = tls.Certificates(config)
        try:
            warnings = await asyncio.to_thread(certificates.read)
        except tls.TlsError as error:
            return [str(error)]  # it was good a moment ago
        for warning in warnings:
            _log.warning("%s", warning)
        await self.keys.take(config)
        same_rules = for_the_shipper(self.config) == for_the_shipper(config)
        self.config, self._text, self.certificates = config, text, certificates
        self.number += 1
        self.flags.take_routes(config)
        self.guard.take_routes(config)
        self.live.templates.pin(route.match for route in config.routes)
        shipper = self._shipper
        if same_rules:
            self._write_down()
        else:
            # On an address of its own: what was captured under the old rules goes to the old shipper, what is captured under the new ones
            # to the new. It ends when every worker has handed over what it had for it.
            self._start_shipper()
        exporter = self.exporting.adopt(config)
        for worker in self.workers:
            if config.gateway.tls:
                worker.send(self._certified())
            worker.reconfigure(self._configure())
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                for worker in self.workers:
                    await worker.configured.wait()
        except TimeoutError:
            pass  # said below, worker by worker
        if not same_rules and shipper is not None:
            self._keep(shipper.stop(6.0), "old shipper")
        if exporter is not None:
            self._keep(exporter.stop(END_SECONDS), "old exporter")
        return [
            f"worker {worker.index}: {worker.refusal or f'it did not say within {CONFIRM_SECONDS:g} s that it serves by it'}"
            for worker in self.workers
            if worker.number != self.number
        ]

    # Stopping

    def leave(self) -> None:
        """POST /drain: clients are moved elsewhere, and this process stays until it is told to end."""
        if self.left_at is None:
            self.left_at = time.monotonic()
            for worker in self.workers:
                worker.send(Refuse())

    def _terminate(self, number: int) -> None:
        if self._stop.is_set():
            return
        # Ctrl-C is a person at a terminal without a load balancer: nobody has to look away first.
        self._patience = ACCEPT_AFTER_TERM_SECONDS if number == signal.SIGTERM and self.ready else 0.0
        if self.left_at is not None:
            self._patience = max(0.0, self._patience - (time.monotonic() - self.left_at))
        self.draining = True
        self.ready = False
        if self._reloading is not None:
            self._reloading.cancel()  # it would serve nothing any more
        self._stop.set()

    async def _drain(self) -> None:
        limit = self.config.gateway.limits.drain_timeout
        began = time.monotonic()
        for worker in self.workers:
            worker.send(Refuse())
        await asyncio.sleep(min(self._patience, limit / 2))
        try:
            self.sockets.shut()
        except OSError as error:
            _log.warning("connections that come while the sockets are being closed may be reset: %s", error.strerror)
        if self._patience:
            await asyncio.sleep(min(HANDSHAKES_SECONDS, limit / 10))
        left = max(0.5, limit - min(ENDING_SECONDS, limit / 4) - (time.monotonic() - began))
        for worker in self.workers:
            worker.stopping = True
            worker.send(Drain(left))
        # With the workers' own, these were the last: from now on connections are refused, not left waiting for somebody to take them.
        self.sockets.stop()
        await asyncio.gather(*(worker.ended(left + 3.0) for worker in self.workers))

    def _keep(self, work: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._stop.is_set() and self.flags.first.is_set():
            _log.error("the task %r failed", task.get_name(), exc_info=task.exception())
