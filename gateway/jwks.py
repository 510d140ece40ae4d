"""The key server: asked by the supervisor, for all workers, which get the public keys alone.

Invariants:
- There is one place that keys come from. Keys of another are never used, whichever way a reload goes.
- The keys of the last good answer hold until the next good one, however long that takes. A key that is not in a good answer is gone.
- One question at a time, bounded (gateway/jwks_fetch.py); nobody's request waits for a question that was not asked because of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.children import WorkerProcess
from gateway.config import Config
from gateway.control import Keys
from gateway.identity.received import RECEIVED
from gateway.jwks_fetch import FetchError, fetch
from gateway.settings.jwt import Jwt

if TYPE_CHECKING:
    from gateway.identity.keyring import Key

_log = logging.getLogger("banyan.identity")

SOON_SECONDS: Final = (1.0, 30.0)
"""Until the next try where there is no key at all; then twice as long each time, up to the latter."""
NO_KEYS: Final = b"[]"
"""What gateway.identity.keyring.dumped makes of none."""
SAID: Final = 20
"""So many keys that are left out are said one by one, of each answer."""

Keep = Callable[[Coroutine[Any, Any, object], str], asyncio.Task[object]]


class KeyServer:
    """See the module's docstring. `workers` is the supervisor's own list. `keep` runs a task for as long as the gateway runs."""

    def __init__(self, config: Config, workers: Sequence[WorkerProcess], keep: Keep) -> None:
        self.results: dict[str, int] = {}
        """Questions by what came of them, in this supervisor's life."""
        self._workers = workers
        self._keep = keep
        self._task: asyncio.Task[object] | None = None
        self._wanted = asyncio.Event()
        """A worker has met a key that nobody knows."""
        self._settings: Jwt | None = None
        self._forget(_settings(config))

    def _forget(self, settings: Jwt | None) -> None:
        """Begins anew, with the keys of another place."""
        self._settings = settings
        self._origin = settings.origin if settings is not None else ""
        self._keys: list[Key] = []
        self._sent = NO_KEYS
        self._fetching = False
        self._answered = asyncio.Event()
        """There was a first answer, or none in time."""
        self._good_at = -1.0
        """Monotonic time of the last good answer; -1: there was none."""
        self._good_since = 0.0
        """The same as Unix time."""
        self._last: tuple[float, str, str] | None = None
        """(Unix time, result, why) of the last question."""
        self._failures = 0
        self._quiet_until = 0.0
        """Monotonic time until which no unknown key is a reason to ask."""
        self._left_out: list[str] = []
        self._wanted.clear()

    # From the supervisor

    def begin(self) -> None:
        """Starts to ask, where there is somebody to ask."""
        self._start(at_once=True)

    async def first(self, stop: asyncio.Event) -> None:
        """Until there was a first answer, `stop` is set, or the start has waited as long as it may."""
        settings = self._settings
        if settings is None or not self._origin:
            return
        waits = [asyncio.create_task(each.wait(), name="first keys") for each in (self._answered, stop)]
        await asyncio.wait(waits, timeout=settings.jwks_timeout, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()

    async def take(self, config: Config) -> None:
        """Another configuration is about to be in force. If keys come from another place then, waits for the first from there, as the start
        does: those of the old one are gone."""
        settings = _settings(config)
        if settings is not None and settings.origin == self._origin:
            self._settings = settings
            self._start(at_once=self._fetching or not self._answered.is_set())
            return
        self._forget(settings)
        self._start(at_once=True)
        await self.first(asyncio.Event())

    def told(self) -> list[Keys]:
        """What a worker has to know before it begins."""
        return [self._message()] if self._origin else []

    def missing(self, worker: WorkerProcess, origin: str) -> None:
        """A worker has met a token whose key nobody knows."""
        if origin != self._origin or not origin:
            return  # it goes by another configuration, for a moment
        if self._fetching:
            return  # it hears what comes of that, and may ask again then: the key may be younger than the question
        if time.monotonic() < self._quiet_until:
            worker.send(self._message())
        else:
            self._wanted.set()

    # For the admin port

    @property
    def active(self) -> bool:
        """Is there a key server?"""
        return bool(self._origin)

    @property
    def count(self) -> int:
        """Keys that are in force."""
        return len(self._keys)

    def age(self) -> float:
        """Seconds since the last good answer; inf: there was none."""
        return time.monotonic() - self._good_at if self._good_at >= 0 else float("inf")

    def state(self) -> dict[str, Any] | None:
        """For JSON; None where there is no key server."""
        if self._settings is None or not self._origin:
            return None
        last = self._last
        return {
            "url": shown(self._settings.jwks_url.get_secret_value()),
            "keys": [{"kid": key.kid, "algorithm": key.algorithm} for key in self._keys],
            "fetched_at": self._good_since if self._good_at >= 0 else None,
            "last": last and {"at": last[0], "result": last[1], "error": last[2]},
            "left_out": self._left_out[:SAID],
        }

    # Asking

    def _start(self, *, at_once: bool) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._settings is not None and self._origin:
            self._task = self._keep(self._run(self._settings, at_once), "key server")

    async def _run(self, settings: Jwt, at_once: bool) -> None:
        missing = False
        while True:
            if at_once:
                await self._ask(settings, missing)
            at_once, missing = True, False
            try:
                async with asyncio.timeout(self._pause(settings)):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            self._wanted.clear()
            missing = True

    def _pause(self, settings: Jwt) -> float:
        """Seconds until the next question. After a failure sooner than usual, and each time later; never in step with other gateways."""
        longest = settings.jwks_refresh
        if self._failures:
            soon, bound = (settings.jwks_pause, longest) if self._keys else SOON_SECONDS
            longest = min(longest, bound, soon * 2.0 ** min(self._failures - 1, 20))
        return longest * random.uniform(0.8, 1.0)  # noqa: S311 - for spreading, not for secrets

    async def _ask(self, settings: Jwt, missing: bool) -> None:
        from gateway.identity import keyring  # only where there is a key server: cryptography takes its time

        self._fetching = True
        try:
            document = await fetch(settings.jwks_url.get_secret_value(), settings.jwks_timeout)
            keys, left_out = await asyncio.to_thread(keyring.from_set, document, settings.algorithms)
        except FetchError as error:
            self._failed(error.code, str(error))
        except keyring.KeySetError as error:
            self._failed(str(error), f"its answer is no set of keys ({error})")
        except Exception:  # whatever it is, the keys that are known hold
            _log.exception("the answer of the key server cannot be read")
            self._failed("unreadable", "its answer cannot be read")
        else:
            self._succeeded(keys, keyring.dumped(keys), left_out)
        finally:
            self._fetching = False
        self._wanted.clear()
        if missing:
            self._quiet_until = time.monotonic() + settings.jwks_pause
        self._answered.set()
        message = self._message()
        RECEIVED.take(message.origin, message.keys, message.quiet_until)
        for worker in self._workers:
            worker.send(message)

    def _succeeded(self, keys: list[Key], dumped: bytes, left_out: list[str]) -> None:
        before, again = self._sent, self._failures
        names = _names(self._keys)
        self._keys, self._sent = keys, dumped
        self._good_at, self._good_since = time.monotonic(), time.time()
        self._failures = 0
        self._note("ok", "")
        if left_out != self._left_out:
            self._left_out = left_out
            for each in left_out[:SAID]:
                _log.warning("jwks: left out: %s", each)
            if len(left_out) > SAID:
                _log.warning("jwks: %d more keys are left out", len(left_out) - SAID)
        if not keys:
            _log.error(
                "jwks: %s offers no key that can be used: nobody is known, and routes that require a login answer 503", self._place()
            )
        elif before != self._sent:
            _log.info("jwks: keys are now %s (before: %s)", _names(keys), names)
        elif again:
            _log.info("jwks: %s answers again", self._place())

    def _failed(self, code: str, why: str) -> None:
        self._failures += 1
        said = self._last is not None and self._last[2] == why
        self._note(code, why)
        if not said:
            held = f"the {len(self._keys)} keys of before hold" if self._keys else "there is no key yet: nobody is known"
            _log.warning("jwks: %s gave no keys: %s; %s", self._place(), why, held)

    def _note(self, result: str, why: str) -> None:
        self.results[result] = self.results.get(result, 0) + 1
        self._last = (time.time(), result, why)

    def _place(self) -> str:
        return shown(self._settings.jwks_url.get_secret_value()) if self._settings is not None else ""

    def _message(self) -> Keys:
        quiet = self._quiet_until - time.monotonic()
        return Keys(self._origin, self._sent, time.time() + quiet if quiet > 0 else 0.0)


def shown(url: str) -> str:
    """An address as people may see it: without its query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _settings(config: Config) -> Jwt | None:
    return config.identity.jwt if config.identity.source == "jwt" else None


def _names(keys: Sequence[Key]) -> str:
    return ", ".join(repr(key.kid) if key.kid is not None else f"one of {key.algorithm} without kid" for key in keys) or "none"
