"""[identity] stamp: what the identity that upstreams receive is signed with, and how long it is good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import SecretStr, field_validator, model_validator

from gateway.settings.files import PemFile
from gateway.settings.section import Section
from gateway.units import Seconds

SHORTEST = 10.0
"""Seconds. Two clocks may differ by some of them."""
LONGEST = 600.0
"""Seconds. For that long somebody who has logged out may still be stamped."""


class StampKey(Section):
    """A key of stamps."""

    key: SecretStr = SecretStr("")
    """A secret for HS256, of at least 32 characters, or a private key as PEM. Write ${NAME} to read it from the environment."""
    key_file: PemFile = ""
    """A PEM file with a private key, not encrypted, in place of `key`: EC on P-256, Ed25519 or RSA. Read at start and at a reload."""
    algorithm: Literal["", "HS256", "ES256", "EdDSA", "RS256"] = ""
    """What the key must be for; by default, what it is for."""

    @model_validator(mode="after")
    def _one(self) -> StampKey:
        secret = self.key.get_secret_value()
        if bool(secret) == bool(self.key_file):
            raise ValueError('write either key = "${BANYAN_STAMP_KEY}" or key_file = "stamp.pem"')
        if secret:
            from gateway.identity.stamp_keys import read_key  # it loads cryptography, which nothing else here needs

            try:
                read_key(secret, self.algorithm)
            except ValueError as error:
                raise ValueError(f"key: {error}") from None
        elif self.algorithm == "HS256":
            raise ValueError("algorithm: HS256 is signed with a secret, and key_file names a private key; write key, or another algorithm")
        return self


class Stamp(Section):
    """The signed identity that upstreams receive in Banyan-Identity."""

    key: SecretStr = SecretStr("")
    """What signs: a secret for HS256, of at least 32 characters, or a private key as PEM. Write ${NAME} to read it from the environment."""
    key_file: PemFile = ""
    """A PEM file with a private key, not encrypted, in place of `key`: EC on P-256, Ed25519 or RSA. Read at start and at a reload."""
    algorithm: Literal["", "HS256", "ES256", "EdDSA", "RS256"] = ""
    """What the key must be for; by default, what it is for."""
    keys: list[StampKey] = []
    """In place of these three, several: the first signs, the others are published at the admin port too. So a new one is known before it
    signs, and an old one for as long as stamps of it are under way."""
    ttl: Seconds = 60.0
    """How long a stamp is good, from 10s to 10m. What arrives has at least half of it left."""
    issuer: str = "banyan"
    """What stamps name as their issuer."""

    @field_validator("keys", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return [{"key": each} if isinstance(each, str) else each for each in value] if isinstance(value, list) else value

    @field_validator("ttl")
    @classmethod
    def _ttl(cls, value: float) -> float:
        if not SHORTEST <= value <= LONGEST:
            raise ValueError(
                'write a duration from "10s" to "10m": clocks differ, and somebody who has logged out may be stamped for as long'
            )
        return value

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        if not value or len(value) > 200 or not value.isprintable():
            raise ValueError('write a name, such as "banyan"')
        return value

    @model_validator(mode="before")
    @classmethod
    def _a_table(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError('write a table: stamp = { key = "${BANYAN_STAMP_KEY}" }')  # noqa: TRY004 - pydantic wants it; without the value, a secret
        if isinstance(value, Mapping) and value.get("keys") == []:
            raise ValueError('keys: write one or more: ["${BANYAN_STAMP_KEY}"], or [{ key_file = "stamp.pem" }]')
        return value

    @model_validator(mode="after")
    def _one_or_several(self) -> Stamp:
        if self.keys and (self.key.get_secret_value() or self.key_file or self.algorithm):
            raise ValueError("write either one key or keys = [...], of which the first signs")
        if not self.keys:
            StampKey(key=self.key, key_file=self.key_file, algorithm=self.algorithm)
        return self

    @property
    def all_keys(self) -> list[StampKey]:
        """The first signs."""
        return self.keys or [StampKey(key=self.key, key_file=self.key_file, algorithm=self.algorithm)]
