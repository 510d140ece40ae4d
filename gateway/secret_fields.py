"""Query fields that hold secrets wherever they stand. Neither the access log nor the shadow keeps their values, whatever is configured."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_plus

NAMES: Final = frozenset(
    ("access_token", "api_key", "apikey", "code", "id_token", "password", "refresh_token", "secret", "sig", "signature", "token")
)
"""In lower case."""


def masked(target: str, names: frozenset[str]) -> str:
    """`target` with * in place of the values of query fields whose decoded name is among `names` (lower case), the rest to the byte."""
    path, mark, query = target.partition("?")
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        hide = value and unquote_plus(unquote_plus(name)).casefold() in names
        pairs.append(f"{name}{equals}*" if hide else pair)
    return f"{path}{mark}{'&'.join(pairs)}"
