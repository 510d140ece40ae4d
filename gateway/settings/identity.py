"""[identity]: who is calling."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from gateway.settings.section import TOKEN, Section
from gateway.units import Seconds, Timeout


class Identity(Section):
    """Who is calling, as far as the flags need to know."""

    source: Literal["none", "introspection"] = "none"
    """none: everybody is anonymous. introspection: legacy is asked who a session belongs to."""
    path: str = "/_banyan/identity"
    """Where legacy answers who is calling (legacy_django/banyan_identity)."""
    cookie: str = "sessionid"
    """The session cookie's name."""
    cache: Seconds = 10.0
    """How long an answer is remembered."""
    negative_cache: Seconds = 2.0
    """How long it is remembered that a session belongs to nobody."""
    timeout: Timeout = 2.0
    """How long legacy may take to say; after that the caller is anonymous for this request."""
    entries: int = Field(default=100_000, ge=1)
    """Answers that are remembered at the most."""

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(r"/[!-~]*", value):
            raise ValueError('write a path that starts with / and has no spaces, such as "/_banyan/identity"')
        return value

    @field_validator("cookie")
    @classmethod
    def _cookie(cls, value: str) -> str:
        if not TOKEN.fullmatch(value):
            raise ValueError('write a cookie\'s name, such as "sessionid"')
        return value
