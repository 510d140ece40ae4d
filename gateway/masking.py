"""The configuration as the admin port shows it: whole, but for what nobody should read over somebody's shoulder."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from gateway.secret_fields import NAMES
from gateway.secret_fields import masked as masked_target

MASK = "**********"
_NAMES = NAMES | {"sslpassword"}


def masked(value: Any) -> Any:
    """A configuration as JSON, without what nobody should read over somebody's shoulder: secrets, and passwords in addresses."""
    if isinstance(value, BaseModel):
        return {name: masked(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(name): masked(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, str):
        return _without_password(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _without_password(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    # The last @ of all: a password that was not escaped may hold any character.
    login, at, rest = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    if colon:
        login = f"{user}:{MASK}"
    return f"{scheme}{mark}{masked_target(f'{login}{at}{rest}', _NAMES)}"
