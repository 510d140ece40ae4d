"""[flags]: where the flags live."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr, ValidationInfo, field_validator, model_validator

from flags.source import check_token, check_url
from gateway.request_fields import never_passed_on
from gateway.settings.section import TOKEN, Section
from gateway.units import Seconds

_OFTENEST = 0.05
"""Seconds between two looks at Unleash."""
_SECRET = frozenset(("authorization", "cookie", "proxy-authorization", "set-cookie"))


class FlagSource(Section):
    """Where the flags live."""

    source: Literal["file", "unleash"] = "file"
    """Where the flags live."""
    path: str = "flags.json"
    """file: Unleash's own client-features JSON, watched for changes."""
    url: str = ""
    """unleash: its API, such as http://127.0.0.1:4242/api."""
    token: SecretStr = SecretStr("")
    """unleash: a client token. Write ${NAME} to read it from the environment."""
    admin_token: SecretStr = SecretStr("")
    """unleash: an admin token; for `banyan flags`, for guards, and for the console to say who changed a flag."""
    refresh: Seconds = 0.5
    """Unleash publishes changes once a second: asking twice as often keeps a flip under two seconds at the worst phase."""
    backup: str = "var/flags-backup.json"
    """unleash: the last good state, used when Unleash is down at start."""
    app_name: str = "banyan"
    """Unleash's appName."""
    project: str = "default"
    """Unleash's project: where `banyan flags` looks for flags and makes them."""
    environment: str = "development"
    """Unleash's environment."""
    headers: list[str] = []
    """Request header fields that strategies may read, as properties of these names in lower case, beside route and method."""
    impressions: str = ""
    """Where each decision of a flag with impression data goes, as a line of JSON: a path, "-" (standard output) or "" (nowhere)."""
    overrides: str = "var/flag-overrides.json"
    """What `banyan flags override` set, until it expires: a restart of the gateway does not forget it."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("source") == "unleash":
            check_url(value)
        return value

    @field_validator("token", "admin_token")
    @classmethod
    def _token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and info.data.get("source") == "unleash":
            check_token(value.get_secret_value(), f"flags.{info.field_name}")
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: list[str]) -> list[str]:
        for name in value:
            if not TOKEN.fullmatch(name):
                raise ValueError(f'{name!r} is no header field\'s name; write names such as "x-app-version"')
            if never_passed_on(name.lower()):
                raise ValueError(
                    f"{name!r} can never be read: the gateway cuts it from every request, as it does what is between two hops only, what "
                    "only the gateway itself may say, and names with an underscore; let clients use another"
                )
            if name.lower() in _SECRET:
                raise ValueError(f"{name!r} holds secrets, and what flags read is remembered; legacy can say who is calling: [identity]")
        return [name.lower() for name in value]

    @field_validator("refresh")
    @classmethod
    def _refresh(cls, value: float) -> float:
        if value < _OFTENEST:
            raise ValueError('nobody can ask Unleash that often; write "50ms" or more')
        return value

    @model_validator(mode="after")
    def _complete(self) -> FlagSource:
        if self.source == "unleash" and not (self.url and self.token.get_secret_value()):
            raise ValueError(
                'source = "unleash" needs url and token, such as url = "http://127.0.0.1:4242/api", token = "${UNLEASH_TOKEN}"'
            )
        return self
