"""Which route a request belongs to: methods and a path pattern, most specific first.

A pattern is segments: plain text beats {name} beats a trailing *, compared from the left, and a pattern that names the method beats
one that takes all. A path is matched as it stands. One that would belong to another route once it were decoded or tidied up (`%2e`,
`//`, `..`, `\\`) is ambiguous: whoever decodes it differently would see another API, so no candidate ever gets it (edge.md 28).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

_UNTIDY: Final = re.compile(rb"[%\\;]|/[/.]")
_SLASH: Final = 0x2F
_SHORT: Final = 64
"""Bytes of a path up to which compiled code looks at each of them, once for all: `match` takes 4,700 instructions for a route of four
segments, and 6,100 where the path is split and then searched."""
MAX_READINGS: Final = 32
"""Readings of one path. What can be read in more ways was made for it; ordinary ones with %20 or a dot segment have two or three."""
MAX_READ: Final = 2048
"""Bytes of a path that is not tidy."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One route's claim on requests."""

    name: str
    match: str
    methods: frozenset[str] = frozenset()
    """Empty: every method."""


@dataclass(slots=True)
class _Node:
    literal: dict[bytes, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    here: dict[str, str] = field(default_factory=dict)
    """method → route for patterns that end at this node; '' stands for every method."""
    below: dict[str, str] = field(default_factory=dict)
    """The same for patterns that end in * below this node."""


class AmbiguousPathError(Exception):
    """The path would meet another route once decoded."""


class Table:
    """All patterns as a trie of segments. `match` costs one dictionary lookup a segment."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._root = _Node()
        for pattern in patterns:
            node = self._root
            segments = pattern.match[1:].split("/")
            target = "here"
            for index, segment in enumerate(segments):
                if segment == "*" and index == len(segments) - 1:
                    target = "below"
                elif segment.startswith("{"):
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.literal.setdefault(segment.encode(), _Node())
            slot = node.here if target == "here" else node.below
            for method in pattern.methods or ("",):
                slot[method] = pattern.name

    def match(self, method: str, path: bytes) -> str | None:
        """The route's name, or None: legacy's own. `path` is the target up to any `?`.

        Raises:
            AmbiguousPathError: another route, or none, would match the decoded path.
        """
        segments, tidy = _segments(path)
        found = self._walk(self._root, segments, 1, method)
        if not tidy:
            # Both matter: a candidate that decodes must see the same API, and so must legacy's own URLconf.
            for other in _readings(path):
                if self._walk(self._root, other.split(b"/"), 1, method) != found:
                    raise AmbiguousPathError
        return found

    def _walk(self, node: _Node, segments: list[bytes], index: int, method: str) -> str | None:
        # Straight down as long as there is only one way: without a parameter and a * to come back to.
        count = len(segments)
        while index < count and node.parameter is None and not node.below:
            below = node.literal.get(segments[index])
            if below is None:
                return None
            node = below
            index += 1
        if index == count:
            return node.here.get(method) or node.here.get("")
        segment = segments[index]
        child = node.literal.get(segment)
        if child is not None:
            found = self._walk(child, segments, index + 1, method)
            if found is not None:
                return found
        if node.parameter is not None and segment:
            found = self._walk(node.parameter, segments, index + 1, method)
            if found is not None:
                return found
        return node.below.get(method) or node.below.get("")


def _segments(path: bytes) -> tuple[list[bytes], bool]:
    """The path split at /, and whether it is tidy: no %, \\ or ; in it, no // and no segment that begins with a dot. Then it cannot be
    decoded to another path."""
    size = len(path)
    if size > _SHORT:
        segments = path.split(b"/")
        return segments, _UNTIDY.search(path) is None
    segments = []
    tidy = True
    start = 0
    for at in range(size):
        byte = path[at]
        if byte == _SLASH:
            segments.append(path[start:at])
            start = at + 1
            if start < size and path[start] in (0x2F, 0x2E):  # / .
                tidy = False
        elif byte in (0x25, 0x3B, 0x5C):  # % ; \
            tidy = False
    segments.append(path[start:])
    return segments, tidy


def _readings(path: bytes) -> set[bytes]:
    """What some server may take `path` for: decoded, \\ as /, parameters cut, slashes merged, dots resolved, in any order and as often.

    Raises:
        AmbiguousPathError: there is no end to it, or the path is too long to find out (a worst case takes 1 ms).
    """
    if len(path) > MAX_READ:
        raise AmbiguousPathError
    readings = {path}
    todo = [path]
    while todo:
        reading = todo.pop()
        merged = re.sub(rb"/{2,}", b"/", reading)
        cut = re.sub(rb";[^/]*", b"", reading)
        for other in (unquote_to_bytes(reading), reading.replace(b"\\", b"/"), cut, merged, _resolve(reading)):
            if other not in readings:
                if len(readings) == MAX_READINGS:
                    raise AmbiguousPathError
                readings.add(other)
                todo.append(other)
    return readings


def _resolve(path: bytes) -> bytes:
    """Without dot segments (RFC 3986, 5.2.4)."""
    out: list[bytes] = []
    segments = path.split(b"/")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == b"..":
            if len(out) > 1:
                out.pop()
            if last:
                out.append(b"")
        elif segment == b".":
            if last:
                out.append(b"")
        else:
            out.append(segment)
    return b"/".join(out)


class Rewrite:
    """Turns a target that matched `match` into the candidate's own path: `/api/v1/reviews/*` → `/reviews/*`."""

    def __init__(self, match: str, rewrite: str) -> None:
        names = re.findall(r"\{(\w+)\}", match)
        pattern = "".join(
            "([^/?]+)" if part.startswith("{") else ("(.*)" if part == "*" else re.escape(part))
            for part in re.split(r"(\{\w+\}|\*\Z)", match)
            if part
        )
        self._pattern = re.compile(pattern.encode() if match.endswith("*") else pattern.encode() + rb"(\?.*)?", re.DOTALL)
        groups: Mapping[str, int] = {name: index + 1 for index, name in enumerate(names)}
        self._rest = len(names) + 1
        self._parts: list[bytes | int] = []
        for part in re.split(r"(\{\w+\}|\*\Z)", rewrite):
            if part.startswith("{"):
                self._parts.append(groups[part[1:-1]])
            elif part == "*":
                self._parts.append(self._rest)
            elif part:
                self._parts.append(part.encode())
        self._add_rest = not rewrite.endswith("*")

    def __call__(self, target: bytes) -> bytes:
        """The rewritten target, query included. One that does not match is returned as it is."""
        found = self._pattern.fullmatch(target)
        if found is None:
            return target
        parts = [part if isinstance(part, bytes) else found[part] or b"" for part in self._parts]
        if self._add_rest:
            rest = found[self._rest] or b""
            query = rest.find(b"?")
            parts.append(rest[query:] if query >= 0 else b"")
        return b"".join(parts)
