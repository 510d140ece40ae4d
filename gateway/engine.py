"""A worker process, whichever engine it runs: a channel to its supervisor, the flags, the shipper, and a report each second.

Started as `python -m MODULE --control FD --listen FD,FD --limits FD`. It has no state that a restart would lose. The engines meet the
supervisor only here, so neither can come to speak a dialect of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from setproctitle import setproctitle

from flags.decisions import Decisions
from flags.snapshot import Snapshot
from gateway import build, descriptors, quick
from gateway.access import AccessLog
from gateway.config import parse
from gateway.control import (
    Applied,
    Certificates,
    Channel,
    Configure,
    Configured,
    CredentialEnded,
    Drain,
    FlagState,
    Keys,
    Missing,
    Overrides,
    Ready,
    Refuse,
    Report,
    ToWorker,
)
from gateway.identity import stamping
from gateway.identity.received import RECEIVED
from gateway.impressions import Impressions
from gateway.limiting import MEMORY
from gateway.policy.decision import Policy
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.telemetry import Stats
from gateway.tls import Pair
from gateway.tracing.handing import Handing
from shadow import logs
from shadow.exchange import Summary

REPORT_SECONDS = 1.0
LAST_LOOK_SECONDS = 0.01

_log = logging.getLogger("banyan.worker")


class Engine(Protocol):
    """What carries requests, and decides by the Policy that it was made with."""

    def take_stats(self) -> Stats:
        """What was counted since the last call, with the gauges of now."""
        ...

    def watch_ends(self, ended: Callable[[bytes], None]) -> None:
        """`ended` is told the key of each credential that legacy ends."""
        ...

    def trace(self, link: ShipperLink | None, config: Config) -> None:
        """From now on sampled requests are told of to `link`; None: none is sampled."""
        ...

    def end(self, key: bytes) -> None:
        """The credential with this key was ended before another worker: nothing that is known of it counts any more."""
        ...

    def refuse(self) -> None:
        """From now on every answer ends its connection."""
        ...

    def reconfigure(self, config: Config, policy: Policy, shipper: ShipperLink | None) -> None:
        """From now on requests begin under this configuration. Those in flight end under the one that they began with."""
        ...

    def certify(self, pairs: Sequence[Pair]) -> None:
        """Clients are shown these certificates from now on."""
        ...

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to accept."""
        ...

    async def drain(self, seconds: float) -> int:
        """Stops accepting and waits for what is in flight, for at most `seconds`. How many requests are left."""
        ...

    async def close(self) -> None:
        """Ends everything that is left."""
        ...


Make = Callable[[Config, Policy, AccessLog, ShipperLink | None], Engine]


