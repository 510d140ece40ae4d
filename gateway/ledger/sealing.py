"""Digests of requests, and answers that only the same request opens.

Neither a request's body nor an answer is in the ledger as it was. Of the request there is a digest, by which a repeat is known. The answer
has to be given again, so it is kept encrypted (AES-256-GCM) by a key that is made of the request itself and is written nowhere: whoever
repeats the request brings it along, and whoever has the ledger alone has neither. Set-Cookie is not kept at all (edge.md 61).
"""

from __future__ import annotations

import os
from hashlib import sha256

_NONCE = 12
"""Bytes (NIST SP 800-38D, 8.2.2)."""


def scope(user: str | None) -> str:
    """Whose keys these are: another user with the same key has another line. Callers of whom nothing is known share one scope."""
    return "" if user is None else sha256(b"user\0" + user.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def secret(whose: str, key: str, method: str, target: bytes, body: bytes) -> bytes:
    """What only this request knows; 32 bytes. It is kept nowhere: digest and sealing key are made of it."""
    found = sha256(b"banyan ledger 1\0")
    for part in (whose.encode(), key.encode(), method.encode(), target):
        found.update(len(part).to_bytes(4, "big") + part)
    found.update(body)
    return found.digest()


def digest(known: bytes) -> bytes:
    """By which the same request is known again; 32 bytes."""
    return sha256(b"digest\0" + known).digest()


def seal(known: bytes, answer: bytes) -> bytes:
    """`answer`, for whoever brings the same request."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # takes its time, and only where there is a ledger

    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(_key(known)).encrypt(nonce, answer, None)


def opened(known: bytes, sealed: bytes) -> bytes | None:
    """What `seal` was given; None: it was not sealed by this request, or is damaged."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(_key(known)).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    except (InvalidTag, ValueError):
        return None


def _key(known: bytes) -> bytes:
    return sha256(b"answer\0" + known).digest()
