"""What every section of banyan.toml is: an immutable value, in which an unknown key is an error."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def host_name(value: str) -> str:
    """`value`, if it can stand in a Host field."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?", value):
        raise ValueError(f"a host is a name or address with an optional port: {value!r} is not")
    return value
