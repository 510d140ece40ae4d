"""[identity.jwt]: whose tokens are believed, and for what."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr, field_validator, model_validator

from gateway.settings.files import pem_file
from gateway.settings.section import Section
from gateway.units import Seconds, Timeout

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

_MOST_KEYS = 32
_MOST_UNNAMED = 8
"""Each is tried for a token that does not name one (gateway/identity/keyring.py, FEW)."""
_LONGEST_LEEWAY = 300.0
_LONGEST_TIMEOUT = 60.0
_LEAST = 1.0
"""Seconds between two questions to a key server."""
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class JwtKey(Section):
    """A key that tokens are checked with. It serves one algorithm."""

    kid: str | None = None
    """Its name in tokens' headers. Without one it is tried for tokens whose kid no other key has, and for those without kid."""
    algorithm: Algorithm
    """What it is for: "HS256", "RS256", "ES256" or "EdDSA"."""
    secret: SecretStr = SecretStr("")
    """HS256: what both sides share, at least 32 bytes. Write ${NAME} to read it from the environment."""
    public_key: str = ""
    """Any other: the name of a PEM file with the public key or its certificate; or the PEM itself; or a JWK as JSON."""

    @field_validator("kid")
    @classmethod
    def _kid(cls, value: str | None) -> str | None:
        if value is not None and not (0 < len(value) <= 256 and value.isprintable()):
            raise ValueError("write the name that tokens' headers have under kid, up to 256 characters; or leave the key out")
        return value

    @property
    def file(self) -> str:
        """The PEM file's name; "" where the key stands in the configuration itself."""
        return "" if self.public_key.lstrip().startswith(("{", "-----")) else self.public_key

    @model_validator(mode="after")
    def _material(self) -> JwtKey:
        from gateway.identity import keyring  # not for every command that reads a configuration: cryptography takes its time

        secret = self.secret.get_secret_value()
        if self.algorithm == "HS256":
            if self.public_key or not secret:
                raise ValueError('algorithm = "HS256" needs secret = "${NAME}", and no public_key')
            keyring.from_secret(secret)
        elif secret or not self.public_key:
            raise ValueError(f'algorithm = "{self.algorithm}" needs public_key = "key.pem", and no secret')
        elif self.file:
            pem_file(self.file)
        else:
            keyring.from_public(self.public_key, self.algorithm)
        return self


