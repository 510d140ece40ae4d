"""The keys that stamps are verified with: given as text, or fetched from the gateway's admin port and remembered.

While the gateway's keys cannot be fetched, those that are known go on being used. A stamp whose key is not known is a reason to look, and
so is age; but however many such stamps come, it is looked once in PAUSE seconds, and one fetch serves all that wait.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import os
import re
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from services.stamp.verify import Algorithm, Key, Keys, StampError

PAUSE: Final = 5.0
"""Seconds between two fetches."""
AGE: Final = 60.0
"""Seconds after which keys are fetched anew, beside the requests."""
TIMEOUT: Final = 2.0
"""Seconds that each step of a fetch may take, and reading the answer in all."""
MOST_BYTES: Final = 64 * 1024
MOST_KEYS: Final = 32
SHORTEST_SECRET: Final = 32
"""Bytes (RFC 7518, 3.2)."""
SHORTEST_RSA: Final = 2048
"""Bits (RFC 7518, 3.3)."""
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)

_log = logging.getLogger("banyan.stamp")


class KeyTextError(ValueError):
    """What was given cannot be used as keys. The message holds nothing of it."""


class FixedKeys:
    """Those that were given."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.kid: key for key in keys}

    def find(self, kid: str) -> Key | None:
        return self._keys.get(kid)


class Jwks:
    """Those at a URL: a key set (RFC 7517). Secrets in it are passed over: a secret that anybody may fetch is none. May be used by several
    threads. `now` is a monotonic clock.
    """

    def __init__(self, url: str, now: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            KeyTextError: it is no http or https URL.
        """
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise KeyTextError("BANYAN_STAMP_JWKS: write a URL such as http://127.0.0.1:9900/jwks, without a user")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._now = now
        self._keys: dict[str, Key] | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._fetching = threading.Lock()
        self._renewing: threading.Thread | None = None

    def find(self, kid: str) -> Key | None:
        """
        Raises:
            StampError: unavailable: no keys were ever fetched.
        """
        keys = self._keys
        found = keys.get(kid) if keys is not None else None
        if found is None:
            self._look()
            keys = self._keys
            if keys is None:
                raise StampError("unavailable")
            return keys.get(kid)
        if self._now() - self._fetched_at > AGE:
            self._renew()
        return found

    def _look(self) -> None:
        """Fetches, unless that was tried lately. Whoever comes meanwhile waits for the same fetch."""
        with self._fetching:
            now = self._now()
            if self._tried_at is not None and now - self._tried_at < PAUSE:
                return
            self._tried_at = now
            try:
                keys = _read_set(self._fetch())
            except (OSError, http.client.HTTPException, ValueError) as error:
                # Those that are known go on.
                _log.warning("the keys of stamps could not be fetched from %s: %s", self._host, error)
                return
            self._keys, self._fetched_at = keys, now

    def _renew(self) -> None:
        """Fetches beside the request, which goes by what is known."""
        renewing = self._renewing
        if renewing is not None and renewing.is_alive():
            return
        tried = self._tried_at
        if tried is not None and self._now() - tried < PAUSE:
            return
        self._renewing = threading.Thread(target=self._look, name="stamp-keys", daemon=True)
        self._renewing.start()

    def _fetch(self) -> bytes:
        ends = time.monotonic() + TIMEOUT
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", self._path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            parts, size = list[bytes](), 0
            while part := response.read1(MOST_BYTES):
                size += len(part)
                if size > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES} bytes")
                if time.monotonic() > ends:
                    raise TimeoutError(f"not whole within {TIMEOUT:g} s")
                parts.append(part)
            return b"".join(parts)
        finally:
            connection.close()


class _Several:
    def __init__(self, sources: Sequence[Keys]) -> None:
        self._sources = sources

    def find(self, kid: str) -> Key | None:
        for source in self._sources:
            found = source.find(kid)
            if found is not None:
                return found
        return None


def from_environment() -> Keys | None:
    """BANYAN_STAMP_KEYS: secrets and PEM keys, with spaces or line ends between them. BANYAN_STAMP_JWKS: the URL of a key set, such as
    http://127.0.0.1:9900/jwks. Either, or both; None: neither is set.

    Raises:
        KeyTextError: one of them cannot be used.
    """
    sources: list[Keys] = []
    if text := os.environ.get("BANYAN_STAMP_KEYS", "").strip():
        sources.append(FixedKeys(parse(text)))
    if url := os.environ.get("BANYAN_STAMP_JWKS", "").strip():
        sources.append(Jwks(url))
    return None if not sources else sources[0] if len(sources) == 1 else _Several(sources)


def parse(text: str) -> list[Key]:
    """The keys in `text`: PEM blocks (public keys; of private ones the public half is used), and between them secrets.

    Raises:
        KeyTextError: one of them cannot be used.
    """
    keys = [_from_pem(found[0]) for found in _PEM.finditer(text)]
    for secret in _PEM.sub(" ", text).split():
        if secret.startswith("-----") or len(secret) < SHORTEST_SECRET or not secret.isascii():
            raise KeyTextError(
                f"BANYAN_STAMP_KEYS: expected PEM keys, and secrets of {SHORTEST_SECRET} ASCII characters or more, with spaces or line "
                "ends between them"
            )
        data = secret.encode()
        keys.append(Key(_secret_kid(data), "HS256", OctKey.import_key(data)))
    if not keys:
        raise KeyTextError("BANYAN_STAMP_KEYS: holds no key")
    return keys


def _secret_kid(secret: bytes) -> str:
    """As the gateway names it."""
    return urlsafe_b64encode(hmac.digest(secret, b"banyan stamp key", hashlib.sha256)[:12]).decode()


def _from_pem(text: str) -> Key:
    for kind in (ECKey, OKPKey, RSAKey):
        try:
            native: ECKey | OKPKey | RSAKey = kind.import_key(text)
            algorithm = _algorithm(native)
        except (JoseError, ValueError, TypeError):
            continue
        return Key(native.thumbprint(), algorithm, native)
    raise KeyTextError(
        "BANYAN_STAMP_KEYS: a PEM block is no key that could be used; expected one on P-256, Ed25519 or RSA with 2048 bits, not encrypted"
    )


def _read_set(data: bytes) -> dict[str, Key]:
    """The usable keys of a key set.

    Raises:
        ValueError: it is none.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no key set")  # noqa: TRY004 - of what was answered
    found = {}
    for each in listed[:MOST_KEYS]:
        key = _from_jwk(each)
        if key is not None:
            found[key.kid] = key
    return found


def _from_jwk(value: Any) -> Key | None:
    if not isinstance(value, dict) or not isinstance(value.get("kid"), str):
        return None
    kinds: dict[str, type[ECKey | OKPKey | RSAKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
    kind = kinds.get(str(value.get("kty")))
    if kind is None or value.get("use", "sig") != "sig":
        return None
    try:
        native = kind.import_key({name: value[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in value})
        algorithm = _algorithm(native)
    except (JoseError, ValueError, TypeError):
        return None
    return Key(value["kid"], algorithm, native) if value.get("alg", algorithm) == algorithm else None


def _algorithm(key: ECKey | OKPKey | RSAKey) -> Algorithm:
    """The one that a key of this kind is for.

    Raises:
        ValueError: there is none.
    """
    if isinstance(key, RSAKey):
        if key.raw_value.key_size >= SHORTEST_RSA:
            return "RS256"
    elif (kind := {"P-256": "ES256", "Ed25519": "EdDSA"}.get(str(key.get("crv")))) is not None:
        return "ES256" if kind == "ES256" else "EdDSA"
    raise ValueError("no algorithm of stamps")
