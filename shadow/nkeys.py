"""How a client proves to NATS who it is without a password: an NKey, alone or with a user's JWT from a credentials file.

An NKey is an Ed25519 key in NATS' own spelling: base32 of one byte that says what it is, the key, and a checksum (CRC-16/XMODEM, the lower
byte first); of a seed it is two bytes (nats-io/nkeys; RFC 4648, 6, without padding). The server sends a nonce, and gets it signed. nats-py
would take a package of its own for this; cryptography has all that it takes.

Files are read for each connection, so that one that is replaced is gone by. Nothing of what they hold is ever in an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_LARGEST: Final = 64 * 1024
"""Bytes of a file."""
_SPELT = re.compile(r"S[A-Z2-7]{57}")
_BLOCK = r"-+BEGIN {0}-+\s+(\S+)\s+-+END {0}-+"
_JWT = re.compile(_BLOCK.format("NATS USER JWT"))
_KEY = re.compile(_BLOCK.format("USER NKEY SEED"))


class NKeyError(Exception):
    """The file does not hold what it should: which, and what is missing."""


@dataclass(frozen=True, slots=True)
class NKey:
    """A user's key."""

    public: str
    jwt: str
    """'' for an NKey that the server's own configuration knows."""
    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"NKey({self.public})"

    def sign(self, nonce: str) -> bytes:
        """As CONNECT has it."""
        return base64.b64encode(self._key.sign(nonce.encode()))

    def token(self) -> bytes:
        """The user's JWT."""
        return self.jwt.encode()


def from_credentials(path: Path) -> NKey:
    """What a credentials file holds, as `nsc generate creds` writes it.

    Raises:
        NKeyError: it holds no user's JWT and seed.
        OSError: it cannot be read.
    """
    text = _text(path)
    jwt, seed = _JWT.search(text), _KEY.search(text)
    if jwt is None or seed is None:
        raise NKeyError(f"{path} holds no credentials of NATS: a user's JWT and its NKey seed, each between its BEGIN and END")
    public, key = _read(seed[1], path)
    return NKey(public, jwt[1], key)


def from_seed(path: Path) -> NKey:
    """What a file holds that has a user's seed and nothing else.

    Raises:
        NKeyError: it does not.
        OSError: it cannot be read.
    """
    public, key = _read(_text(path).strip(), path)
    return NKey(public, "", key)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LARGEST).decode("ascii", "replace")


def _read(spelt: str, path: Path) -> tuple[str, Ed25519PrivateKey]:
    what = NKeyError(f"{path} holds no seed of a user's NKey, which begins with SU and has 58 characters")
    if not _SPELT.fullmatch(spelt):
        raise what
    raw = base64.b32decode(spelt + "=" * (-len(spelt) % 8))
    body, checksum = raw[:-2], raw[-2:]
    if binascii.crc_hqx(body, 0) != int.from_bytes(checksum, "little") or body[0] & 0xF8 != _SEED:
        raise what
    if (body[0] & 7) << 5 | (body[1] & 0xF8) >> 3 != _USER:
        raise what
    key = Ed25519PrivateKey.from_private_bytes(body[2:])
    return spell(bytes((_USER,)), key.public_key().public_bytes_raw()), key


def spell(prefix: bytes, key: bytes) -> str:
    """A key in NATS' spelling."""
    body = prefix + key
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")
