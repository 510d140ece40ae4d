"""Paths become templates: /api/v1/reviews/381 is /api/v1/reviews/{id}.

What a segment looks like says most of it (gateway/endpoints/shapes.py). The rest is learned, in a tree of segments:

- A word is kept as it stands only after it was met SEEN times, until when only its hash is known (Python's, which is keyed anew in each
  process), and only where somebody answered other than that there is nothing: so neither a token in a link of one person nor what a scanner
  tries becomes a literal.
- A place in which more than `most` words were kept is a parameter: they all become {…}. What routes name literally stays.
- What was not met for a day makes room first.

Memory is bounded: `nodes` words and places in all, and PENDING hashes. What finds no room is counted under the place above it, as /api/*.
So a literal template's count is at most too small, never too large: by SEEN - 1 of the requests that are looked at each time that it is
learned, and by those that came while there was no room for it. tests/gateway/endpoints/test_templates.py holds that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from gateway.endpoints.shapes import ANY, announcing, shape

MOST: Final = 60
"""Words in one place."""
SEEN: Final = 3
NODES: Final = 6000
PENDING: Final = 8192
DEPTH: Final = 12
"""Segments. What is below is *."""
LONGEST: Final = 1024
"""Bytes of a path that is looked into."""
FORGET_SECONDS: Final = 86400.0
REST: Final = "*"
ELSE: Final = "*"
"""The template of what is no path: the * of OPTIONS, and a proxy's absolute form."""


class _Node:
    __slots__ = ("any", "children", "collapsed", "key", "pinned", "seen", "values")

    def __init__(self, key: int, pinned: bool = False) -> None:
        self.key = key
        """A hash of what leads here."""
        self.children: dict[bytes, _Node] = {}
        self.values: dict[str, _Node] = {}
        """By what stands in the template: {id} …"""
        self.any: _Node | None = None
        """Below {…}."""
        self.collapsed = False
        self.pinned = pinned
        self.seen = 0.0


