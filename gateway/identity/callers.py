"""Whose credentials legacy was asked about, and who waits for an answer: cache and single flight, without a clock, a socket or a loop.

Asked once per credential, however many requests wait. While legacy cannot say, the last answer is believed for as long as `grace` allows;
after that nobody can say who it is, which opens nothing. What a logout ends is forgotten, also by a question that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

import orjson

from gateway.identity.caller import ANONYMOUS, NOTHING, Caller, refused, unsaid
from gateway.identity.credential import Credential, CredentialError
from gateway.identity.remembered import Remembered
from gateway.policy.admission import Standing
from gateway.policy.properties import LONGEST
from gateway.settings import Identity

MAX_ANSWER = 64 * 1024
"""Bytes of legacy's answer."""


class Question:
    """What legacy must be asked, by whoever got this from `Callers.lookup`. It ends with `Callers.learned`, whatever happens."""

    __slots__ = ("cookie", "cookie_key", "credential", "key", "meanwhile", "outdated", "token", "waiting")

    def __init__(self, credential: Credential, key: bytes, cookie: bytes, token: bytes, then: Callable[[Caller], None]) -> None:
        self.credential = credential
        self.key = key
        self.cookie = cookie
        self.token = token
        self.cookie_key = credential.cookie_key(cookie) if cookie else b""
        self.waiting = [then]
        self.meanwhile: Caller | None = None
        """Who it was lately: believed at once, since legacy has not answered others either. Then `waiting` is empty."""
        self.outdated = False
        """The credential was ended while legacy was asked: the answer may be older than that, and is not remembered."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields that ask it: the credential as its client has sent it."""
        found = []
        if self.cookie:
            found.append((b"Cookie", self.credential.cookie.encode() + b"=" + self.cookie))
        if self.token:
            found.append((b"Authorization", self.credential.scheme.encode() + b" " + self.token))
        return tuple(found)


FAILURE_SECONDS = 0.5
"""How long a question without an answer is not asked again: else each request of a client would wait for the timeout while legacy hangs."""


MOST_ASKED: Final = 1000
"""Questions under way. Whoever makes up a cookie for each request makes legacy answer each: beyond this many it is not asked."""
MOST_OF_ONE_COOKIE: Final = 16
"""Credentials with the same cookie that are remembered: it may come with several tokens, and be looked at by several routes."""


class Callers:
    """See the module's docstring. `now` is a monotonic clock in seconds."""

    def __init__(self, settings: Identity) -> None:
        self._settings = settings
        self._known = Remembered(settings.entries)
        # Apart: cookies that somebody makes up push out each other, and nobody who is logged in.
        self._strangers = Remembered(settings.entries)
        self._asking: dict[bytes, Question] = {}
        # By Credential.cookie_key: the keys of all credentials of users with that cookie. A logout ends all of them.
        self._of_cookie: dict[bytes, list[bytes]] = {}
        self._away = False
        """The last question had no answer: whom legacy knew lately does not wait for the next one."""
        self.outcomes: dict[str, int] = {}
        """Questions by what came of them, since somebody took these counts: answered, or why not."""

    def recall(self, credential: Credential, fields: bytes, now: float) -> Caller | None:
        """The caller, if he is remembered, or nobody. None: `lookup` says. Whoever asks this first need not have a `then` at hand."""
        try:
            cookie, token = credential.read(fields)
        except CredentialError:
            return None
        if not cookie and not token:
            return ANONYMOUS
        key = credential.key(cookie, token)
        known = self._known.get(key, now)
        return known if known is not None else self._strangers.get(key, now)

    def lookup(self, credential: Credential, fields: bytes, then: Callable[[Caller], None], now: float) -> Caller | Question | None:
        """The caller; or a question that must be asked now; or None. In both latter cases `then` is called once it is known, but where the
        question has a `meanwhile`: that is the caller.

        `fields` are a head's field lines, each with its CRLF before it.
        """
        try:
            cookie, token = credential.read(fields)
        except CredentialError as error:
            return refused(error.why)
        if not cookie and not token:
            return ANONYMOUS
        key = credential.key(cookie, token)
        known = self._known.get(key, now) or self._strangers.get(key, now)
        if known is not None:
            return known
        before = self._known.lately(key, now) if self._away else None
        question = self._asking.get(key)
        if question is not None:
            if before is not None:
                return before[0]
            question.waiting.append(then)
            return None
        if not cookie.isascii() or b"\\" in cookie:
            # Django reads such a one as another (quoted text, white space beyond ASCII): it would outlive that one's logout.
            return refused("malformed")
        if len(self._asking) >= MOST_ASKED:
            self._count("busy")
            lately = self._known.lately(key, now)
            return unsaid("busy") if lately is None else lately[0]
        question = self._asking[key] = Question(credential, key, cookie, token, then)
        if before is not None:
            question.meanwhile = before[0]
            question.waiting.clear()
        return question

    def learned(self, question: Question, caller: Caller, now: float, *, known: bool, lifetime: float | None = None) -> None:
        """The question was answered. `known`: by legacy; else what was known before is believed, or nothing. `lifetime`: for how many
        seconds the credential is good, by legacy's word."""
        if self._asking.get(question.key) is question:
            del self._asking[question.key]
        settings = self._settings
        self._count("answered" if known else caller.why)
        self._away = not known
        if question.outdated and caller.cookies:
            caller = replace(caller, cookies=())  # renewed before it was ended: it would take the place of what came after it
        if known:
            positive = caller.standing is Standing.KNOWN
            seconds = settings.cache if positive else settings.negative_cache
            grace = settings.grace if positive else 0.0
            if lifetime is not None:
                seconds, grace = min(seconds, lifetime), min(grace, max(0.0, lifetime - seconds))
            until, kept = now + seconds, replace(caller, cookies=())
        else:
            before = None if question.outdated else self._known.lately(question.key, now)
            until, grace = now + FAILURE_SECONDS, 0.0
            if before is not None:
                caller, end = before
                until, grace = min(until, end), max(0.0, end - until)
            kept = caller
        if not question.outdated:
            self._keep(question, kept, until, grace)
        for then in question.waiting:
            then(caller)

    def drop(self, cookie_key: bytes) -> None:
        """The cookie with this key (Credential.cookie_key) was ended: what is known by it is forgotten."""
        for key in self._of_cookie.pop(cookie_key, ()):
            self._known.drop(key)
        for key in [key for key, asked in self._asking.items() if asked.cookie_key == cookie_key]:
            self._asking.pop(key).outdated = True

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _note(self, cookie_key: bytes, key: bytes) -> None:
        """Remembers that `key` is of that cookie, as the youngest. What is forgotten here could not be ended any more: all of it is."""
        of_cookie = self._of_cookie
        keys = of_cookie.pop(cookie_key, None) or []
        if key not in keys:
            keys.append(key)
            if len(keys) > MOST_OF_ONE_COOKIE:
                self._known.drop(keys.pop(0))
        while len(of_cookie) >= self._settings.entries:
            self.drop(next(iter(of_cookie)))
        of_cookie[cookie_key] = keys

    def _keep(self, question: Question, caller: Caller, until: float, grace: float) -> None:
        if caller.standing is Standing.KNOWN:
            self._strangers.drop(question.key)
            if question.cookie_key:
                self._note(question.cookie_key, question.key)
            self._known.keep(question.key, caller, until, grace)
        else:
            self._known.drop(question.key)
            self._strangers.keep(question.key, caller, until)


