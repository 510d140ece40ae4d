"""Has this request been here before? Via tells by whom it was received (RFC 9110, 7.6.3)."""

from __future__ import annotations

import re
from typing import Final

_OURS: Final = re.compile(rb"(?:^|,)[ \t]*[^ \t,]+[ \t]+banyan[ \t]*(?:$|[ \t,(])", re.IGNORECASE)
"""A protocol, and `banyan` as the whole of the name; a comment may follow. Comments are not looked for, so that none can hide it."""


def names_us(via: bytes) -> bool:
    """Does a Via field's value name this gateway?"""
    return _OURS.search(via) is not None
