"""Patterns of routes as the regular expressions and the order of a proxy that tries one route after the other.

The gateway's table is a trie (gateway/policy/routing.py); here the same choice is a sorted list of which the first match counts. Of two
patterns that match one path, the first segment in which they differ in kind decides: plain text, then {name}, then *. So they are sorted by
the kinds of their segments, and those that name methods stand before those that take all.

The expressions match tidy paths only: of printable ASCII, without `%`, `;`, `\\`, `//`, and no segment that begins with a dot where the
pattern does not say so. What else comes may be read in several ways; the gateway finds out in how many, and no expression can. Such a path
matches nothing, and goes to whoever gets the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_FIRST: Final = r'[!"$&-\-0-:<->@-\[\]-~]'
"""A byte that a tidy segment may begin with: what may stand in a target (RFC 3986, and what the edge lets through beyond it), but for the
slash, the dot, and what makes a path untidy."""
_NEXT: Final = r'[!"$&-.0-:<->@-\[\]-~]'
"""The same within it: the dot, too."""
_SEGMENT: Final = f"{_FIRST}{_NEXT}*"
_REST: Final = f"(?:{_FIRST}(?:{_NEXT}|/{_FIRST})*/?)?"
"""What a * stands for, behind its slash: nothing, or tidy segments. RE2 and Python read all of this alike."""
_PLAIN: Final = re.compile(f"{_NEXT}*")
_PARAMETER: Final = re.compile(r"\{(\w+)\}")

_HTTP: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_WEBDAV: Final = frozenset({"COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "REPORT", "SEARCH", "UNLOCK"})
KNOWN_METHODS: Final = _HTTP | _WEBDAV
"""Those that every HTTP/1 parser of a proxy takes; of others some are refused there, where the gateway passes them on."""


def order(match: str, methods: Iterable[str]) -> tuple[tuple[int, ...], int]:
    """What patterns are sorted by."""
    return tuple(_kind(segment) for segment in match[1:].split("/")), 0 if list(methods) else 1


def _kind(segment: str) -> int:
    return 2 if segment == "*" else 1 if segment.startswith("{") else 0


def wild(match: str) -> bool:
    """Whether it is for more than one path."""
    return any(_kind(segment) for segment in match[1:].split("/"))


def unsayable(match: str) -> str:
    """Why no expression means what the pattern means to the gateway; '' where one does."""
    segments = match[1:].split("/")
    for index, segment in enumerate(segments):
        if _kind(segment):
            continue
        if not segment and index < len(segments) - 1:
            return "it has // in it, which the gateway never gives to a candidate"
        if not _PLAIN.fullmatch(segment):
            return f"{segment!r} holds what never comes in a path as it stands, or makes it ambiguous"
        if segment.startswith(".") and wild(match):
            return f"{segment!r} begins with a dot: such paths are told apart by what else they could mean, up to a length"
    return ""


def expression(match: str, *, groups: bool = False) -> str:
    """The pattern as a regular expression for the whole path without its query. `groups`: what names and * stand for are groups."""
    parts = []
    for segment in match[1:].split("/"):
        kind = _kind(segment)
        any_of = _SEGMENT if kind == 1 else _REST
        parts.append(_quoted(segment) if kind == 0 else f"({any_of})" if groups else any_of)
    return "/" + "/".join(parts)


def loosely(match: str) -> str:
    """The same of a route that stays with the gateway, and short.

    Of tidy paths it matches those that are the pattern's. Which of the others does not matter: the gateway gets them anyway.
    """
    return "/" + "/".join((_quoted(segment), "[^/]+", ".*")[_kind(segment)] for segment in match[1:].split("/"))


def substitution(match: str, rewrite: str) -> str:
    """The candidate's own path, with \\1 … for the groups of `expression`."""
    names = _PARAMETER.findall(match)
    found = []
    for segment in rewrite[1:].split("/"):
        if segment == "*":
            found.append(f"\\{len(names) + 1}")
        elif segment.startswith("{"):
            # Of two of a name the last counts, as for the gateway.
            found.append(f"\\{len(names) - names[::-1].index(segment[1:-1])}")
        else:
            found.append(segment.replace("\\", "\\\\"))
    return "/" + "/".join(found)


def _quoted(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def either(methods: Iterable[str]) -> str:
    """Any of them, as an expression."""
    return "|".join(_quoted(method) for method in sorted(methods))
