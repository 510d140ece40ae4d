"""Flags from Unleash, through its own SDK: registration and polling. Unleash may be down, slow or wrong; the last good state stands.

The SDK runs in threads of its own: compiling 1,000 flags takes 40 ms, which the supervisor's event loop must not wait for. What a poll
brought is handed to the loop, and from there published. Streaming is never asked for: open-source Unleash answers it with 404, and the SDK
would then run with no flags and say nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import requests
from apscheduler.executors.pool import ThreadPoolExecutor  # type: ignore[import-untyped]  # it ships no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # it ships no types
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.utils import InstanceAllowType

from flags.admin import write_atomically
from flags.features import EMPTY, FeaturesError, normalised, revision
from flags.handover import Handover, Poll, quieten
from flags.snapshot import Snapshot
from flags.source import Publish, check_token, check_url
from flags.usage import Usage
from flags.variants import NO_VARIANTS

_log = logging.getLogger("banyan.flags")

REQUEST_TIMEOUT: Final = 2
"""Seconds for each wait on Unleash. There are no retries: the next poll is one."""
FIRST_ANSWER: Final = 2.0
"""Seconds that the start waits for Unleash before it goes by the backup."""


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
        self._backup = backup
        self._refresh = refresh
        self._loop: asyncio.AbstractEventLoop | None = None
        self._publish: Publish | None = None
        self._published: Snapshot | None = None
        self._confirmed = -math.inf
        self._answered = asyncio.Event()
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []
        self._healthy = False
        self._closed = False
        quieten()
        # A poll that takes longer than its interval is waited for, not queued behind, and not worth a line a second.
        scheduler_log = logging.getLogger("banyan.flags.scheduler")
        scheduler_log.setLevel(logging.ERROR)
        scheduler = BackgroundScheduler(
            executors={"flags": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            logger=scheduler_log,
            timezone=UTC,
        )
        instance = instance_id or f"{socket.gethostname()}-{os.getpid()}"
        authorization = {"Authorization": token}
        options = {"auth": _as_it_is, "allow_redirects": False}
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
            cache=Handover(self._polled),
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
        starting = asyncio.create_task(asyncio.to_thread(self._client.initialize_client), name="flags-unleash-start")
        try:
            try:
                await asyncio.wait_for(self._answered.wait(), FIRST_ANSWER)
            except TimeoutError:
                self._failed("did not answer in time")
            await starting
            await asyncio.Event().wait()  # the SDK's threads do the rest, until this task is cancelled
        finally:
            await asyncio.to_thread(self.close)

    async def refresh(self) -> None:
        """See `Source.refresh`.

        Raises:
            TimeoutError: no poll came to an end in several times its usual time.
        """
        job = getattr(self._client.connector, "job", None)
        if job is None or self._closed:
            return
        looked = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic(), looked))
        job.modify(next_run_time=datetime.now(UTC))
        await asyncio.wait_for(looked, 3 * REQUEST_TIMEOUT + self._refresh)

    def staleness(self) -> float:
        """See `Source.staleness`."""
        return time.monotonic() - self._confirmed

    def report(self, usage: Mapping[str, tuple[int, int]], variants: Mapping[str, Mapping[str, int]] = NO_VARIANTS) -> None:
        """See `Source.report`. Kept while Unleash is down."""
        self._usage.add(usage, variants)

    def close(self) -> None:
        """See `Source.close`. Sends the last usage; with an Unleash that hangs, some ten seconds at most."""
        if self._closed:
            return
        self._closed = True
        if self._loop is None:
            return  # never ran: there is nothing to end
        self._client.destroy()  # ends the jobs, and waits for what they are doing
        if self._healthy:
            self._usage.send(last=True)

    def _polled(self, poll: Poll) -> None:
        """In the SDK's thread, at the end of each poll."""
        loop = self._loop
        if loop is None or self._closed:
            return
        if poll.features is not None:
            self._usage.known(poll.features)
        self._healthy = not poll.error
        if poll.features is not None and self._backup is not None:
            try:
                self._backup.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._backup, poll.features, mode=0o600)
            except OSError as error:
                _log.warning("flags.backup: %s can't be written (%s). Unleash down at a start would mean no flags", self._backup, error)
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
            self._failed(poll.error)
        else:
            self._confirmed = time.monotonic()
            self._succeeded(poll.features)
        for since, looked in self._waiting[:]:
            if poll.started >= since or looked.done():
                self._waiting.remove((since, looked))
                if not looked.done():
                    looked.set_result(None)

    def _succeeded(self, features: bytes | None) -> None:
        before = self._published
        if before is not None and before.error:
            _log.info("flags: Unleash at %s answers again", self._url)
        if features is not None:
            snapshot = Snapshot(revision=revision(features), features=features, source="unleash", fetched_at=time.time())
            if before is None or (before.revision, before.source, before.error) != (snapshot.revision, "unleash", ""):
                self._send(snapshot)
        elif before is not None and before.error:
            self._send(replace(before, error="", fetched_at=time.time()))

    def _failed(self, why: str) -> None:
        before = self._published
        error = f"Unleash at {self._url} {why}"
        if before is None:
            self._send(self._from_backup(error))
        elif before.error != error:
            if not before.error:
                _log.warning("flags: %s. The last good flags stay in force", error)
            self._send(replace(before, error=error))

    def _from_backup(self, error: str) -> Snapshot:
        if self._backup is None:
            missing = "no flags.backup is configured"
        else:
            try:
                features = normalised(self._backup.read_bytes())
                saved = self._backup.stat().st_mtime
            except FileNotFoundError:
                missing = f"there is no backup at {self._backup}"
            except (OSError, FeaturesError) as bad:
                missing = f"the backup at {self._backup} can't be used ({bad})"
            else:
                _log.warning("flags: %s. The backup at %s is in force", error, self._backup)
                return Snapshot(revision=revision(features), features=features, source="backup", fetched_at=saved, error=error)
        _log.warning("flags: %s, and %s. Every flag is off: legacy answers everything", error, missing)
        return Snapshot(revision=revision(EMPTY), features=EMPTY, source="none", fetched_at=0.0, error=f"{error}, and {missing}")

    def _send(self, snapshot: Snapshot) -> None:
        self._published = snapshot
        if self._publish is not None:
            self._publish(snapshot)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """With no `auth` at all, requests would put what ~/.netrc knows of the host in the token's place."""
    return request