class Jwt(Section):
    """Whose tokens are believed, and for what. They are checked here; nobody is asked."""

    algorithms: list[Algorithm]
    """Those that tokens may be signed by; no others are looked at. "HS256", "RS256", "ES256", "EdDSA"."""
    keys: list[JwtKey] = []
    """Keys that are known beforehand."""
    jwks_url: SecretStr = SecretStr("")
    """Where the issuer publishes its public keys (RFC 7517). Never shown with its query."""
    issuer: str | None = None
    """What tokens must say under iss. Without it any issuer is right whose key is known."""
    audience: str | list[str] = []
    """One of these must stand under aud. Without any, a token that is for a certain audience is for another one, and refused."""
    user_claim: str = "sub"
    """The claim that is the user's id."""
    session_claim: str | None = None
    """The claim that names a session, for flags that go by sessions, such as "sid"."""
    leeway: Seconds = 30.0
    """By how much the issuer's clock may differ: at most 5m."""
    jwks_refresh: Timeout = 600.0
    """How often the key server is asked: 1s or more."""
    jwks_timeout: Timeout = 5.0
    """How long it may take for its whole answer. The start waits that long for the first one, and then goes on without."""
    jwks_pause: Timeout = 30.0
    """A token with an unknown kid has it asked at once, but not sooner than this after the last one that had: 1s or more."""
    jwks_insecure: bool = False
    """Allows http:// to another host than this: whoever is on the way there can then make himself anybody."""

    @property
    def audiences(self) -> frozenset[str]:
        return frozenset((self.audience,) if isinstance(self.audience, str) else self.audience)

    @field_validator("algorithms")
    @classmethod
    def _algorithms(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError('name those that tokens are signed by, such as ["RS256"]')
        return sorted(set(value))

    @field_validator("audience")
    @classmethod
    def _audience(cls, value: str | list[str]) -> str | list[str]:
        if value == "" or (isinstance(value, list) and "" in value):
            raise ValueError('write what tokens for this gateway have under aud, such as "shop"')
        return value

    @field_validator("issuer", "user_claim", "session_claim")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("is empty; write what tokens have there, or leave it out")
        return value

    @field_validator("leeway")
    @classmethod
    def _leeway(cls, value: float) -> float:
        if value > _LONGEST_LEEWAY:
            raise ValueError('tokens would hold that much longer than they say; write "5m" or less')
        return value

    @field_validator("jwks_timeout")
    @classmethod
    def _timeout(cls, value: float) -> float:
        if value > _LONGEST_TIMEOUT:
            raise ValueError('a start may have to wait for it; write "1m" or less')
        return value

    @field_validator("jwks_refresh", "jwks_pause")
    @classmethod
    def _often(cls, value: float) -> float:
        if value < _LEAST:
            raise ValueError('no key server should be asked that often; write "1s" or more')
        return value

    @field_validator("jwks_url")
    @classmethod
    def _url(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text:
            return value
        wrong = 'write an address such as "https://login.example.com/.well-known/jwks.json"'
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(wrong)
        try:
            parts = urlsplit(text)
            _ = parts.port  # a number at all?
        except ValueError:
            raise ValueError(wrong) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(wrong)
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a user's name or password: public keys need none; remove it")
        if parts.fragment:
            raise ValueError("has a # with something behind it, which no server gets to see; remove it")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Jwt:
        url = self.jwks_url.get_secret_value()
        if not self.keys and not url:
            raise ValueError('there is no key; add  jwks_url = "https://…"  or  keys = [{ algorithm = "RS256", public_key = "key.pem" }]')
        if len(self.keys) > _MOST_KEYS:
            raise ValueError(f"keys: more than {_MOST_KEYS} of them; remove those that nothing is signed with any more, or use jwks_url")
        if url and "HS256" in self.algorithms:
            raise ValueError(
                "algorithms: HS256 goes by a secret, and what stands at jwks_url is public; remove one of them, since a key that is "
                "for both would let everybody sign"
            )
        if url.startswith("http:") and urlsplit(url).hostname not in _LOOPBACK and not self.jwks_insecure:
            raise ValueError("jwks_url: whoever is on the way could hand out keys of his own; write https://, or jwks_insecure = true")
        seen: set[str] = set()
        for key in self.keys:
            if key.algorithm not in self.algorithms:
                raise ValueError(f"keys: one is for {key.algorithm}, which is not among algorithms; add it there, or remove the key")
            if key.kid is not None and key.kid in seen:
                raise ValueError(f"keys: two have the kid {key.kid!r}; a name stands for one key")
            seen |= {key.kid} if key.kid is not None else set()
        for algorithm in self.algorithms:
            if sum(key.kid is None and key.algorithm == algorithm for key in self.keys) > _MOST_UNNAMED:
                raise ValueError(f"keys: more than {_MOST_UNNAMED} for {algorithm} have no kid, and all would be tried; give them theirs")
        idle = sorted(set(self.algorithms) - {key.algorithm for key in self.keys})
        if idle and not url:
            raise ValueError(f"algorithms: there is no key for {', '.join(idle)}; add one under keys, or remove it")
        return self

    @property
    def origin(self) -> str:
        """Names the place that keys come from, and for what: another one as soon as either changes. Says nothing of the address."""
        from hashlib import sha256

        url = self.jwks_url.get_secret_value()
        return sha256(orjson.dumps([url, self.algorithms])).hexdigest() if url else ""
