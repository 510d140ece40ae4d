"""Whose credentials were asked about, and who waits for an answer: cache and single flight, without a clock, a socket or a loop.

Asked once per credential, however many requests wait, and remembered by the SHA-256 of the credential: the cache holds nothing that could
be used to log in. Here the answer only feeds the flags, so when legacy cannot say, the caller is anonymous.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import orjson

from gateway.settings import Identity

User = tuple[str | None, str | None]
"""(user id, session id), each None where there is none."""

ANONYMOUS: User = (None, None)
MAX_ANSWER = 64 * 1024
"""Bytes of legacy's answer."""


class Question:
    """What legacy must be asked, by whoever got this from `Callers.lookup`. It ends with `Callers.learned`, whatever happens."""

    __slots__ = ("credential", "key", "waiting")

    def __init__(self, key: bytes, credential: bytes, then: Callable[[User], None]) -> None:
        self.key = key
        self.credential = credential
        self.waiting = [then]


FAILURE_SECONDS = 0.5
"""How long a question without an answer is not asked again: else each request of a client would wait for the timeout while legacy hangs."""


class Callers:
    """See the module's docstring. `now` is a monotonic clock in seconds."""

    def __init__(self, settings: Identity) -> None:
        self._settings = settings
        self._cookie = re.compile(rb"(?:\r\n(?i:cookie):[^\r]*?[ ;:])" + re.escape(settings.cookie.encode()) + rb"=([^;\r\s]*)")
        self._known: dict[bytes, tuple[User, float]] = {}
        self._asking: dict[bytes, Question] = {}

    def lookup(self, fields: bytes, then: Callable[[User], None], now: float) -> User | Question | None:
        """The caller; or a question that must be asked now; or None. In both latter cases `then` is called once it is known.

        `fields` are a head's field lines, each with its CRLF before it.
        """
        found = self._cookie.search(fields)
        if found is None or not found[1]:
            return ANONYMOUS
        credential = found[1]
        key = hashlib.sha256(credential).digest()
        known = self._known.get(key)
        if known is not None:
            if known[1] > now:
                return known[0]
            del self._known[key]
        question = self._asking.get(key)
        if question is not None:
            question.waiting.append(then)
            return None
        question = self._asking[key] = Question(key, credential, then)
        return question

    def learned(self, question: Question, user: User, now: float, *, known: bool) -> None:
        """The question was answered; `known`: by legacy; else it is believed only for a moment."""
        self._asking.pop(question.key, None)
        if len(self._known) >= self._settings.entries:
            del self._known[next(iter(self._known))]  # the oldest: entries live for seconds, so order of age is good enough
        seconds = self._settings.negative_cache if user[0] is None else self._settings.cache
        if not known:
            seconds = FAILURE_SECONDS
        self._known[question.key] = (user, now + seconds)
        for then in question.waiting:
            then(user)

    def cookie(self, question: Question) -> bytes:
        """The Cookie field's value that asks the question."""
        return self._settings.cookie.encode() + b"=" + question.credential


def understand(status: int, body: bytes) -> tuple[User, bool]:
    """What legacy's answer says: who it is, and whether legacy knew."""
    if status != 200:
        return ANONYMOUS, False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ANONYMOUS, False
    if not isinstance(document, dict):
        return ANONYMOUS, False
    user, session = document.get("user_id"), document.get("session_id")
    if not document.get("authenticated"):
        user = None
    return (None if user is None else str(user), None if session is None else str(session)), True
