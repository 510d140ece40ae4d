"""Signed tokens (JWT, RFC 7519), checked here: whose they are is their issuer's word, and nobody is asked.

What a token's header says of keys (jku, jwk, x5u, x5c) is not looked at: a key is one of ours or none. Its algorithm is that of the key,
and one of the configuration's (RFC 8725, 3.1). joserfc checks signatures; this module chooses keys and reads what was signed, after that.

No token and no part of one stands in an error, in a log or under which something is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import orjson
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact
from joserfc.registry import JWS_HEADER_REGISTRY

from gateway.identity.caller import ANONYMOUS, Caller, refused, unsaid
from gateway.identity.callers import told
from gateway.identity.checked import ASKING
from gateway.identity.credential import LONGEST as LONGEST_TOKEN
from gateway.identity.credential import Credential, CredentialError
from gateway.identity.keyring import FEW, LONGEST_KID, Key, Keyring, from_public, from_secret
from gateway.identity.received import RECEIVED, Received
from gateway.identity.remembered import Remembered
from gateway.policy.admission import Standing
from gateway.policy.properties import LONGEST
from gateway.settings import Config
from gateway.settings.jwt import Jwt

ALGORITHMS: Final = frozenset(("HS256", "RS256", "ES256", "EdDSA"))
MOST_REFUSED: Final = 10_000
"""Refused tokens that are remembered. Apart from the good ones, which somebody who makes up bad ones would otherwise push out."""


class _Registry(JWSRegistry):
    """What joserfc is to take: our algorithms, and any header, since all but two of its fields are ignored."""

    default_header_registry = {"alg": JWS_HEADER_REGISTRY["alg"]}
    max_header_length = LONGEST_TOKEN
    max_payload_length = LONGEST_TOKEN
    max_signature_length = LONGEST_TOKEN

    def get_alg(self, name: str) -> Any:
        # Not its own, which warns for each token of EdDSA that RFC 9864 has found a better name for it.
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)


class Tokens:
    """See the module's docstring. A Checker that asks (gateway/identity/checked.py).

    Raises:
        OSError: a file with a key cannot be read.
        UnfitKeyError: there is no key in it.
    """

    def __init__(self, config: Config, received: Received = RECEIVED) -> None:
        settings = config.identity.jwt
        assert settings is not None  # noqa: S101 - the configuration was found good
        self._identity = config.identity
        self._settings: Jwt = settings
        self._algorithms = frozenset(settings.algorithms)
        self._audiences = settings.audiences
        self._origin = settings.origin
        self._received = received
        self.patience = 2 * settings.jwks_timeout + 1.0  # one question may be under way already, and too early
        self._files = _files(config)
        self._own = own_keys(config)
        self._heard: tuple[Key, ...] = received.keys(self._origin)
        self._ring = Keyring((*self._own, *self._heard))
        self._known = Remembered(config.identity.entries)
        self._refused = Remembered(min(config.identity.entries, MOST_REFUSED))

    def same(self, config: Config) -> bool:
        """Would another one for this configuration do the same?"""
        return config.identity.lookup == self._identity.lookup and _files(config) == self._files

    def caller(self, credential: Credential, fields: bytes, now: float) -> Caller:
        """See Checker. REFUSED with one of doubled, oversized, malformed, algorithm, unknown-key, signature, expired, not-yet, issuer,
        audience, no-user; UNSAID with no-keys or asking."""
        try:
            cookie, token = credential.read(fields)
        except CredentialError as error:
            return refused(error.why)
        if not cookie and not token:
            return ANONYMOUS
        if cookie and token and cookie != token:
            return refused("doubled")
        heard = self._received.keys(self._origin)
        if heard is not self._heard:
            # What was found out by keys that are gone is forgotten with them; and a token whose key was missing gets another chance.
            self._heard = heard
            self._ring = Keyring((*self._own, *heard))
            self._known.clear()
            self._refused.clear()
        key = credential.key(cookie, token)
        known = self._known.get(key, now) or self._refused.get(key, now)
        if known is not None:
            return known
        caller = self._check(token or cookie, now)
        if caller.standing is Standing.KNOWN:
            assert caller.expires is not None  # noqa: S101 - no token is good without
            self._known.keep(key, caller, min(now + self._identity.cache, caller.expires))
        elif caller.standing is Standing.REFUSED:
            self._refused.keep(key, caller, now + self._identity.negative_cache)
        return caller

    def wait(self, then: Callable[[], None]) -> None:
        """See Asking."""
        self._received.answered(self._origin, then)

    def _check(self, token: bytes, now: float) -> Caller:
        try:
            signed = extract_compact(token, registry=_REGISTRY)
            header = signed.headers()
            algorithm, kid = header.get("alg"), header.get("kid")
            # RFC 7515, 4.1.11: what is critical and not understood ends it; and nothing critical is understood, b64 (RFC 7797) included.
            if "crit" in header or "b64" in header:
                return refused("malformed")
        except Exception:  # bytes from anybody: they may nest, overflow and misspell in ways that nobody has listed
            return refused("malformed")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            return refused("algorithm")
        if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
            return refused("malformed")
        if not self._ring.size:
            if self._origin:
                self._received.asks(self._origin, now)
            return unsaid("no-keys")
        why = self._unsigned(signed, algorithm, kid)
        if why:
            if why == "unknown-key" and self._origin and self._received.asks(self._origin, now):
                return unsaid(ASKING)
            return refused(why)
        return self._read(signed.payload, now)

    def _unsigned(self, signed: CompactSignature, algorithm: str, kid: str | None) -> str:
        """Why it is not signed by a key of ours; "" if it is."""
        ring = self._ring
        named = ring.named(kid) if kid is not None else None
        if named is not None:
            if named.algorithm != algorithm:
                return "algorithm"
            return "" if _signed(signed, named) else "signature"
        keys = ring.of(algorithm) if kid is None else ring.unnamed(algorithm)
        few = len(keys) <= FEW
        if few and any(_signed(signed, key) for key in keys):
            return ""
        # One of a server's new keys, perhaps, which it does not name. Of keys that were written down, there are no others.
        return "signature" if kid is None and keys and few and not self._origin else "unknown-key"

    def _read(self, payload: bytes, now: float) -> Caller:
        try:
            claims = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return refused("malformed")
        if not isinstance(claims, dict):
            return refused("malformed")
        settings = self._settings
        leeway = settings.leeway
        expires, begins, issued = (_date(claims.get(name)) for name in ("exp", "nbf", "iat"))
        if math.isnan(expires) or expires == math.inf or math.isnan(begins) or math.isnan(issued):
            return refused("malformed")
        if now >= expires + leeway:
            return refused("expired")
        if (begins != math.inf and now < begins - leeway) or (issued != math.inf and now < issued - leeway):
            return refused("not-yet")
        if settings.issuer is not None and claims.get("iss") != settings.issuer:
            return refused("issuer")
        if not self._for_us(claims.get("aud")):
            return refused("audience")
        user = _text(claims.get(settings.user_claim))
        if user is None:
            return refused("no-user")
        session = _text(claims.get(settings.session_claim)) if settings.session_claim is not None else None
        known = told(claims, self._identity.claims)
        return Caller(user, session, known, standing=Standing.KNOWN, expires=expires + leeway)

    def _for_us(self, audience: object) -> bool:
        """RFC 7519, 4.1.3: who is none of those that a token is for must refuse it."""
        if audience is None:
            return not self._audiences
        if isinstance(audience, str):
            return audience in self._audiences
        return isinstance(audience, list) and any(isinstance(each, str) and each in self._audiences for each in audience)


def own_keys(config: Config) -> list[Key]:
    """The keys that the configuration names.

    Raises:
        OSError: a file cannot be read.
        UnfitKeyError: there is no key in it.
    """
    found = []
    for each in config.identity.jwt.keys if config.identity.jwt is not None else ():
        if each.algorithm == "HS256":
            found.append(from_secret(each.secret.get_secret_value(), each.kid))
        else:
            found.append(from_public(config.content(each.file) if each.file else each.public_key, each.algorithm, each.kid))
    return found


def _files(config: Config) -> list[bytes]:
    return [config.content(each.file) for each in (config.identity.jwt.keys if config.identity.jwt is not None else ()) if each.file]


def _signed(signed: CompactSignature, key: Key) -> bool:
    try:
        return validate_compact(signed, key.material, registry=_REGISTRY)
    except Exception:  # a signature that makes the library stumble is none
        return False


def _date(value: object) -> float:
    """A NumericDate (RFC 7519, 2) in Unix time; inf where there is none; nan for what is none."""
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


def _text(value: object) -> str | None:
    """An id as text; None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable() else None