Understood = tuple[Caller, bool, float | None]
"""Who it is; whether legacy knew; and for how many seconds the credential is good, if it says that."""


SOON: Final = 600.0
"""Seconds. When a credential ends later than that is no matter to a stamp, whose longest life this is; and a session that slides ends at
another time in each answer, which would make each answer's stamp another one."""


def understand(status: int, body: bytes, claims: Collection[str] = (), cookies: tuple[bytes, ...] = (), *, wall: float) -> Understood:
    """What legacy's answer says of a user, with those of its `claims`. `cookies`: the values of Set-Cookie that renew the credential.
    `wall`: Unix time."""
    if status in (401, 403):
        return refused("by-legacy"), True, None
    if status != 200:
        return unsaid(f"status-{status}"), False, None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return unsaid("not-json"), False, None
    if not isinstance(document, dict) or not isinstance(document.get("authenticated"), bool):
        return unsaid("not-an-identity"), False, None
    user, session, said = document.get("user_id"), document.get("session_id"), document.get("claims")
    if not document["authenticated"]:
        return Caller(None, None if session is None else str(session), cookies=cookies), True, None
    if not isinstance(user, str | int) or isinstance(user, bool) or user == "":
        return unsaid("no-user-id"), False, None
    known = told(said, claims) if isinstance(said, dict) else NOTHING
    left = document.get("expires_in")
    lifetime = float(left) if isinstance(left, int | float) and not isinstance(left, bool) and left > 0 else None
    expires = wall + lifetime if lifetime is not None and lifetime < SOON else None
    name = None if session is None else str(session)
    return Caller(str(user), name, known, standing=Standing.KNOWN, expires=expires, cookies=cookies), True, lifetime


def renewals(fields: bytes, cookie: str) -> tuple[bytes, ...]:
    """The values of Set-Cookie among an answer's lines, each with its CRLF before it, that set the cookie of this name."""
    name = cookie.encode() + b"="
    if not cookie or name not in fields:
        return ()
    found = []
    for line in fields.split(b"\r\n"):
        field, _, value = line.partition(b":")
        value = value.strip(b" \t")
        if field.lower() == b"set-cookie" and value.startswith(name):
            found.append(value)
    return tuple(found)


def ended(credential: Credential, request: bytes, answer: bytes) -> bytes | None:
    """The cookie_key of a credential's cookie among a request's lines, if the answer with these lines takes its value out of use: by
    clearing it, or by another in its place, as logging out, logging in and a new password do. `credential`: one without a scheme."""
    set_anew = renewals(answer, credential.cookie)
    if not set_anew:
        return None
    try:
        cookie, _ = credential.read(request)
    except CredentialError:
        return None  # of such a one nothing is remembered
    same = credential.cookie.encode() + b"=" + cookie
    if not cookie or all(value.partition(b";")[0].strip(b" \t") == same for value in set_anew):
        return None
    return credential.cookie_key(cookie)


def told(said: Mapping[str, object], names: Collection[str]) -> Mapping[str, str]:
    """The claims in `said` of these names as flags compare them, which know text only: true is "true", a list is joined with commas.
    Anything else says nothing, and neither does what is longer than LONGEST, or is no text: half a surrogate pair, which JSON can say and
    nobody can sign or send."""
    known = {}
    for name in names:
        value = said.get(name)
        if isinstance(value, bool):
            known[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            known[name] = str(value)
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            known[name] = ",".join(value)
    return {name: value for name, value in known.items() if len(value) <= LONGEST and (value.isascii() or _is_text(value))}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
