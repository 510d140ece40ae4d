"""The environment as the console's settings read it."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

MOST_PROXIES = 10


def count(text: str) -> int:
    """BANYAN_CONSOLE_PROXIES; 0 for "".

    Raises:
        ImproperlyConfigured: it is no such number.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_PROXIES):
        raise ImproperlyConfigured(f"BANYAN_CONSOLE_PROXIES is a number from 0 to {MOST_PROXIES}, of the proxies before the console")
    return int(text)
