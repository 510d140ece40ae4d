"""The seam between the Unleash SDK and us: its cache, through which every poll passes, and its log, which alone knows why one failed.

The SDK asks its cache for the features after every poll, a 304 and a failure included, and loads the engine with what it gets: 40 ms for
1,000 flags, each second, for nothing. So this cache hands each state over exactly once. It is also where we learn what a poll brought, with
public parts of the SDK only: a poll begins with `get(ETAG)` and ends with `get(FEATURES_URL)`, in one thread.

Nothing is written to disk here (the SDK's own cache is a pickle), and nothing that the server said is taken unchecked.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import requests
from UnleashClient.cache import BaseCache
from UnleashClient.constants import ETAG, FEATURES_URL

from flags.answers import AnswerError
from flags.backoff import retry_after
from flags.features import FeaturesError
from flags.salvage import Salvaged, salvage

_log = logging.getLogger("banyan.flags")

_HINTS: Final = {
    400: "flags.url must be Unleash's API, which ends with /api",
    401: "flags.token is not valid there",
    403: "flags.token may not read flags; it must be a client (backend) token",
    404: "flags.url must be Unleash's API, which ends with /api",
    429: "it is asked too often, and is now asked less",
    502: "what stands before it does not reach it",
    504: "what stands before it does not reach it in time",
}
_REDIRECT: Final = "flags.url must be the address itself, since redirects are not followed"
_ETAG_REFUSED: Final = frozenset({400, 412, 431})
"""Answers that the ETag which is sent along may be the reason of."""
ETAG_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought."""

    started: float
    """time.monotonic()"""
    document: bytes | None = None
    """What came, where it was new; None: it is as it was, or see `error`."""
    usable: Salvaged | None = None
    """What can be used of it."""
    error: str = ""
    """Why there is no answer; reads on after "Unleash at <url> "."""
    retry_after: float = 0.0
    """Seconds that Unleash asked to be left alone for."""


class Handover(BaseCache):
    """The SDK's cache. `arrived` is called at the end of each poll, in the SDK's thread."""

    def __init__(self, arrived: Callable[[Poll], None]) -> None:
        self._arrived = arrived
        self._etag = ""
        self._known = b""
        """The digest of the last good document. Not every server and every proxy knows ETags."""
        self._document: bytes | None = None
        self._usable: Salvaged | None = None
        self._retry_after = 0.0
        self._started = 0.0
        self.polling_since = 0.0
        """time.monotonic() of when the poll under way began; 0 when there is none."""
        self.error = ""
        """Why the poll under way failed; set by the SDK's log, see below."""

    def head(self, response: requests.Response) -> None:
        """Hears of each answer before its body."""
        if response.request.method != "GET":
            return
        if response.status_code in {429, 503}:
            self._retry_after = retry_after(response.headers.get("Retry-After"))
        if response.status_code in _ETAG_REFUSED:
            self._etag = ""

    def get(self, key: str, default: Any | None = None) -> Any:
        """The SDK's two questions: which state it has, and what to load."""
        if key == ETAG:
            _polling.handover = self
            self._started = self.polling_since = time.monotonic()
            self._document, self._usable, self._retry_after, self.error = None, None, 0.0, ""
            return self._etag
        if key == FEATURES_URL:
            self.polling_since = 0.0
            if self._document is None and not self.error and not self._known:
                self.error = "answered that nothing changed when nothing was known"
            if _polling.registration and not self.error:
                _log.warning("flags: Unleash answers, but did not register this gateway (%s)", _polling.registration)
            _polling.registration = ""
            usable = self._usable
            poll = Poll(self._started, self._document, usable, self.error, self._retry_after)
            self._document = self._usable = None
            self._arrived(poll)
            return None if usable is None else usable.features.decode()
        return default

    def set(self, key: str, value: Any) -> None:
        """What the server answered: the features, then their ETag. (After a 304 its ETag alone, which then is of nothing that we have.)"""
        if key == FEATURES_URL:
            self._etag = ""
            document = value.encode()
            digest = hashlib.sha256(document).digest()
            if digest == self._known:
                return
            try:
                self._usable = salvage(document)
            except FeaturesError as error:
                self.error = f"answered with something other than flags ({error}). Is flags.url Unleash's API, ending with /api?"
                return
            except Exception as error:  # whatever it is: the SDK would end this poll without a word to us
                self.error = f"answered with something that cannot be read ({type(error).__name__}: {str(error)[:100]})"
                return
            self._document, self._known = document, digest
        elif key == ETAG and not self._etag and not self.error and len(value) <= ETAG_BYTES:
            # What was refused must not be confirmed by a 304 later.
            self._etag = value

    def mset(self, data: dict[str, Any]) -> None:
        """Called once, at the start, with nothing that we need."""

    def exists(self, key: str) -> bool:
        """Part of the interface; the SDK does not ask."""
        return key == ETAG

    def destroy(self) -> None:
        """Nothing is on disk."""


class _Polling(threading.local):
    """Whose poll runs in this thread."""

    handover: Handover | None = None
    registration: str = ""
    """Why the registration just before failed: news only if the poll does not fail for the same reason."""


_polling = _Polling()


class _SdkLog(logging.Filter):
    """Takes the reason of a failed poll out of the SDK's log, which would print it with a traceback, and lets only real news through."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False  # "Getting feature flag.", each second
        record.exc_info = None  # what the SDK adds to its messages are stack traces of its own insides
        message = str(record.msg)
        if message.startswith("Unleash client does not have cached features"):
            return False  # it has: they were handed over when they came
        cause = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        if message.startswith("Unleash Client registration failed"):
            _polling.registration = reason(cause)
            return False
        if message.startswith("Unleash Client feature fetch failed"):
            handover = _polling.handover
            if handover is not None and not handover.error:
                handover.error = reason(cause)
            return False
        return True


def reason(cause: object) -> str:
    """What an HTTP status or an exception of requests means; reads on after "Unleash at <url> "."""
    if isinstance(cause, AnswerError):
        return str(cause)
    if isinstance(cause, int):
        hint = _REDIRECT if 300 <= cause < 400 else _HINTS.get(cause)
        return f"answered {cause}: {hint}" if hint else f"answered {cause}"
    if isinstance(cause, requests.exceptions.RetryError):
        status = re.search(r"too many (\d{3}) error", str(cause))
        return reason(int(status[1])) if status else "answered with an error"
    error = cause if isinstance(cause, BaseException) else None
    while error is not None and error.__context__ is not None:
        error = error.__context__
    if isinstance(error, TimeoutError):  # at the root of requests' own timeouts, whatever they are wrapped in
        return "did not answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return "answered with something other than HTTP. Is flags.url right, and its scheme (http or https)?"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be reached: {error.strerror}"
    return f"can't be reached: {type(error).__name__}"


_filter = _SdkLog()


def quieten() -> None:
    """Puts our filter before the SDK's log. Once or often, it is the same."""
    logging.getLogger("UnleashClient").addFilter(_filter)
    logging.getLogger("apscheduler.executors.flags").setLevel(logging.WARNING)  # "Running job", each second
