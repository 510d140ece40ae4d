"""Durations and sizes as people write them in banyan.toml: "250ms", "64KiB".

A bare number is refused: 30 of what? The one exception is 0, which is the same in every unit.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def seconds(value: object) -> float:
    """The seconds in a duration such as "250ms", "2s", "5m", "12h", "14d".

    Raises:
        ValueError: it is none of these.
    """
    if value == 0 and not isinstance(value, bool):
        return 0.0
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'write a duration with its unit, such as "250ms", "2s" or "14d", not {value!r}')
    return float(found[1]) * _SECONDS[found[2]]


def size(value: object) -> int:
    """The bytes in a size such as "512B", "64KiB", "100MiB".

    Raises:
        ValueError: it is none of these.
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'write a size with its unit, such as "512B", "64KiB" or "100MiB", not {value!r}')
    return int(found[1]) * _BYTES[found[2]]


def _some(value: float) -> float:
    if value == 0:
        raise ValueError('in no time nothing can happen; write more than 0, such as "250ms", "2s" or "5m"')
    return value


Seconds = Annotated[float, BeforeValidator(seconds)]
Timeout = Annotated[float, BeforeValidator(seconds), AfterValidator(_some)]
"""A duration in which something has to be possible: more than 0."""
Bytes = Annotated[int, BeforeValidator(size)]
