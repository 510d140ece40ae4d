"""Field lines: whether they are valid, and which of them the gateway has to look at.

Most lines come again and again, from request to request and from client to client. One that was matched whole and found to mean nothing to
the gateway is remembered, and from then on known by one look into a set: 0.1 µs, where matching takes 0.4 with everything in the cache and
several times that in a busy worker. What is remembered is bounded, and credentials are never among it: they differ from client to client,
and nothing should keep them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway import request_fields

TOKEN = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""RFC 9110, 5.6.2, as the inside of a character class."""
VALUE = rb"\t\x20-\x7e\x80-\xff"
"""What a field's value may consist of (RFC 9110, 5.5): no control byte but the tab."""
TARGET = rb"\x21\x22\x24-\x5b\x5d-\x7e"
"""What a request's target may consist of: what is printable, but for # and \\ (edge.md 14)."""

# Possessive over disjoint classes: linear in the line's length.
_LINE: Final = re.compile(rb"([" + TOKEN + rb"]++):[\t ]*+([" + VALUE + rb"]*+)")

# What a line is to the gateway.
PLAIN: Final = 0
"""Passed on as it is."""
CUT: Final = 1
"""For one hop only, or forged: not passed on."""
HOST: Final = 2
LENGTH: Final = 3
CODING: Final = 4
CONNECTION: Final = 5
EXPECT: Final = 6
VIA: Final = 7
FORWARDED: Final = 8
"""Believed, and so passed on, from a trusted proxy only."""
REQUEST_ID: Final = 9
UPGRADE: Final = 11
"""For one hop only: what both sides say there, the gateway says anew to the other (edge.md 42)."""
TRACE: Final = 12
"""traceparent, and what belongs to it: believed from a trusted proxy only, else the gateway begins a trace of its own."""
TIMEOUT: Final = 13
"""How long it may still take: a trusted proxy is believed; upstreams are told anew."""
STAMP: Final = 14
"""The gateway's own, of whoever passes it on: cut, and read where calls between domains are looked at."""
UNDERSCORED: Final = 10
"""WSGI cannot tell X_Forwarded_For from X-Forwarded-For: not passed on (edge.md 27)."""

CREDENTIALS: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
"""Never remembered, and never captured, whatever the configuration says; but of set-cookie all that is not a value."""

MAX_LINES: Final = 4096
"""Lines remembered of each sort. Then it starts afresh, which costs the next few requests their matching."""
MAX_LINE: Final = 256
"""Bytes: a longer line is matched each time. So at most some 2 MB are kept."""


class Line:
    """A line that the gateway looks at."""

    __slots__ = ("kind", "name", "secret", "value")

    def __init__(self, kind: int, name: bytes, value: bytes, *, secret: bool) -> None:
        self.kind = kind
        self.secret = secret
        """Passed on, but not captured for comparison; or not as it is (set-cookie)."""
        self.name = name
        """In lower case."""
        self.value = value
        """As it was written, without white space around it."""


class Lines:
    """The lines of requests, or those of responses. `prefixes` are for names that `kinds` does not have."""

    __slots__ = ("_kinds", "_plain", "_prefixes", "_secrets", "_special", "_underscores")

    def __init__(self, kinds: Mapping[bytes, int], prefixes: Mapping[bytes, int], *, underscores: bool) -> None:
        self._kinds: dict[bytes, int] = dict(kinds)
        self._prefixes: dict[bytes, int] = dict(prefixes)
        self._underscores = underscores
        self._secrets = CREDENTIALS
        self._plain: set[bytes] = set()
        self._special: dict[bytes, Line] = {}

    def keep_secret(self, names: Iterable[bytes]) -> None:
        """The names, in lower case, of lines that must not be captured, besides CREDENTIALS."""
        self._secrets = CREDENTIALS.union(names)
        self._plain.clear()
        self._special.clear()

    def strange(self, lines: list[bytes]) -> list[bytes]:
        """Those that are not known to be valid and plain."""
        plain = self._plain
        return [line for line in lines if line not in plain]

    def read(self, line: bytes) -> Line | None:
        """What a strange line is. None: it is not valid."""
        known = self._special.get(line)
        if known is not None:
            return known
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].lower(), found[2].rstrip(b" \t")
        read = Line(self.kind(name), name, value, secret=name in self._secrets)
        if len(line) <= MAX_LINE and name not in CREDENTIALS:
            if read.kind == PLAIN and not read.secret:
                if len(self._plain) >= MAX_LINES:
                    self._plain.clear()
                self._plain.add(line)
            else:
                if len(self._special) >= MAX_LINES:
                    self._special.clear()
                self._special[line] = read
        return read

    def secret(self, name: bytes) -> bool:
        """Is the line of this lower-case name not to be captured?"""
        return name in self._secrets

    def kind(self, name: bytes) -> int:
        """What the line of this lower-case name is to the gateway."""
        kind = self._kinds.get(name)
        if kind is not None:
            return kind
        for prefix, meaning in self._prefixes.items():
            if name.startswith(prefix):
                return meaning
        return UNDERSCORED if self._underscores and name.find(b"_") >= 0 else PLAIN


def _kinds(names: Iterable[str], kind: int) -> dict[bytes, int]:
    return {name.encode(): kind for name in names}


REQUEST: Final = Lines(
    {
        **_kinds(request_fields.HOP | request_fields.TAKEN, CUT),
        **_kinds(request_fields.FORWARDED, FORWARDED),
        **_kinds(request_fields.TRACE, TRACE),
        b"authorization": PLAIN,
        b"connection": CONNECTION,
        b"content-length": LENGTH,
        b"cookie": PLAIN,
        b"expect": EXPECT,
        b"host": HOST,
        b"transfer-encoding": CODING,
        request_fields.STAMP.encode(): STAMP,
        request_fields.TIMEOUT.encode(): TIMEOUT,
        b"upgrade": UPGRADE,
        b"via": VIA,
        b"x-request-id": REQUEST_ID,
    },
    _kinds(request_fields.CUT_PREFIXES, CUT),
    underscores=True,
)
RESPONSE: Final = Lines(
    {
        b"connection": CONNECTION,
        b"content-length": LENGTH,
        b"keep-alive": CUT,
        b"set-cookie": PLAIN,
        b"te": CUT,
        b"trailer": CUT,
        b"transfer-encoding": CODING,
        b"upgrade": UPGRADE,
    },
    {b"banyan-": CUT, b"proxy-": CUT},
    underscores=False,
)
