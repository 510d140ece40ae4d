"""What the command says to the worker that shows flows. It goes by a descriptor, not in arguments or in the environment, which others may
read. The password itself does not go at all, only what it can be checked by."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import msgspec


class Told(msgspec.Struct, frozen=True):
    """See the module's docstring."""

    web: int
    """The descriptor of mitmweb's listening socket."""
    password: str
    """Its argon2 hash."""
    keep: int
    """Flows."""
    body: int
    """Bytes of each body."""
    credentials: bool
    """Whether they are shown."""


def write(told: Told) -> int:
    """A descriptor from which `told` can be read, any number of times: a worker that is started again reads it too."""
    descriptor = os.memfd_create("banyan-inspect", 0) if sys.platform == "linux" else _unlinked()
    os.write(descriptor, msgspec.json.encode(told))
    return descriptor


def read(descriptor: int) -> Told:
    """What `write` wrote."""
    return msgspec.json.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0), type=Told)


def _unlinked() -> int:
    descriptor, path = tempfile.mkstemp()  # 0600
    Path(path).unlink()
    return descriptor