class Templates:
    """What was learned. Not thread-safe."""

    def __init__(self, pinned: Iterable[str] = (), *, most: int = MOST, nodes: int = NODES) -> None:
        self._root = _Node(0, pinned=True)
        self._most = most
        self._nodes = nodes
        self._pending: OrderedDict[int, int] = OrderedDict()  # a dict looks for its first entry among all that were removed
        """Hash of what leads to a word, and of it → how often it was met. What was met longest ago is first."""
        self._forgot = float("-inf")
        self.size = 1
        """Nodes."""
        self.crowded = 0
        """Paths of which something was not learned for want of room."""
        self.version = 0
        """Another one since templates of before may stand for others (`generalised`)."""
        self.pin(pinned)

    def pin(self, patterns: Iterable[str]) -> None:
        """The literals of these path patterns (as `match` of a route has them), up to the first parameter, stay what they are."""
        for pattern in patterns:
            node = self._root
            for text in pattern[1:].split("/")[:DEPTH]:
                if text == REST or text.startswith("{"):
                    break
                word = text.encode()
                child = node.children.get(word)
                if child is None:
                    child = node.children[word] = _Node(hash((node.key, word)))
                    self.size += 1
                child.pinned = True
                node = child

    def learn(self, path: bytes, known: bool, now: float) -> str:
        """The template of `path`, which has no query. `known`: whoever answered knows such a path. `now`: seconds by any clock that does
        not go back."""
        if path[:1] != b"/":
            return ELSE
        segments = path[1:LONGEST].split(b"/", DEPTH)
        cut = len(path) > LONGEST or len(segments) > DEPTH
        if cut:
            segments.pop()
        node = self._root
        parts: list[str] = []
        after = b""
        beside = 0
        """The hash of what leads here, where a word on the way was not met often enough; then `node` is below {…} in its place."""
        for segment in segments:
            child = node.children.get(segment)
            word = child is not None
            if word:
                name = segment.decode()
            else:
                name = shape(segment, after)
                word = not name
                child = node.values.get(name) if name and name != ANY else None
            if beside:
                beside = hash((beside, segment if word else name))
                if known and word:
                    self._met(beside)
            if child is None:
                child, name, missed = self._meet(node, segment, name, known, now)
                if child is None:
                    cut = True
                    break
                beside = beside or missed
            child.seen = now
            parts.append(name)
            node, after = child, segment if word else announcing(segment, name, after)
        if cut:
            parts.append(REST)
        return "/" + "/".join(parts)

    def _meet(self, node: _Node, segment: bytes, name: str, known: bool, now: float) -> tuple[_Node | None, str, int]:
        """Where a segment leads that is not known here, and the hash of a word that was not met often enough."""
        room = known and (self.size < self._nodes or self._forget(now))
        missed = 0
        if not name and not node.collapsed:
            if not known:
                return None, name, 0
            key = hash((node.key, segment))
            if self._met(key) < SEEN or not room:
                missed = key
                self.crowded += not room
            else:
                del self._pending[key]
                child = self._made(key, now)
                node.children[segment] = child
                if self._fits(node) or (self._forget_in(node, now) and self._fits(node)):
                    return child, segment.decode(), 0
                self._collapse(node)
                self.size = _size(self._root)
        if not name or name == ANY:
            if node.any is None and room:
                node.any = self._made(hash((node.key, ANY)), now)
            return node.any, ANY, missed
        if not room:
            self.crowded += known
            return None, name, 0
        child = node.values[name] = self._made(hash((node.key, name)), now)
        return child, name, 0

    def _made(self, key: int, now: float) -> _Node:
        node = _Node(key)
        node.seen = now
        self.size += 1
        return node

    def _met(self, key: int) -> int:
        """How often, this time included."""
        pending = self._pending
        met = pending.pop(key, 0) + 1
        if len(pending) >= PENDING:
            pending.popitem(last=False)
        pending[key] = met
        return met

    def _fits(self, node: _Node) -> bool:
        return len(node.children) <= self._most or sum(not child.pinned for child in node.children.values()) <= self._most

    def _collapse(self, node: _Node) -> None:
        """It is a parameter."""
        node.collapsed = True
        self.version += 1
        below = node.any = node.any or _Node(hash((node.key, ANY)))
        for word in [word for word, child in node.children.items() if not child.pinned]:
            self._unite(below, node.children.pop(word))

    def _unite(self, into: _Node, other: _Node) -> None:
        """Adds what is below `other` to what is below `into`."""
        into.seen = max(into.seen, other.seen)
        into.pinned = into.pinned or other.pinned
        for name, child in other.values.items():
            self._unite(into.values.setdefault(name, _Node(hash((into.key, name)))), child)
        if other.any is not None:
            into.any = into.any or _Node(hash((into.key, ANY)))
            self._unite(into.any, other.any)
        for word, child in other.children.items():
            self._unite(into.children.setdefault(word, _Node(hash((into.key, word)))), child)
        if into.collapsed or other.collapsed or not self._fits(into):
            self._collapse(into)

    def merge(self, other: Templates) -> None:
        """Adds what another has learned, which must not be used any more. There may be as many nodes as in both until the next are
        forgotten."""
        self._unite(self._root, other._root)
        self.size = _size(self._root)
        self.version += 1

    def _forget_in(self, node: _Node, now: float) -> bool:
        """Lets go of the words here that were not met for long. Whether that helped."""
        old = [word for word, child in node.children.items() if not child.pinned and child.seen < now - FORGET_SECONDS]
        for word in old:
            del node.children[word]
        if old:
            self.size = _size(self._root)
        return bool(old)

    def _forget(self, now: float) -> bool:
        """The same everywhere, at most once an hour. Whether there is room now."""
        if now < self._forgot + FORGET_SECONDS / 24:
            return False
        self._forgot = now
        todo = [self._root]
        while todo:
            node = todo.pop()
            node.children = {word: child for word, child in node.children.items() if child.pinned or child.seen >= now - FORGET_SECONDS}
            node.values = {name: child for name, child in node.values.items() if child.seen >= now - FORGET_SECONDS}
            if node.any is not None and node.any.seen < now - FORGET_SECONDS:
                node.any = None
            todo += _below(node)
        self.size = _size(self._root)
        return self.size < self._nodes

    def generalised(self, template: str) -> str:
        """The template that `template`, which `learn` gave earlier, is by now: a place of it may have become a parameter."""
        if template == ELSE:
            return template
        node: _Node | None = self._root
        parts = []
        for part in template[1:].split("/"):
            if node is None:
                parts.append(part)
                continue
            word = part.encode()
            child = node.children.get(word) or node.values.get(part)
            if child is None and part != REST and (part == ANY or (node.collapsed and not part.startswith("{"))):
                parts.append(ANY)
                node = node.any
            else:
                parts.append(part)
                node = child
        return "/" + "/".join(parts)


def _below(node: _Node) -> list[_Node]:
    return [*node.children.values(), *node.values.values(), *((node.any,) if node.any is not None else ())]


def _size(root: _Node) -> int:
    count, todo = 0, [root]
    while todo:
        count += 1
        todo += _below(todo.pop())
    return count
