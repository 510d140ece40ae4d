"""[shadow]: where exchanges go, and what of them is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.settings.jetstream import JetStream, check_server
from gateway.settings.section import Section
from gateway.units import Bytes, Seconds, Timeout
from shadow.database import settings as database_settings
from shadow.redact import Redactor


class Shadow(Section):
    """Where exchanges go and what of them is kept."""

    sink: Literal["local", "jetstream"] = "local"
    """local: compared in the shipper on this machine. jetstream: sent through NATS to shadow workers (`banyan shadow`) on any machine."""
    nats: list[str] = ["nats://127.0.0.1:4222"]
    """jetstream: NATS' address, or a list of its servers': nats://host:port, tls://host:port. Credentials stand in [shadow.jetstream]."""
    database: str = "sqlite:///var/banyan.sqlite3"
    """Where verdicts go: sqlite:///path (relative to this file) or postgres://…"""
    redact: list[str] = ["authorization", "cookie", "set-cookie", "$..password", "$..email", "$..phone"]
    """Header names, and paths such as $..password, whose values become keyed hashes before anything is stored: in JSON, and by
    their last name in forms and queries."""
    redact_patterns: list[Literal["cards", "tokens"]] = ["cards", "tokens"]
    """What becomes keyed hashes by its looks, wherever it stands: card numbers (Luhn), and tokens such as JWTs, Bearer … and sk_live_…"""
    retention: Seconds = 14 * 86400.0
    """Samples older than this are deleted; counts too, by the whole hour."""
    timeout: Timeout = 5.0
    """How long a mirrored request may take."""
    concurrency: int = Field(default=64, ge=1)
    """Mirrored requests under way at once, per worker and route."""
    queue: int = Field(default=2000, ge=1)
    """Exchanges waiting for the shipper, per worker."""
    queue_bytes: Bytes = 32 * 1024**2
    """The same in bytes."""
    jetstream: JetStream = JetStream()

    @property
    def broker(self) -> list[object]:
        """All that reaching NATS goes by, secrets included."""
        plain = [getattr(self.jetstream, name) for name in JetStream.model_fields]
        return [self.sink, self.nats, [value.get_secret_value() if isinstance(value, SecretStr) else value for value in plain]]

    processes: int = Field(default=0, ge=0, le=64)
    """That compare what may take long, of the shipper and of each shadow worker, each within a budget of time and memory. 0: one per core,
    at least 2 and at most 4."""

    @property
    def secrets(self) -> tuple[list[str], list[Literal["cards", "tokens"]]]:
        """All that redaction goes by."""
        return self.redact, self.redact_patterns

    @field_validator("redact")
    @classmethod
    def _redact(cls, value: list[str]) -> list[str]:
        Redactor(value, b"")
        return value

    @field_validator("nats", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("nats")
    @classmethod
    def _nats(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError('write "nats://host:4222" or "tls://host:4222"')
        return [check_server(url) for url in value]

    @model_validator(mode="after")
    def _one_kind(self) -> Shadow:
        for name in ("ca", "certificate"):
            if getattr(self.jetstream, name) and not any(url.startswith("tls://") for url in self.nats):
                raise ValueError(f"jetstream.{name} is for tls:// addresses, and nats has none")
        return self

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        database_settings(value, Path())
        return value
