"""Whose credentials were asked about, and who waits for an answer: cache and single flight, without a clock, a socket or a loop.

Asked once per credential, however many requests wait, and remembered by the SHA-256 of the credential: the cache holds nothing that could
be used to log in. Here the answer only feeds the flags, so when legacy cannot say, the caller is anonymous.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import orjson

from gateway.policy.properties import LONGEST
from gateway.settings import Identity

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as far as it is known."""

    user_id: str | None = None
    session_id: str | None = None
    claims: Mapping[str, str] = field(default=_NOTHING)
    """What else legacy said of a user, as text: plan, country …"""
    fleeting: bool = field(default=False, compare=False)
    """Nobody whom the flags would meet again: a visitor who was made for this request, and may never show his cookie."""


ANONYMOUS: Final = Caller()
MAX_ANSWER = 64 * 1024
"""Bytes of legacy's answer."""


class Question:
    """What legacy must be asked, by whoever got this from `Callers.lookup`. It ends with `Callers.learned`, whatever happens."""

    __slots__ = ("credential", "key", "waiting")

    def __init__(self, key: bytes, credential: bytes, then: Callable[[Caller], None]) -> None:
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
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._asking: dict[bytes, Question] = {}

    def lookup(self, fields: bytes, then: Callable[[Caller], None], now: float) -> Caller | Question | None:
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

    def learned(self, question: Question, caller: Caller, now: float, *, known: bool) -> None:
        """The question was answered; `known`: by legacy; else it is believed only for a moment."""
        self._asking.pop(question.key, None)
        if len(self._known) >= self._settings.entries:
            del self._known[next(iter(self._known))]  # the oldest: entries live for seconds, so order of age is good enough
        seconds = self._settings.negative_cache if caller.user_id is None else self._settings.cache
        if not known:
            seconds = FAILURE_SECONDS
        self._known[question.key] = (caller, now + seconds)
        for then in question.waiting:
            then(caller)

    def cookie(self, question: Question) -> bytes:
        """The Cookie field's value that asks the question."""
        return self._settings.cookie.encode() + b"=" + question.credential


def understand(status: int, body: bytes, claims: Collection[str] = ()) -> tuple[Caller, bool]:
    """What legacy's answer says: who it is, with those of its `claims`, and whether legacy knew."""
    if status != 200:
        return ANONYMOUS, False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ANONYMOUS, False
    if not isinstance(document, dict):
        return ANONYMOUS, False
    user, session, said = document.get("user_id"), document.get("session_id"), document.get("claims")
    if not document.get("authenticated"):
        user = said = None
    known = told(said, claims) if isinstance(said, dict) else _NOTHING
    return Caller(None if user is None else str(user), None if session is None else str(session), known), True


def told(said: Mapping[str, object], names: Collection[str]) -> Mapping[str, str]:
    """The claims in `said` of these names as flags compare them, which know text only: true is "true", a list is joined with commas.
    Anything else says nothing, and neither does what is longer than LONGEST."""
    known = {}
    for name in names:
        value = said.get(name)
        if isinstance(value, bool):
            known[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            known[name] = str(value)
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            known[name] = ",".join(value)
    return {name: value for name, value in known.items() if len(value) <= LONGEST}
