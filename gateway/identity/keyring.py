"""The keys that tokens are checked with: by name, and each for one algorithm.

So what a token's header says chooses among keys that we have, and never what is done with one: no public key is ever a secret (HS/RS
confusion), and "none" is nobody's algorithm. Where keys come from is others' matter (gateway/jwks.py, the configuration); nothing here
reads a file or asks anybody. No error and no repr holds what a key consists of.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

TYPES: Final[Mapping[str, tuple[str, str]]] = {"RS256": ("RSA", ""), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
"""What a public key must be for an algorithm: its type and its curve (RFC 7518, RFC 8037)."""
PUBLIC: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""The members that a public key of each type consists of. No others are taken from anybody."""
PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
SHORTEST_SECRET: Final = 32
"""Bytes: as many as the hash has (RFC 7518, 3.2)."""
SHORTEST_RSA: Final = 2048
"""Bits (RFC 7518, 3.3)."""
LONGEST_RSA: Final = 8192
"""Bits. Beyond, each check takes long enough to keep a worker busy."""
MOST_KEYS: Final = 100
"""Of one JWKS."""
LONGEST_KID: Final = 256
FEW: Final = 8
"""So many keys are tried for a token that does not name one."""

_KINDS: Final[Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class UnfitKeyError(ValueError):
    """It is no key, or none for this. The message says why, and nothing of what it consists of."""


class Key:
    """One key. `kid`: its name, if it has one."""

    __slots__ = ("algorithm", "kid", "material")

    def __init__(self, kid: str | None, algorithm: str, material: OctKey | RSAKey | ECKey | OKPKey) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.material = material

    def __repr__(self) -> str:
        return f"Key({self.kid!r}, {self.algorithm!r})"

    def jwk(self) -> dict[str, Any]:
        """Its public members, with name and algorithm. Not for a secret."""
        kind = self.material.key_type
        members = self.material.as_dict()
        named = {} if self.kid is None else {"kid": self.kid}
        return {"kty": kind, **{name: members[name] for name in PUBLIC[kind]}, "alg": self.algorithm, **named}


class Keyring:
    """The keys, by name and by algorithm. It does not change."""

    __slots__ = ("_by_kid", "_some", "_unnamed", "size")

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_kid: dict[str, Key] = {}
        unnamed: dict[str, list[Key]] = {}
        some: dict[str, list[Key]] = {}
        for key in keys:
            if key.kid is None:
                unnamed.setdefault(key.algorithm, []).append(key)
            elif key.kid in self._by_kid:
                continue  # the first who has a name keeps it: those of the configuration stand before those of a server
            else:
                self._by_kid[key.kid] = key
            some.setdefault(key.algorithm, []).append(key)
        self._unnamed = {algorithm: tuple(found) for algorithm, found in unnamed.items()}
        self._some = {algorithm: tuple(found) for algorithm, found in some.items()}
        self.size = sum(map(len, some.values()))

    def named(self, kid: str) -> Key | None:
        """The key of this name."""
        return self._by_kid.get(kid)

    def unnamed(self, algorithm: str) -> tuple[Key, ...]:
        """Those of this algorithm that have no name: they may be the one that a token calls by any."""
        return self._unnamed.get(algorithm, ())

    def of(self, algorithm: str) -> tuple[Key, ...]:
        """All of this algorithm, for a token that names none."""
        return self._some.get(algorithm, ())


def from_secret(secret: str, kid: str | None = None) -> Key:
    """A key of HS256.

    Raises:
        UnfitKeyError: it is too short, or a public key by its looks.
    """
    data = secret.encode()
    if "-----BEGIN" in secret or secret.startswith(("ssh-", "ecdsa-")):
        raise UnfitKeyError("secret: this is no secret, but a key for another algorithm; write it under public_key")
    if len(data) < SHORTEST_SECRET:
        raise UnfitKeyError(f"secret: is too short for HS256; at least {SHORTEST_SECRET} bytes: openssl rand -hex 32 makes a good one")
    return Key(kid, "HS256", OctKey.import_key(data))


def from_public(text: str | bytes, algorithm: str, kid: str | None = None) -> Key:
    """A key from what stands in a PEM file (a public key, or a certificate), or from a JWK as JSON.

    Raises:
        UnfitKeyError: it is none, or not one for this algorithm.
    """
    data = text.encode() if isinstance(text, str) else text
    if data.lstrip().startswith(b"{"):
        try:
            members = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise UnfitKeyError("public_key: this begins as a JWK does, and is no JSON") from None
        return from_jwk(members, algorithm, kid)
    if b"PRIVATE KEY-----" in data:
        raise UnfitKeyError("public_key: this is a private key, which is the issuer's alone; openssl pkey -pubout writes its public half")
    kind, _ = TYPES[algorithm]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # what it warns of is refused below
            material = _KINDS[kind].import_key(data)
    except (JoseError, ValueError, TypeError):
        raise UnfitKeyError(f"public_key: this is no public key for {algorithm} in PEM") from None
    return Key(kid, algorithm, _fit(material, algorithm))


def from_jwk(members: object, algorithm: str, kid: str | None = None) -> Key:
    """A key from the public members of a JWK (RFC 7517).

    Raises:
        UnfitKeyError: it is none, or not one for this algorithm.
    """
    kind, _ = TYPES[algorithm]
    if not isinstance(members, dict) or members.get("kty") != kind:
        raise UnfitKeyError(f"public_key: this JWK is not for {algorithm}, for which kty is {kind!r}")
    if PRIVATE & members.keys():
        raise UnfitKeyError("public_key: there is a private key in this JWK, which is the issuer's alone; leave its private members out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # what it warns of is refused below
            material = _KINDS[kind].import_key({"kty": kind, **{name: members[name] for name in PUBLIC[kind]}})
    except Exception:  # whatever numbers somebody has put there: joserfc and cryptography raise a dozen kinds of errors
        raise UnfitKeyError(f"public_key: this JWK holds no public key for {algorithm}") from None
    return Key(kid, algorithm, _fit(material, algorithm))


def _fit(material: RSAKey | ECKey | OKPKey, algorithm: str) -> RSAKey | ECKey | OKPKey:
    if isinstance(material, RSAKey):
        bits = material.public_key.key_size
        if not SHORTEST_RSA <= bits <= LONGEST_RSA:
            raise UnfitKeyError(f"public_key: an RSA key of {bits} bits; {SHORTEST_RSA} to {LONGEST_RSA} are taken")
    elif material.curve_name != TYPES[algorithm][1]:
        raise UnfitKeyError(f"public_key: {algorithm} goes by the curve {TYPES[algorithm][1]}, and this key by another")
    return material


# What a key server says


class KeySetError(ValueError):
    """It is no JWKS. The message is a code for logs and metrics."""


def from_set(document: bytes, algorithms: Collection[str]) -> tuple[list[Key], list[str]]:
    """The keys of a JWKS (RFC 7517, 5) that tokens of these algorithms may be checked with, and what should be said of others in it.

    A key that is for something else is passed over without a word, as the RFC asks. One that nobody should trust any more is left out and
    said: too weak, a secret, or with its private half beside it. So are two of the same name, since one of them is not what it says.

    Raises:
        KeySetError: not-json, not-a-key-set, too-many-keys.
    """
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise KeySetError("not-json") from None
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise KeySetError("not-a-key-set")
    if len(members) > MOST_KEYS:
        raise KeySetError("too-many-keys")
    keys: dict[str | int, Key] = {}
    doubled: set[str] = set()
    said: list[str] = []
    for place, each in enumerate(members):
        if not isinstance(each, dict):
            continue
        kid = each.get("kid")
        if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID):
            said.append(f"the key number {place + 1} has no usable kid")
            continue
        name = f"the key number {place + 1}" if kid is None else f"the key {kid!r}"
        try:
            key = _offered(each, algorithms, kid)
        except UnfitKeyError as error:
            said.append(f"{name}: {str(error).removeprefix('public_key: ')}")
            continue
        if key is None:
            continue
        before = keys.setdefault(place if kid is None else kid, key)
        if before is not key and kid is not None and before.jwk() != key.jwk():
            doubled.add(kid)
    for kid in sorted(doubled):
        del keys[kid]
        said.append(f"two keys have the kid {kid!r}: neither is used")
    return list(keys.values()), said


def _offered(members: dict[str, Any], algorithms: Collection[str], kid: str | None) -> Key | None:
    kind, curve, said = members.get("kty"), members.get("crv", ""), members.get("alg")
    if kind == "oct":
        raise UnfitKeyError("a secret, which whoever can read this knows")
    if members.get("use", "sig") != "sig":
        return None
    operations = members.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    for algorithm, (wanted, on) in TYPES.items():
        if kind == wanted and (not on or curve == on) and said in (None, algorithm) and algorithm in algorithms:
            return from_jwk(members, algorithm, kid)
    return None


def dumped(keys: Iterable[Key]) -> bytes:
    """Public keys as workers get them."""
    return orjson.dumps([key.jwk() for key in keys])


def loaded(data: bytes) -> list[Key]:
    """What `dumped` has made."""
    return [from_jwk(members, members["alg"], members.get("kid")) for members in orjson.loads(data)]
