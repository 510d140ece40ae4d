"""Banyan itself: its compiled modules, and what it runs with."""

from __future__ import annotations

import platform
import re
import sqlite3
import ssl
from collections.abc import Sequence
from importlib import metadata
from typing import Final

from gateway import compiled
from gateway.doctor.findings import Finding

_NAMED: Final = ("django", "uvloop", "mitmproxy", "UnleashClient")
"""Whose versions whoever is asked for help wants to know first."""


def engine() -> Sequence[Finding]:
    """Whether the edge engine is compiled, and from the sources that are here."""
    about = "edge engine"
    state = compiled.state()
    make = "python -m gateway.compiled"
    if state == "stale":
        return [
            Finding(about, "wrong", "compiled from other sources than those that are here: the old ones run", f"`{make}` compiles them")
        ]
    if state == "interpreted":
        return [Finding(about, "note", "interpreted: about 1.5 times the CPU per request", f"with a C compiler, `{make}` compiles it")]
    return [Finding(about, "fine", "compiled")]


def versions() -> Sequence[Finding]:
    """Of what it runs with, and whether all of it is installed."""
    about = "versions"
    try:
        own = metadata.version("banyan")
        wanted = metadata.requires("banyan") or []
    except metadata.PackageNotFoundError:
        return [Finding(about, "note", f"Banyan is not installed, and runs from its folder; Python {platform.python_version()}")]
    missing = sorted(name for name in (_name(each) for each in wanted if "extra ==" not in each) if not _version(name))
    named = ", ".join(f"{name} {_version(name)}" for name in _NAMED if _version(name))
    said = (
        f"Banyan {own}, Python {platform.python_version()}, {named}, SQLite {sqlite3.sqlite_version}, "
        f"{ssl.OPENSSL_VERSION.rpartition('  ')[0] or ssl.OPENSSL_VERSION}, {platform.system()} {platform.release()}"
    )
    if missing:
        return [Finding(about, "wrong", f"{said}; not installed: {', '.join(missing)}", "install Banyan anew: pip install .")]
    return [Finding(about, "fine", said)]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found[0] if found else requirement


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
