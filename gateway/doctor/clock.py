"""The clock: stamps, tokens and windows go by it, and several machines have to agree."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.config import Config
from gateway.doctor.findings import Finding
from gateway.doctor.tables import AbsentError, AwayError, opened
from shadow import database

_ABOUT = "clock"
_ERROR: Final = 5
"""TIME_ERROR of adjtimex(2): the kernel does not take its clock for synchronised."""
_TIMEX: Final = 512
"""Bytes, more than struct timex has on any architecture. The first field, modes, is 0: nothing is set."""
_ASTRAY: Final = 2.0
"""Seconds. Date is told in whole ones."""


def look(config: Config, within: float) -> Sequence[Finding]:
    """Whether it is kept right, and how far Unleash's and PostgreSQL's are from it, where these are used."""
    found = []
    offsets = {"PostgreSQL": _of_postgres(config, within), "Unleash": _of_unleash(config, within)}
    for name, offset in offsets.items():
        if offset is not None and abs(offset) > _ASTRAY:
            found.append(
                Finding(
                    _ABOUT, "wrong", f"{name}'s is {abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}", "let NTP keep both right"
                )
            )
    kept = _synchronised()
    if not found and kept is False:
        found.append(Finding(_ABOUT, "note", "the kernel does not say that it is synchronised", "let NTP or chrony keep it right"))
    agreed = [name for name, offset in offsets.items() if offset is not None]
    said = ["the kernel takes it for synchronised"] if kept else []
    said += [f"it agrees with {' and '.join(agreed)}"] if agreed else []
    return found or [Finding(_ABOUT, "fine", "; ".join(said) or "there is nothing to compare it with")]


def _synchronised() -> bool | None:
    """None: this system does not say."""
    if sys.platform != "linux":
        return None
    try:
        adjtimex = ctypes.CDLL(ctypes.util.find_library("c")).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX)))
    return None if state < 0 else state != _ERROR  # below 0: a container does not let us ask


def _of_postgres(config: Config, within: float) -> float | None:
    url = config.shadow.database
    if database.sqlite_path(url, config.folder) is not None:
        return None
    try:
        with opened(url, config.folder, within / 2) as tables:
            before = time.time()
            told = float(tables.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])
            return told - (before + time.time()) / 2
    except (AbsentError, AwayError):
        return None  # the store's own look says so


def _of_unleash(config: Config, within: float) -> float | None:
    if config.flags.source != "unleash":
        return None
    import httpx

    from flags.admin import bounded
    from flags.source import FlagSourceError

    try:
        with bounded.client(config.flags.url.rstrip("/"), timeout=within / 4, whole=within / 2) as client:
            before = time.time()
            date = client.head("/").headers.get("date", "")
            return parsedate_to_datetime(date).timestamp() + 0.5 - (before + time.time()) / 2  # it is told without its fraction
    except (httpx.HTTPError, FlagSourceError, ValueError):
        return None
