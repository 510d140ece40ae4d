"""Flags from Unleash, through its own SDK: registration and polling. Unleash may be down, slow or wrong; the last good state stands.

The SDK runs in threads of its own: compiling 1,000 flags takes 40 ms, which the supervisor's event loop must not wait for. What a poll
brought is handed to the loop, and from there published. While Unleash fails, polls become rarer (flags/backoff.py).

Streaming is never asked for: open-source Unleash answers it with 404, and the SDK would then run with no flags and say nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import socket
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import requests
from apscheduler.executors.pool import BasePoolExecutor  # type: ignore[import-untyped]  # it ships no types
from apscheduler.jobstores.base import JobLookupError  # type: ignore[import-untyped]  # it ships no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # it ships no types
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.utils import InstanceAllowType

from flags import backoff
from flags.answers import bounded
from flags.backup import Backup, BackupError
from flags.daemons import Daemons
from flags.features import EMPTY, revision
from flags.handover import Handover, Poll, quieten
from flags.salvage import Salvaged
from flags.snapshot import Snapshot
from flags.source import Publish, check_token, check_url
from flags.usage import Usage
from flags.variants import NO_VARIANTS

_log = logging.getLogger("banyan.flags")

REQUEST_TIMEOUT: Final = 2
"""Seconds for each wait on Unleash. There are no retries: the next poll is one."""
FIRST_ANSWER: Final = 2.0
"""Seconds that the start waits for Unleash before it goes by the backup."""
TOO_LONG: Final = 15.0
"""Seconds after which a poll that has not come to an end is a failure, whatever still comes of it."""
CLOSE: Final = 5.0
"""Seconds that the end waits for the SDK's threads: longer than a poll that waits in vain, for a connection and then for an answer."""
SOON: Final = 0.02
"""Seconds between two looks for the SDK's job, while there is none yet."""
LOOK: Final = 1.0
"""Seconds between two looks at that, and at the clock."""
SET_BACK: Final = 0.5
"""Seconds by which the clock on the wall may go back between two looks, without more being done than to wait that much longer."""
SAID: Final = 10
"""So many malformed flags are said one by one; of more than that, how many there are."""
TOLD: Final = 20
"""Different troubles that the log has, until it answers again."""


