"""Sessions of Django's signed_cookies engine, checked here: no call to legacy, and no Django.

The format is that of django.core.signing (Django 6.1): `payload:timestamp:signature`, where the signature is an HMAC-SHA-256 over the two
others under a key made of the salt and SECRET_KEY, the timestamp is in base 62, and the payload is JSON in base64, behind a leading dot if
it is compressed too. What Django refuses is refused here. Three things are refused that Django lets pass: a session that is older than
`_session_expiry`, its own word, allows, for which Django relies on the browser; one that unfolds to more than LONGEST_SESSION; and one that
says of its user what Django's own login never wrote.

What needs the user's row cannot be checked here, and is not: whether the session's hash of the password is still that of the user, and
whether the user is still there and active.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import re
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeIs

from gateway.identity.caller import ANONYMOUS, Caller, refused
from gateway.identity.callers import told
from gateway.identity.credential import Credential, CredentialError
from gateway.identity.remembered import Remembered
from gateway.policy.admission import Standing
from gateway.policy.properties import LONGEST
from gateway.settings.django_session import DjangoSession

LONGEST_SESSION: Final = 64 * 1024
"""Bytes of a session once it is decompressed: a cookie of 8 KiB could hold 8 MiB, which take long to read."""
_BASE62: Final = {digit: value for value, digit in enumerate(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")}
_TIMESTAMP: Final = re.compile(rb"-?[0-9A-Za-z]{1,10}")  # ten digits are 10 ** 17 s; more of them are no time at all
_WEST: Final = timezone(timedelta(hours=-12))


class SessionError(Exception):
    """The cookie holds no session that counts. `why` is a code, as Caller.why has it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Sessions:
    """The Checker of source = "django-session". `entries`: sessions that are remembered at the most."""

    def __init__(self, settings: DjangoSession, claims: list[str], entries: int) -> None:
        self.terms: Final = (settings, claims, entries)
        """What they say depends on these alone."""
        self._max_age = settings.max_age
        self._claims = claims
        keys = [key.get_secret_value().encode() for key in (settings.secret_key, *settings.secret_key_fallbacks)]
        salt = settings.salt.encode()
        # django.utils.crypto.salted_hmac; "signer" is what Signer.signature adds to its salt.
        self._keys = [hashlib.sha256(salt + b"signer" + key).digest() for key in keys]
        self._names = hashlib.sha256(b"banyan session name " + keys[0]).digest()
        self._known = Remembered(entries)

    def caller(self, credential: Credential, fields: bytes, now: float) -> Caller:
        """As Checker has it. Only what was found good is remembered: whoever makes cookies up pushes nobody out."""
        try:
            cookie, _ = credential.read(fields)
        except CredentialError as error:
            return refused(error.why)
        if not cookie:
            return ANONYMOUS
        key = credential.key(cookie, b"")
        known = self._known.get(key, now)
        if known is not None:
            return known
        try:
            session, expires = self.read(cookie, now)
            caller = self._who(session, expires)
        except SessionError as error:
            return refused(error.why)
        self._known.keep(key, caller, expires)
        return caller

    def read(self, cookie: bytes, now: float) -> tuple[dict[str, Any], float]:
        """What the session in a cookie's value says, and the Unix time at which it ends.

        Raises:
            SessionError: signature, expired, malformed, oversized.
        """
        signed, colon, signature = _unquoted(cookie).rpartition(b":")
        if not colon or not self._signed(signed, signature):
            raise SessionError("signature")
        payload, colon, stamp = signed.rpartition(b":")
        if not colon or _TIMESTAMP.fullmatch(stamp) is None:
            raise SessionError("malformed")
        made = _seconds(stamp)
        ends = made + self._max_age
        if now > ends:
            raise SessionError("expired")
        session = _session(payload)
        ends = min(ends, _own_end(session.get("_session_expiry"), made))
        if now > ends:
            raise SessionError("expired")
        return session, ends

    def _signed(self, signed: bytes, signature: bytes) -> bool:
        for key in self._keys:
            expected = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")
            if hmac.compare_digest(expected, signature):
                return True
        return False

    def _who(self, session: Mapping[str, Any], expires: float) -> Caller:
        if "_auth_user_id" not in session:
            return Caller(expires=expires)  # a visitor's
        user, backend, password = (session.get(name) for name in ("_auth_user_id", "_auth_user_backend", "_auth_user_hash"))
        if not (_said(user) and _said(backend) and _said(password)) or len(user) > LONGEST or not user.isprintable():
            raise SessionError("malformed")
        # The cookie changes whenever the session is saved, and nothing in it names the session. These two stay until the password changes.
        name = hmac.digest(self._names, f"{user}\0{password}".encode(errors="surrogatepass"), "sha256").hex()[:32]
        return Caller(user, name, told(session, self._claims), standing=Standing.KNOWN, expires=expires)


def _said(value: object) -> TypeIs[str]:
    return isinstance(value, str) and value != ""


def _unquoted(cookie: bytes) -> bytes:
    """A value in quotes is that between them (RFC 6265, 4.1.1, as Django reads it). No session has a character that needs a backslash."""
    return cookie[1:-1] if len(cookie) > 1 and cookie[:1] == cookie[-1:] == b'"' else cookie


def _seconds(stamp: bytes) -> int:
    total = 0
    for digit in stamp.removeprefix(b"-"):
        total = total * 62 + _BASE62[digit]
    return -total if stamp[:1] == b"-" else total


def _session(payload: bytes) -> dict[str, Any]:
    """What the key's holder has signed. json, not a faster one: what Django can read must not be refused here for a half character."""
    compressed = payload[:1] == b"."
    if compressed:
        payload = payload[1:]
    try:
        data = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        if compressed:
            data = _decompressed(data)
        session = json.loads(data.decode("latin-1"))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise SessionError("malformed") from None
    if not isinstance(session, dict):
        raise SessionError("malformed")
    return session


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data, LONGEST_SESSION + 1)
    if len(plain) > LONGEST_SESSION:
        raise SessionError("oversized")
    if not stream.eof:
        raise SessionError("malformed")
    return plain


def _own_end(expiry: object, made: int) -> float:
    """The Unix time that a session's `_session_expiry` means: seconds since it was saved, or a moment. None and 0 mean no time of its own.

    A moment without a zone (USE_TZ = False) is read as the latest that it can mean: it never ends a session too soon.
    """
    if not expiry:
        return math.inf
    if isinstance(expiry, str):
        try:
            moment = datetime.fromisoformat(expiry)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=_WEST)).timestamp()
        except (ValueError, OverflowError):
            raise SessionError("malformed") from None
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        raise SessionError("malformed")
    try:
        end = made + float(expiry)
    except OverflowError:
        raise SessionError("malformed") from None
    if math.isnan(end):
        raise SessionError("malformed")
    return end
