"""Is this stamp one of the gateway's, for this service, and still good? And who calls by it.

The key says which algorithm it is for, and the token is believed in nothing before its signature holds: so neither `alg: none` nor a public
key taken for a secret comes through (RFC 8725, 3.1). Every doubt is a StampError.
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact

FIELD: Final = "Banyan-Identity"
"""The request field."""
TYPE: Final = "banyan+jwt"
LONGEST: Final = 8 * 1024
"""Characters of a stamp."""
LEEWAY: Final = 5.0
"""Seconds by which two clocks may differ."""
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

Algorithm = Literal["HS256", "ES256", "EdDSA", "RS256"]
ALGORITHMS: Final[frozenset[str]] = frozenset(("HS256", "ES256", "EdDSA", "RS256"))

Code = Literal[
    "missing", "doubled", "oversized", "malformed", "algorithm", "unknown-kid", "signature", "issuer", "audience", "expired", "early",
    "anonymous", "unavailable",
]  # fmt: skip
_SENTENCES: Final[Mapping[Code, str]] = {
    "missing": "The request carries no Banyan-Identity: it did not come through the gateway.",
    "doubled": "The request carries Banyan-Identity more than once.",
    "oversized": "Its Banyan-Identity is too long.",
    "malformed": "Its Banyan-Identity is no stamp.",
    "algorithm": "Its stamp names another algorithm than its key is for.",
    "unknown-kid": "Its stamp is signed with a key that is not known here.",
    "signature": "Its stamp's signature does not hold.",
    "issuer": "Its stamp is another issuer's.",
    "audience": "Its stamp is for another service.",
    "expired": "Its stamp has expired.",
    "early": "Its stamp is from the future: the clocks differ.",
    "anonymous": "Log in first.",
    "unavailable": "The gateway's keys are not known at the moment.",
}


class StampError(Exception):
    """The request is to be refused, with `status`. `code` says why, for logs; str() is a sentence that holds nothing of the stamp."""

    def __init__(self, code: Code) -> None:
        super().__init__(_SENTENCES[code])
        self.code = code
        self.status = 503 if code == "unavailable" else 401


@dataclass(frozen=True, slots=True)
class Stamped:
    """Who is calling, by the gateway's word."""

    user: str | None
    """None: nobody has logged in."""
    session: str | None
    """A name for the session; a visitor's too, if the gateway keeps visitors apart."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """What else is known of the user: [identity] claims."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and the only algorithm that it is for."""

    kid: str
    algorithm: Algorithm
    native: OctKey | ECKey | OKPKey | RSAKey = field(repr=False)


class Keys(Protocol):
    """Where keys are found."""

    def find(self, kid: str) -> Key | None:
        """
        Raises:
            StampError: unavailable: it cannot be known whether there is one.
        """
        ...


class _Registry(JWSRegistry):
    """One algorithm, without joserfc's warning of the name EdDSA (RFC 9864 calls it Ed25519)."""

    def get_alg(self, name: str):  # type: ignore[no-untyped-def] # the model's type is none that joserfc exports
        if not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError(f"Algorithm of {name!r} is not allowed")
        return self.algorithms[name]


_REGISTRIES: Final = {name: _Registry(algorithms=[name]) for name in ALGORITHMS}


def verify(token: str, keys: Keys, audience: str, issuer: str = "banyan", leeway: float = LEEWAY, now: float | None = None) -> Stamped:
    """Who the stamp says is calling. `audience`: this service's name under [upstreams]; `now`: Unix time, by default the clock's.

    Raises:
        StampError: it is not good here, or cannot be checked.
    """
    if not token:
        raise StampError("missing")
    if len(token) > LONGEST:
        raise StampError("oversized")
    if not _COMPACT.fullmatch(token):
        raise StampError("malformed")
    header = _object(token.partition(".")[0])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise StampError("algorithm")
    if header.get("typ") != TYPE or not isinstance(kid, str):
        raise StampError("malformed")
    key = keys.find(kid)
    if key is None:
        raise StampError("unknown-kid")
    if algorithm != key.algorithm:
        raise StampError("algorithm")
    try:
        found = deserialize_compact(token, key.native, registry=_REGISTRIES[key.algorithm])
    except (JoseError, ValueError, TypeError):  # the latter two for header parameters of a wrong shape
        raise StampError("signature") from None
    return _read(_json(found.payload or b""), audience, issuer, leeway, time.time() if now is None else now)


def _read(claims: dict[str, Any], audience: str, issuer: str, leeway: float, now: float) -> Stamped:
    if claims.get("iss") != issuer:
        raise StampError("issuer")
    if claims.get("aud") != audience:
        raise StampError("audience")
    if _number(claims, "exp") + leeway <= now:
        raise StampError("expired")
    if _number(claims, "iat") - leeway > now:
        raise StampError("early")
    user, session, said = claims.get("sub"), claims.get("sid"), claims.get("claims", {})
    if not isinstance(user, str | None) or not isinstance(session, str | None) or user == "" or not isinstance(said, dict):
        raise StampError("malformed")
    if not all(isinstance(value, str) for value in said.values()):
        raise StampError("malformed")
    return Stamped(user, session, said)


def _number(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise StampError("malformed")
    return value


def _object(part: str) -> dict[str, Any]:
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise StampError("malformed") from None
    return _json(data)


def _json(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise StampError("malformed") from None
    if not isinstance(document, dict):
        raise StampError("malformed")
    return document
