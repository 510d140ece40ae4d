"""What somebody set on this gateway for a while, past where the flags live: for the hour in which Unleash cannot be reached.

Each has an end, a person and a reason. They are written down, so that a restart in that hour does not hand the traffic back.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from flags.admin.atomic import write_atomically

LONGEST: Final = 7 * 86400.0
"""Seconds. What is to hold for longer belongs where the flag lives."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of what is written down. One for a flag has some hundreds."""
LONGEST_TEXT: Final = 500
"""Characters of who and of why."""


@dataclass(frozen=True, slots=True)
class Override:
    """One flag's. Times are Unix seconds."""

    enabled: bool
    since: float
    until: float
    by: str = ""
    why: str = ""


class OverrideError(ValueError):
    """It cannot be one. The message says what would be right."""


class Overrides:
    """Those in force, by flag."""

    def __init__(self) -> None:
        self._by_flag: dict[str, Override] = {}

    @property
    def by_flag(self) -> Mapping[str, Override]:
        return self._by_flag

    @property
    def answers(self) -> dict[str, bool]:
        """What each of these flags answers to everybody."""
        return {flag: override.enabled for flag, override in self._by_flag.items()}

    @property
    def next_end(self) -> float | None:
        """When the first of them ends."""
        return min((override.until for override in self._by_flag.values()), default=None)

    def put(self, flag: str, override: Override) -> Override | None:
        """Puts it in the place of the flag's last one, which is returned."""
        before = self._by_flag.get(flag)
        self._by_flag[flag] = override
        return before

    def clear(self, flag: str) -> Override | None:
        """Ends the flag's, which is returned."""
        return self._by_flag.pop(flag, None)

    def end(self, now: float) -> dict[str, Override]:
        """Ends, and returns, those whose time is over."""
        over = {flag: override for flag, override in self._by_flag.items() if override.until <= now}
        for flag in over:
            del self._by_flag[flag]
        return over

    def dump(self) -> bytes:
        """As `load` reads it."""
        return orjson.dumps({flag: asdict(override) for flag, override in self._by_flag.items()}, option=orjson.OPT_INDENT_2)

    def load(self, data: bytes, now: float) -> list[str]:
        """Takes those of `data` that have not ended. Returns the flags whose entries cannot be understood: the others hold all the same.

        Raises:
            OverrideError: it is not what `dump` makes; nothing was taken.
        """
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise OverrideError(f"not a record of overrides ({error})") from None
        if not isinstance(document, dict):
            raise OverrideError("not a record of overrides")
        wrong = []
        for flag, item in document.items():
            try:
                override = _read(item, now)
            except (KeyError, TypeError, ValueError):
                wrong.append(flag)
            else:
                if override.until > now:
                    self._by_flag[flag] = override
        return wrong


def _read(item: Any, now: float) -> Override:
    enabled, since, until = item["enabled"], float(item["since"]), float(item["until"])
    if not isinstance(enabled, bool) or not math.isfinite(since) or not math.isfinite(until):
        raise ValueError("an override that nobody could have set")
    # The clock may have been set back since.
    return Override(enabled, since, min(until, now + LONGEST), str(item["by"]), str(item["why"]))


def asked(body: bytes, now: float) -> Override:
    """What PUT /flags/overrides/NAME asks for: {"enabled": false, "seconds": 1800, "by": "ana", "why": "…"}.

    Raises:
        OverrideError: it cannot be understood.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise OverrideError(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("enabled"), bool):
        raise OverrideError('write {"enabled": true or false, "seconds": 1800, "by": "who", "why": "…"}')
    seconds = document.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise OverrideError(f'"seconds" is how long it is to hold: more than 0, and at most {LONGEST:.0f}, which is a week')
    by, why = said(document)
    return Override(document["enabled"], now, now + seconds, by, why)


def said(document: Mapping[str, Any]) -> tuple[str, str]:
    """Who, and why.

    Raises:
        OverrideError: they are no text, or too long.
    """
    by, why = document.get("by", ""), document.get("why", "")
    for name, text in (("by", by), ("why", why)):
        if not isinstance(text, str) or len(text) > LONGEST_TEXT or not text.isprintable():
            raise OverrideError(f'"{name}" is a line of text of at most {LONGEST_TEXT} characters')
    return by, why


def read(path: Path) -> bytes | None:
    """What was written down last; None: nothing.

    Raises:
        OSError: it is there and cannot be read.
        OverrideError: it is no file, or far too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make a start wait
    except FileNotFoundError:
        return None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
            raise OverrideError(f"not a record of overrides (no file, or over {MAX_BYTES // 1024 // 1024} MiB)")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """Writes it down, readable for this user alone.

    Raises:
        OSError: it cannot be written; what was there stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=0o600)