class UnleashSource:
    """Implements `flags.source.Source`."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        refresh: float = 0.5,
        backup: Path | None = None,
        app_name: str = "banyan",
        instance_id: str | None = None,
        metrics_interval: float = 10,
    ) -> None:
        """`url` is the API's base, http://host:4242/api. `token` is a client (backend) token and appears in no message.

        Unleash itself lets a change out once a second, so a flip takes up to 1 s + `refresh`: measured over 80 flips, at most 1.34 s with
        0.5 and 1.78 s with 1.0.

        Raises:
            FlagSourceError: an address or a token that can't be one.
        """
        check_url(url)
        check_token(token)
        self._url = url.rstrip("/")
        self._backup = None if backup is None else Backup(backup)
        self._saved: tuple[Salvaged, float] | None = None
        self._unsaved = "no flags.backup is configured"
        """Why there is nothing in `_saved`."""
        self._refresh = refresh
        self._loop: asyncio.AbstractEventLoop | None = None
        self._publish: Publish | None = None
        self._published: Snapshot | None = None
        self._confirmed = -math.inf
        self._told: set[str] = set()
        """The troubles that the log has, since it last answered: one line for each, not for each poll."""
        self._answered = asyncio.Event()
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []
        self._healthy = False
        self._failures = 0
        self._malformed: frozenset[tuple[str, str]] = frozenset()
        """What was said of malformed flags."""
        self._closed = False
        self._threads = Daemons("flags-unleash")
        self._handover = Handover(self._polled)
        quieten()
        # A poll that takes longer than its interval is waited for, not queued behind, and not worth a line a second.
        scheduler_log = logging.getLogger("banyan.flags.scheduler")
        scheduler_log.setLevel(logging.ERROR)
        scheduler = self._scheduler = BackgroundScheduler(
            executors={"flags": _In(self._threads)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            logger=scheduler_log,
            timezone=UTC,
        )
        instance = instance_id or f"{socket.gethostname()}-{os.getpid()}"
        authorization = {"Authorization": token}
        options = {"auth": _as_it_is, "allow_redirects": False, "hooks": {"response": bounded(self._handover.head)}}
        self._client = UnleashClient(
            url=self._url,
            app_name=app_name,
            instance_id=instance,
            refresh_interval=int(refresh) if refresh == int(refresh) else refresh,  # type: ignore[arg-type]  # APScheduler takes fractions
            metrics_interval=math.ceil(metrics_interval),  # only told to Unleash
            disable_metrics=True,  # see flags.usage
            request_timeout=REQUEST_TIMEOUT,
            request_retries=0,
            custom_headers=authorization,
            custom_options=options,
            cache=self._handover,
            scheduler=scheduler,
            scheduler_executor="flags",
            # Its duplicate warning would print the beginning and the end of the token.
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
        )
        about = {"appName": app_name, "instanceId": instance, "connectionId": self._client.connection_id}
        self._usage = Usage(self._url, authorization, about, options)
        scheduler.add_job(self._send_usage, "interval", seconds=metrics_interval, executor="flags")

    async def run(self, publish: Publish) -> None:
        """See `Source.run`. Never raises for anything that Unleash does."""
        self._loop = asyncio.get_running_loop()
        self._publish = publish
        if self._backup is not None:
            await asyncio.to_thread(self._read_backup, self._backup)
        starting = asyncio.wrap_future(self._threads.submit(self._client.initialize_client))
        try:
            try:
                await asyncio.wait_for(self._answered.wait(), FIRST_ANSWER)
            except TimeoutError:
                self._failed("did not answer in time")
            clock = time.time() - time.monotonic()
            while True:  # the SDK's threads do the rest, until this task is cancelled
                since = self._handover.polling_since
                if since and time.monotonic() - since > TOO_LONG:
                    self._healthy = False
                    self._failed(f"has been at its answer for more than {TOO_LONG:g} s and does not come to its end")
                if starting.done():
                    starting.result()
                before, clock = clock, time.time() - time.monotonic()
                if clock < before - SET_BACK:
                    self._reschedule()
                await asyncio.sleep(LOOK)
        finally:
            starting.cancel()
            await asyncio.to_thread(self.close)

    async def refresh(self) -> None:
        """See `Source.refresh`.

        Raises:
            TimeoutError: no poll came to an end in several times its usual time.
        """
        looked = asyncio.get_running_loop().create_future()
        waiting = (time.monotonic(), looked)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(3 * REQUEST_TIMEOUT + self._refresh):
                while not self._poll_in(0.0):
                    if self._closed or self._loop is None:
                        return
                    await asyncio.sleep(SOON)  # the first poll is not over, or was only just: its job is not there yet
                await looked
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def staleness(self) -> float:
        """See `Source.staleness`."""
        return time.monotonic() - self._confirmed

    def report(self, usage: Mapping[str, tuple[int, int]], variants: Mapping[str, Mapping[str, int]] = NO_VARIANTS) -> None:
        """See `Source.report`. Kept while Unleash is down."""
        self._usage.add(usage, variants)

    def close(self) -> None:
        """See `Source.close`. Sends the last usage; with an Unleash that hangs, some six seconds at most."""
        if self._closed:
            return
        self._closed = True
        if self._loop is None:
            return  # never ran: there is nothing to end
        # Ends the jobs, and waits for what they are doing; while the first poll is not over, for that, and with no bound of its own.
        ending = Daemons("flags-unleash-end").submit(self._client.destroy)
        try:
            ending.result(CLOSE)
        except FutureTimeoutError:
            _log.warning("flags: Unleash at %s still is at an answer; it is not waited for", self._url)
            return
        if self._healthy:
            self._usage.send(last=True)

    def _polled(self, poll: Poll) -> None:
        """In the SDK's thread, at the end of each poll."""
        loop = self._loop
        if loop is None or self._closed:
            return
        self._healthy = not poll.error
        if poll.usable is not None:
            self._usage.known(poll.usable.features)
        if self._backup is not None and not poll.error:
            if poll.document is not None:
                self._backup.write(poll.document)  # with its malformed flags: a start by it says of them what was said now
            else:
                self._backup.again()
        try:
            loop.call_soon_threadsafe(self._apply, poll)
        except RuntimeError:
            _log.debug("a poll of Unleash came to its end after the event loop did")

    def _send_usage(self) -> None:
        """In the SDK's thread, every now and then."""
        if self._healthy:
            self._usage.send()

    def _apply(self, poll: Poll) -> None:
        """On the event loop."""
        self._answered.set()
        if poll.error:
            self._failures += 1
            self._failed(poll.error)
        else:
            self._failures = 0
            self._confirmed = time.monotonic()
            self._succeeded(poll.usable)
        for since, looked in self._waiting[:]:
            if poll.started >= since or looked.done():
                self._waiting.remove((since, looked))
                if not looked.done():
                    looked.set_result(None)
        if self._waiting:
            self._poll_in(0.1)  # it is still at the end of this one
        elif self._failures:
            self._poll_in(backoff.wait(self._failures, self._refresh, poll.retry_after, random.random))

    def _poll_in(self, seconds: float) -> bool:
        """Moves the next poll. False where there are none: before the first is over, and after the end."""
        job = getattr(self._client.connector, "job", None)
        if job is None or self._closed:
            return False
        try:
            job.modify(next_run_time=datetime.now(UTC) + timedelta(seconds=seconds))
        except JobLookupError:
            return False  # ended meanwhile
        return True

    def _reschedule(self) -> None:
        """The clock on the wall was set back, and the SDK's scheduler goes by it: what is next would wait until it is that late again."""
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            try:
                job.modify(next_run_time=now)
            except JobLookupError:
                pass  # ended meanwhile

    def _succeeded(self, usable: Salvaged | None) -> None:
        before = self._published
        if before is not None and before.error:
            _log.info("flags: Unleash at %s answers again", self._url)
            self._told.clear()
        if usable is not None:
            self._say_malformed(usable)
            snapshot = Snapshot(revision(usable.features), usable.features, "unleash", time.time(), refused=usable.refused)
            same = (snapshot.revision, snapshot.source, snapshot.error, snapshot.refused)
            if before is None or (before.revision, before.source, before.error, before.refused) != same:
                self._send(snapshot)
        elif before is not None and before.error:
            self._send(replace(before, error="", fetched_at=time.time()))

    def _say_malformed(self, usable: Salvaged) -> None:
        refused = frozenset(usable.refused)
        new = sorted(refused - self._malformed)
        self._malformed = refused
        for name, why in new[:SAID]:
            _log.warning("flags: flag %r from Unleash is malformed and left out, so legacy answers: %s", name, why)
        if len(new) > SAID:
            _log.warning("flags: %d more flags from Unleash are malformed and left out", len(new) - SAID)

    def _failed(self, why: str) -> None:
        before = self._published
        error = f"Unleash at {self._url} {why}"
        if before is None:
            self._told.add(error)
            self._send(self._from_backup(error))
        elif before.error != error:
            if error not in self._told and len(self._told) < TOLD:
                self._told.add(error)
                _log.warning("flags: %s. The last good flags stay in force", error)
            # A start without a backup goes on saying that there is none.
            missing = f", and {self._unsaved}" if before.source == "none" else ""
            if before.error != error + missing:
                self._send(replace(before, error=error + missing))

    def _read_backup(self, backup: Backup) -> None:
        """In a thread: it compiles the flags."""
        try:
            self._saved = backup.read()
        except BackupError as error:
            self._unsaved = str(error)

    def _from_backup(self, error: str) -> Snapshot:
        saved, self._saved = self._saved, None
        if saved is None:
            _log.warning("flags: %s, and %s. Every flag is off: legacy answers everything", error, self._unsaved)
            return Snapshot(revision(EMPTY), EMPTY, "none", 0.0, error=f"{error}, and {self._unsaved}")
        usable, when = saved
        since = datetime.fromtimestamp(when, UTC).isoformat(" ", "seconds")
        path = "" if self._backup is None else self._backup.path
        _log.warning("flags: %s. The backup at %s, of %s, is in force", error, path, since)
        self._say_malformed(usable)
        return Snapshot(revision(usable.features), usable.features, "backup", when, error, usable.refused)

    def _send(self, snapshot: Snapshot) -> None:
        self._published = snapshot
        self._saved = None
        if self._publish is not None:
            self._publish(snapshot)


class _In(BasePoolExecutor):  # type: ignore[misc]  # its base has no types
    """Runs jobs in our threads."""

    def __init__(self, threads: Daemons) -> None:
        super().__init__(threads)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """With no `auth` at all, requests would put what ~/.netrc knows of the host in the token's place."""
    return request
