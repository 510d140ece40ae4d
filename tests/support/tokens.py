"""Tokens as an issuer signs them, and as somebody forges them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

AUDIENCE = "shop"
ISSUER = "https://login.test"
SECRET = "a secret for tests alone, of 40 bytes!!!"

AnyKey = RSAKey | ECKey | OKPKey | OctKey


LASTING = 86_400
"""Seconds. Some are made when tests are collected, and the last tests run half an hour later."""


@cache
def key(algorithm: str, number: int = 0) -> AnyKey:
    """A key pair of its own for each number; made once."""
    if algorithm == "RS256":
        return RSAKey.generate_key(2048)
    if algorithm == "ES256":
        return ECKey.generate_key("P-256")
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return OctKey.import_key(SECRET if number == 0 else f"{SECRET} number {number}")


@cache
def weak() -> RSAKey:
    """One that nobody should use: the library warns of it."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    numbers = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - it is there to be refused
    return RSAKey(numbers, numbers)


def pem(algorithm: str, number: int = 0) -> str:
    """The public half."""
    found = key(algorithm, number)
    assert not isinstance(found, OctKey)
    return found.as_pem().decode()


def jwk(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """The public half, with whatever else a server says of it."""
    return {**key(algorithm, number).as_dict(private=False), **more}


def claims(**more: Any) -> dict[str, Any]:
    """What a good token says, with changes; None leaves one out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "iat": now, "exp": now + LASTING, **more}
    return {name: value for name, value in said.items() if value is not None}


def token(algorithm: str = "RS256", number: int = 0, *, kid: str | None = "a", header: dict[str, Any] | None = None, **said: Any) -> str:
    """A token, rightly signed. `said`: changes to its claims."""
    return signed(json.dumps(claims(**said)).encode(), algorithm, number, kid=kid, header=header)


def signed(
    payload: bytes, algorithm: str = "RS256", number: int = 0, *, kid: str | None = "a", header: dict[str, Any] | None = None
) -> str:
    """Anything at all, rightly signed."""
    named = {} if kid is None else {"kid": kid}
    fields = {"alg": algorithm, "typ": "JWT", **named, **(header or {})}
    body = b64(json.dumps(fields).encode()) + "." + b64(payload)
    model = jws.JWSRegistry.algorithms[algorithm]
    return body + "." + b64(model.sign(body.encode(), key(algorithm, number)))


def unsigned(header: dict[str, Any], **said: Any) -> str:
    """With nothing behind the second dot."""
    return b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims(**said)).encode()) + "."


def confused(secret: bytes, kid: str | None = "a", **said: Any) -> str:
    """HS256 by a secret that is none: a public key, as everybody has it."""
    named = {} if kid is None else {"kid": kid}
    body = unsigned({"alg": "HS256", **named}, **said)[:-1]
    return body + "." + b64(hmac.new(secret, body.encode(), hashlib.sha256).digest())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
