"""[shadow.jetstream]: the stream through which exchanges reach shadow workers on other machines."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.settings.section import Section
from gateway.units import Bytes, Seconds, Timeout

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SMALLEST = 64 * 1024
"""Bytes. A message below this would hold no answer of an ordinary size."""
_ROOM = 8 * 1024
"""Bytes that NATS' max_payload must leave for a message's headers."""


class JetStream(Section):
    """For `sink = "jetstream"`: who may use NATS, the stream there, and the buffer here. The same on every machine."""

    user: str = ""
    """NATS' user, with `password`."""
    password: SecretStr = SecretStr("")
    """Write ${NAME} to read it from the environment."""
    token: SecretStr = SecretStr("")
    """Instead of user and password. Write ${NAME} to read it from the environment."""
    ca: str = ""
    """tls://: a file with the authorities that NATS' certificate may be from; by default the system's."""
    certificate: str = ""
    """tls://: a file with the certificate that NATS asks clients for, and what it was issued by."""
    key: str = ""
    """tls://: a file with the certificate's key, where that stands in a file of its own. It has no passphrase."""
    credentials: str = ""
    """Instead of user and password: a credentials file (.creds), with a user's JWT and its NKey seed. Read for each connection."""
    nkey: str = ""
    """Instead of user and password: a file with the seed of a user's NKey (SU…). Read for each connection."""
    stream: str = "BANYAN_SHADOW"
    """The stream's name; its one subject is `<stream>.packs`. Made, or brought up to date, by whoever comes first."""
    max_bytes: Bytes = 1024**3
    """What waits in the stream for shadow workers. When it is full, NATS refuses what comes, and it is counted: nothing there is lost."""
    max_age: Seconds = 86400.0
    """What waited longer is counted as dropped instead of compared."""
    replicas: int = Field(default=1, ge=1, le=5)
    """In how many of NATS' servers the stream is kept."""
    ack_wait: Timeout = 30.0
    """How long a shadow worker may be silent before what it holds goes to another."""
    max_message: Bytes = 768 * 1024
    """One exchange that is larger is compared by the shipper, and only the verdict travels. Below NATS' max_payload (1 MiB by default)."""
    buffer: int = Field(default=20_000, ge=1)
    """Exchanges that wait in the shipper for NATS."""
    buffer_bytes: Bytes = 64 * 1024**2
    """The same in bytes."""

    @field_validator("stream")
    @classmethod
    def _stream(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a stream's name has up to 64 letters, digits, _ and -")
        return value

    @field_validator("max_message")
    @classmethod
    def _max_message(cls, value: int) -> int:
        if not _SMALLEST <= value <= 64 * 1024**2 - _ROOM:
            raise ValueError('write "64KiB" or more, and less than 64 MiB, which no NATS takes')
        return value

    @model_validator(mode="after")
    def _fits(self) -> JetStream:
        ways = [bool(self.token.get_secret_value()), bool(self.user or self.password.get_secret_value())]
        if sum((*ways, bool(self.credentials), bool(self.nkey))) > 1:
            raise ValueError("write one of token, user and password, credentials, and nkey")
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError("user and password belong together")
        if self.key and not self.certificate:
            raise ValueError("key is that of certificate, which is missing")
        for name in ("buffer_bytes", "max_bytes"):
            if getattr(self, name) < self.max_message:
                raise ValueError(f"{name} has no room for one message of max_message; write more")
        return self


def check_server(url: str) -> str:
    """`url`, if it is the address of a NATS server.

    Raises:
        ValueError: it is not, or holds credentials. Nothing of it is repeated.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.path not in ("", "/") or re.search(r"\s", url):
        raise ValueError('write "nats://host:4222" or "tls://host:4222"')
    if "@" in parts.netloc:
        raise ValueError("a user, a password or a token cannot be part of it; write them under [shadow.jetstream]")
    return url
