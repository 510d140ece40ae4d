"""[tracing]: which requests are traced, and who is told."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from gateway.settings.section import TOKEN, Section
from gateway.units import Timeout

_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""What requests' fields can say (RFC 9110, 5.5, and ASCII alone)."""


class Tracing(Section):
    """Spans of sampled requests (docs/guide/observability.md). The edge engine alone records them."""

    endpoint: str = ""
    """Where spans are sent, by OTLP over HTTP: http://collector:4318/v1/traces, the whole address. Without it nothing is recorded."""
    sample: float = Field(default=0.01, ge=0, le=1)
    """The share that is sampled of the requests whose trace begins here. Of one that a trusted proxy has begun, the proxy has decided."""
    headers: dict[str, SecretStr] = {}
    """Fields that the endpoint wants, such as { authorization = "${TRACING_TOKEN}" }."""
    timeout: Timeout = 10.0
    """How long one try to send some may take, with its repeats."""
    queue: int = Field(default=2048, ge=1, le=1_000_000)
    """Sampled requests that wait, in each worker and in the exporter. Beyond it they are dropped, and counted."""
    service: str = "banyan"
    """The spans' service.name. OTEL_RESOURCE_ATTRIBUTES in the environment adds more."""

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or "@" in value or "?" in value or "#" in value or re.search(r"[\s\x00-\x1f]", value):
            raise ValueError(
                'write "http://host:4318/v1/traces" or "https://…", without a login or a query: what is secret stands in headers'
            )
        if parts.path in ("", "/"):
            raise ValueError("write the whole address, with its path, which is mostly /v1/traces")
        return value

    @field_validator("service")
    @classmethod
    def _service(cls, value: str) -> str:
        if not re.fullmatch(r"[\x21-\x7e]{1,200}", value):
            raise ValueError(f"a service's name is up to 200 characters without blanks: {value[:80]!r} is not")
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, said in value.items():
            if not TOKEN.fullmatch(name) or name.lower() in ("host", "content-length", "content-type", "content-encoding"):
                raise ValueError(f"{name[:80]!r} is no field that could be added")
            if not _VALUE.fullmatch(said.get_secret_value()):
                raise ValueError(f"the value of {name!r} is empty, or cannot be sent in a field")
        return value
