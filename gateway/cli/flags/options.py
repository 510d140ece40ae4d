"""Options that several verbs of `banyan flags` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigFile = Annotated[Path, Parameter(name="--config", help="The configuration.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")]
Force = Annotated[bool, Parameter(negative=(), help="Makes it also where no route reads it.")]
Admin = Annotated[str, Parameter(help="The gateway's admin port, HOST:PORT, if not [gateway] admin.")]