class Worker:
    """Carries out what the supervisor says."""

    def __init__(self, channel: Channel[ToWorker], sockets: list[socket.socket], make: Make) -> None:
        self._channel = channel
        self._sockets = sockets
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: FlagState | None = None
        """The newest flags, while others are compiled."""
        self._taking: asyncio.Task[None] | None = None
        self._overrides = 0
        """The number of those in force."""
        self._lost = 0
        """Records for the shipper that it could not be given before another took its place."""
        self._dropped: dict[str, int] = {}
        """Of the logs' lost lines, those that were reported."""

    async def run(self) -> None:
        """Until told to drain, or until the supervisor is gone."""
        first = await self._channel.receive()
        if not isinstance(first, Configure):
            return
        config = self._config = parse(Path(first.path), first.text)
        config.hold(first.files)
        self._number = first.number
        self.decisions = Decisions(app_name=config.flags.app_name, environment=config.flags.environment)
        self.access = AccessLog(config.log_target)
        self.impressions = Impressions(config.impressions_target, config.flags.app_name, config.flags.environment)
        self.decisions.on_impression = self.impressions
        self.shipper = self._link(first.shipper, config)
        RECEIVED.asking = lambda origin: self._channel.send(Missing(origin))
        engine = self.engine = self._make(config, build.policy(config, self.decisions), self.access, self.shipper)
        engine.watch_ends(lambda key: self._channel.send(CredentialEnded(key)))
        self.spans = Handing(self._loop)
        await self.spans.adopt(first.exporter, config, engine.trace)
        # What start-up made will live as long as the process: the collector need not walk it again (5 % of CPU, measured).
        gc.collect()
        gc.freeze()
        drain: float | None = None
        started = False
        while True:
            message = await self._channel.receive()
            if message is None:
                break
            if isinstance(message, Drain):
                drain = message.seconds
                break
            if isinstance(message, Refuse):
                engine.refuse()
            elif isinstance(message, CredentialEnded):
                engine.end(message.key)
            elif isinstance(message, Keys):
                try:
                    RECEIVED.take(message.origin, message.keys, message.quiet_until)
                except ValueError:  # it checked them; whatever it is, those of before hold
                    _log.exception("the key server's keys could not be taken")
            elif isinstance(message, Configure):
                await self._reconfigure(message)
            elif isinstance(message, Certificates):
                try:
                    engine.certify([Pair(*pair) for pair in message.pairs])
                except Exception:  # whatever it is, the old ones still serve
                    _log.exception("the new certificates could not be taken")
            elif isinstance(message, FlagState):
                if started:
                    # Beside what else is said: an override must not wait until thousands of flags are compiled.
                    self._waiting = message
                    if self._taking is None:
                        self._taking = self._loop.create_task(self._take_newest(), name="flags")
                else:
                    started = True
                    await self._take_flags(message)
                    await engine.start(self._sockets)
                    self._keep(self._report_for_ever(), "report")
                    self._channel.send(Ready(self.decisions.revision, self._number, self._overrides))
            elif isinstance(message, Overrides):
                self.decisions.override(message.answers)
                self._overrides = message.number
                if started:
                    self._channel.send(Applied(self.decisions.revision, self._overrides))
        if drain is None:  # nobody said: the supervisor is gone
            drain = self._config.gateway.limits.drain_timeout
        # Nothing comes into the queues any more (gateway/listening.py, shut): one more turn of the loop, and what is in them is accepted.
        await asyncio.sleep(LAST_LOOK_SECONDS)
        left = await engine.drain(drain)
        if left:
            _log.warning("%d requests were still in flight after %g s", left, drain)
        tasks = [*self._tasks, *([self._taking] if self._taking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.close()
        self._send_report()  # before what may take its time …
        await self.spans.close()
        logs = (self.access, self.impressions.log)
        await asyncio.gather(*(self._loop.run_in_executor(None, log.close) for log in logs))
        self._send_report()  # … and after: what the logs lose at the end is reported too, and spans that nobody takes
        if self.shipper is not None:
            await self.shipper.close()
        await self._channel.flush()
        self._channel.close()

    def _link(self, path: str, config: Config) -> ShipperLink | None:
        self._shipper_path = path
        if not path:
            return None
        link = ShipperLink(self._loop, path, queue=config.shadow.queue, queue_bytes=config.shadow.queue_bytes)
        link.start()
        return link

    async def _reconfigure(self, message: Configure) -> None:
        before, path = self.shipper, self._shipper_path
        try:
            # Off the loop, as with flags: requests go on meanwhile.
            config = await self._loop.run_in_executor(None, parse, Path(message.path), message.text)
            config.hold(message.files)
            policy = await self._loop.run_in_executor(None, build.policy, config, self.decisions)
            await self._loop.run_in_executor(None, stamping.keys, config)  # which are remembered: to load one can take 0.1 s
            if message.shipper != path:
                self.shipper = self._link(message.shipper, config)
            self.engine.reconfigure(config, policy, self.shipper)
        except Exception as error:  # whatever it is, to serve on under the old configuration is right
            _log.exception("the new configuration could not be taken")
            made, self.shipper, self._shipper_path = self.shipper, before, path
            if made is not None and made is not before:
                await made.close()
            self._channel.send(Configured(message.number, f"{type(error).__name__}: {error}"))
            return
        if before is not None and before is self.shipper:
            before.resize(config.shadow.queue, config.shadow.queue_bytes)
        await self.spans.adopt(message.exporter, config, self.engine.trace)
        self.access.reopen(config.log_target)
        self.impressions.log.reopen(config.impressions_target)
        self._config, self._number = config, message.number
        if before is not None and before is not self.shipper:
            await before.close()  # what it holds was captured for the old shipper, whose rules are those of its time
            self._lost += before.abandoned
        self._channel.send(Configured(message.number))

    async def _take_newest(self) -> None:
        """Until there is nothing newer: what came while another was compiled, but for the last, is passed over."""
        try:
            while (state := self._waiting) is not None:
                self._waiting = None
                before = await self._take_flags(state)
                self._channel.send(Applied(self.decisions.revision, self._overrides))
                if before is not None:
                    await self._loop.run_in_executor(None, before.discard)  # off the loop too: 10 ms
        finally:
            self._taking = None

    async def _take_flags(self, state: FlagState) -> Decisions | None:
        """Decides by them. Returns what holds those of before; None: they cannot be decided by, and those of before stay in force."""
        snapshot = Snapshot(state.revision, state.features, state.source, state.fetched_at, state.error)
        flags = self._config.flags
        try:
            # Off the loop: for 1,000 flags the engine compiles for 40 ms, and requests go on meanwhile.
            built = await self._loop.run_in_executor(
                None, lambda: Decisions.build(snapshot, app_name=flags.app_name, environment=flags.environment)
            )
        except Exception:  # whatever it is: it cost this revision, and no request
            _log.exception("the flags of revision %s cannot be decided by; those of before stay in force", state.revision)
            return None
        self.decisions.install(built)
        return built

    def _keep(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._send_report()

    def _send_report(self) -> None:
        stats = self.engine.take_stats()
        stats.flags, stats.variants = self.decisions.take_usage(), self.decisions.take_variants()
        if self._lost:
            stats.event("shadow-lost-in-reload", self._lost)
            self._lost = 0
        if abandoned := self.spans.take_abandoned():
            stats.spans_dropped["exporter_gone"] = stats.spans_dropped.get("exporter_gone", 0) + abandoned
        for event, log in (("access-log-dropped", self.access), ("impressions-dropped", self.impressions.log)):
            dropped, reported = log.dropped, self._dropped.get(event, 0)
            if dropped > reported:
                stats.event(event, dropped - reported)
                self._dropped[event] = dropped
        self._channel.send(Report(stats))
        if self.shipper is not None and stats.routes:
            counts = {name: route.shadow for name, route in stats.routes.items()}
            self.shipper.offer(Summary(time.time(), str(os.getpid()), counts))


async def _serve(control: int, listen: list[int], make: Make) -> None:
    # Signals go to the whole group when someone presses Ctrl-C: only the supervisor decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=control)
    sock.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    channel: Channel[ToWorker] = Channel(reader, writer, ToWorker)
    sockets = [socket.socket(fileno=fd) for fd in listen]
    for each in sockets:
        each.setblocking(False)
    await Worker(channel, sockets, make).run()


def main(make: Make, run: Callable[[Coroutine[Any, Any, None]], None], arguments: Sequence[str] | None = None) -> None:
    """The process. `run` is the event loop's own runner; `arguments`: the command line's, if they are not these."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--limits", type=int, required=True)
    given = parser.parse_args(arguments)
    MEMORY.share(given.limits)
    setproctitle("banyan: worker")
    descriptors.allow_all()
    logs.begin("worker", logging.INFO)
    run(_serve(given.control, [int(fd) for fd in given.listen.split(",")], make))
    quick.leave(0)
