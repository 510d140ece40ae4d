"""What every section of banyan.toml is: an immutable value, in which an unknown key is an error."""

from __future__ import annotations

import os
import re

from pydantic import BaseModel, ConfigDict

# None is for these models, and to find that out, each process that reads them would read the metadata of every package there is.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""


class Section(BaseModel):
    """What a key means stands below it, where gateway/reference.py reads it. pydantic could hold it, but would parse the source of every
    section for that in every process.

    A section's validator is built when it is first asked for: that of the whole Config holds one, and the sections' own, which are used
    nowhere else, would cost each process 20 ms of CPU at its start (of 310, measured by turns)."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def host_name(value: str) -> str:
    """`value`, if it can stand in a Host field."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?", value):
        raise ValueError(f"a host is a name or address with an optional port: {value!r} is not")
    return value
