"""[ledger]: what is known of requests that must not be executed twice (routes with sticky = "idempotency-key")."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from gateway.settings.section import Section
from gateway.units import Bytes, Seconds, Timeout
from shadow.database import settings as database_settings
from shadow.database import sqlite_path


class Ledger(Section):
    """Of routes with `sticky = "idempotency-key"`: which key was sent where, and what came of it (docs/guide/payments.md)."""

    database: str = "sqlite:///var/ledger.sqlite3"
    """sqlite:///path (relative to this file) for a single gateway, or postgres://… for several; with shadow.sink = "jetstream" it has to be
    that. While it is away such routes are answered 503, and nothing is sent."""
    timeout: Timeout = 1.0
    """How long a request waits for it."""
    keep: Timeout = 86400.0
    """How long an answer is kept, and given again to whoever repeats its request. After that the key is as new."""
    answer_bytes: Bytes = Field(default=64 * 1024, ge=1024, le=16 * 1024**2)
    """A longer answer is passed on and not kept: a repeat is told that it was answered, and no more (409)."""
    total_bytes: Bytes = Field(default=256 * 1024**2, ge=1024**2)
    """Of all answers that are kept, encrypted. Beyond that the oldest are forgotten, their keys are not."""
    settled: Seconds = 90 * 86400.0
    """How long it is kept how a payment in doubt was settled, by whom and why. What is in doubt is kept until then."""

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        database_settings(value, Path())
        return value

    @property
    def local(self) -> bool:
        """In a file of this machine."""
        return sqlite_path(self.database, Path()) is not None
