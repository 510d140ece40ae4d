"""The keys that stamps are signed with: secrets for HS256, private keys as PEM for ES256, EdDSA and RS256.

A key's algorithm is its own: whoever verifies goes by it, never by what a token says of itself (RFC 8725, 3.1). Nothing here shows a key:
no error, no repr, no id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact

Algorithm = Literal["HS256", "ES256", "EdDSA", "RS256"]

TYPE: Final = "banyan+jwt"
"""The token's `typ`: no other token that the same key may have signed passes for a stamp (RFC 8725, 3.11)."""
SHORTEST_SECRET: Final = 32
"""Bytes: as many as the hash has (RFC 7518, 3.2)."""
SHORTEST_RSA: Final = 2048
"""Bits (RFC 7518, 3.3)."""
_KINDS: Final = "a private key as PEM: EC on P-256, Ed25519, or RSA"


class _Registry(JWSRegistry):
    """As joserfc's, without its warning of the name EdDSA, which RFC 9864 calls Ed25519: the new name is one that hardly any library of
    other services knows."""

    def get_alg(self, name: str):  # type: ignore[no-untyped-def] # the model's type is none that joserfc exports
        if not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError(f"Algorithm of {name!r} is not allowed")
        return self.algorithms[name]


class StampKey:
    """One of them. `kid`: what it is called in tokens and in the key set."""

    __slots__ = ("_header", "_key", "_registry", "algorithm", "kid", "public")

    def __init__(self, key: OctKey | ECKey | OKPKey | RSAKey, algorithm: Algorithm, kid: str) -> None:
        self._key = key
        self._registry = _Registry(algorithms=[algorithm])
        self._header = {"alg": algorithm, "kid": kid, "typ": TYPE}
        self.algorithm = algorithm
        self.kid = kid
        self.public: Mapping[str, object] | None = None
        """Its public half as a JWK (RFC 7517); None for a secret, which has none."""
        if algorithm != "HS256":
            self.public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": algorithm}

    def __repr__(self) -> str:
        return f"<{self.algorithm} key {self.kid}>"

    def sign(self, claims: Mapping[str, object]) -> bytes:
        """The claims as a signed token (JWS compact). Measured: HS256 0.03 ms, EdDSA 0.07, ES256 0.1, RS256 with 2,048 bits 0.4."""
        return jwt.encode(dict(self._header), dict(claims), self._key, registry=self._registry, default_type=None).encode()

    def verified(self, token: bytes) -> dict[str, object] | None:
        """The claims of a stamp that this key has signed; None: it has not. When it ends is for the caller to look at."""
        try:
            found = deserialize_compact(token, self._key, registry=self._registry)
            header, claims = found.headers(), json.loads(found.payload or b"")
        except (JoseError, ValueError, TypeError, RecursionError):  # whatever a token of somebody else's may hold
            return None
        # The registry lets in no algorithm but the key's (RFC 8725, 3.1); and no other token that it may have signed is a stamp.
        return claims if header.get("typ") == TYPE and isinstance(claims, dict) else None


def read_key(text: str | bytes, algorithm: Algorithm | Literal[""] = "") -> StampKey:
    """The key in `text`: PEM, or a secret. `algorithm`: the one that it must be for; "" takes the one that it is for.

    Raises:
        ValueError: it is no key that stamps can be signed with. The message holds nothing of it.
    """
    key = _read(text.encode() if isinstance(text, str) else text)
    if algorithm and key.algorithm != algorithm:
        raise ValueError(f"is a key for {key.algorithm}, and algorithm says {algorithm}; correct one of them")
    return key


@lru_cache(
    maxsize=32
)  # to load an RSA key takes 0.1 s, for it is examined, and each is asked for by several: when it is judged, and to sign
def _read(data: bytes) -> StampKey:
    return _private(data) if b"-----BEGIN" in data else _secret(data)


def key_id(token: bytes) -> str:
    """What a token calls the key that has signed it; "" where it says nothing that could be read. Nothing is believed yet."""
    part = token.partition(b".")[0]
    try:
        header = json.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return ""
    kid = header.get("kid") if isinstance(header, dict) else None
    return kid if isinstance(kid, str) else ""


def secret_kid(secret: bytes) -> str:
    """What a secret is called: a keyed hash, which tells no more of it than any token's signature does."""
    return urlsafe_b64encode(hmac.digest(secret, b"banyan stamp key", hashlib.sha256)[:12]).decode()


def _secret(data: bytes) -> StampKey:
    if len(data) < SHORTEST_SECRET:
        raise ValueError(
            f"a secret for HS256 has at least {SHORTEST_SECRET} characters, and random ones: openssl rand -hex 32 makes a good one. A file "
            "with a private key is named by key_file"
        )
    if not data.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in data):
        raise ValueError("a secret has no spaces, line ends or characters beyond ASCII: services could not be told it by BANYAN_STAMP_KEYS")
    return StampKey(OctKey.import_key(data), "HS256", secret_kid(data))


def _private(data: bytes) -> StampKey:
    try:
        native = load_pem_private_key(data.strip(), password=None)
    except TypeError:
        raise ValueError("is encrypted, and there is nobody to ask for its password; write it without one") from None
    except Exception:  # cryptography's own errors may say what they have read
        what = "is a public key or a certificate; stamps are signed with the private key" if _is_public(data) else "cannot be read"
        raise ValueError(f"{what}; expected {_KINDS}, not encrypted") from None
    if isinstance(native, EllipticCurvePrivateKey):
        if not isinstance(native.curve, SECP256R1):
            raise ValueError(  # noqa: TRY004 - of what was written, not of how this was called
                "is on another curve than P-256, which ES256 needs: openssl ecparam -genkey -name prime256v1 -noout makes one"
            )
        key: ECKey | OKPKey | RSAKey = ECKey(native, data)
        algorithm: Algorithm = "ES256"
    elif isinstance(native, Ed25519PrivateKey):
        key, algorithm = OKPKey(native, data), "EdDSA"
    elif isinstance(native, RSAPrivateKey):
        if native.key_size < SHORTEST_RSA:
            raise ValueError(f"has {native.key_size} bits; RS256 needs {SHORTEST_RSA} or more")
        key, algorithm = RSAKey(native, data), "RS256"
    else:
        raise ValueError(f"is of another kind; expected {_KINDS}")  # noqa: TRY004 - as above
    return StampKey(key, algorithm, key.thumbprint())


def _is_public(data: bytes) -> bool:
    return b"PUBLIC KEY-----" in data or b"CERTIFICATE-----" in data
