"""Regular expressions that take linear time: what a rule says of values that are new every time.

Python's own engine backtracks: `(a+)+b` against thirty letters takes minutes, and the text is an upstream's. Here an expression becomes a
set of states that are followed all at once (Thompson, "Regular Expression Search Algorithm", 1968), so a text costs its length times the
states, whatever either of them is. There is only what such a machine can do: no references back, no looking around.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

MAX_PATTERN = 200
"""Characters of an expression."""
MAX_TEXT = 256
"""Characters of a text that is looked at. A longer one matches nothing."""
_MAX_STATES = 500
_MAX_MOVES = 4096
"""Moves remembered of one expression."""

_COUNTED = re.compile(r"\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_LETTERS = frozenset("dDwWsSnrt")
"""What may follow a backslash and means something. Other letters and digits are refused: \\b and \\1 are no characters."""


class ShapeError(ValueError):
    """The text is not such an expression; the message says why."""


@dataclass(frozen=True, slots=True)
class _Character:
    """One character of a kind, as `re` writes it."""

    text: str


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    of: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    node: _Node
    least: int
    most: int | None


type _Node = _Character | _Sequence | _Choice | _Repeat


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._error("there is no ( for this )")
        return node

    def _error(self, why: str) -> ShapeError:
        return ShapeError(f"{self._text!r}, character {self._at + 1}: {why}")

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _choice(self) -> _Node:
        options = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._one()))
        return _Sequence(tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        mark = self._next()
        if mark in ("*", "+", "?"):
            self._at += 1
            node = _Repeat(node, 1 if mark == "+" else 0, 1 if mark == "?" else None)
        elif mark == "{":
            found = _COUNTED.match(self._text, self._at)
            if found is None:
                raise self._error("write {3}, {3,} or {3,5}, or \\{ for the character")
            self._at = found.end()
            least = int(found[1])
            most = int(found[3]) if found[3] else None if found[2] else least
            if most is not None and most < least:
                raise self._error("the greater number comes second")
            node = _Repeat(node, least, most)
        else:
            return node
        if self._next() in ("*", "+", "?", "{"):
            raise self._error("one repetition after another: use a group")
        return node

    def _one(self) -> _Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            escaped = self._text[self._at + 1 : self._at + 2]
            if not escaped or (escaped.isalnum() and escaped not in _LETTERS):
                raise self._error("only \\d \\w \\s \\D \\W \\S \\n \\r \\t and escaped signs are known")
            self._at += 2
            return _Character(f"\\{escaped}")
        if character in "*+?{":
            raise self._error("there is nothing to repeat")
        if character in "^$":
            raise self._error("a value is matched as a whole, so ^ and $ have no use inside")
        self._at += 1
        return _Character("." if character == "." else re.escape(character))

    def _group(self) -> _Node:
        self._at += 1
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._next() == "?":
            raise self._error("only (…) and (?:…) are known")
        node = self._choice()
        if self._next() != ")":
            raise self._error("a ) is missing")
        self._at += 1
        return node

    def _class(self) -> _Node:
        found = _CLASS.match(self._text, self._at)
        if found is None:
            raise self._error("a ] is missing")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # sets within sets, which a later Python may read otherwise
                re.compile(found[0])
        except (re.error, FutureWarning) as error:
            raise self._error(f"not a set of characters ({error})") from error
        self._at = found.end()
        return _Character(found[0])


class Shape:
    """An expression, ready to be asked."""

    def __init__(self, text: str) -> None:
        """
        Raises:
            ShapeError: it is too long or not such an expression.
        """
        if len(text) > MAX_PATTERN:
            raise ShapeError(f"{text[:40]!r}…: longer than {MAX_PATTERN} characters")
        self._text = text
        self._tests: list[re.Pattern[str] | None] = [None]  # state 0 is the end
        self._targets: list[list[int]] = [[]]
        inner = text.removeprefix("^")
        if inner.endswith("$") and not inner.endswith("\\$"):
            inner = inner[:-1]
        start = self._add(_Parser(inner).parse(), 0)
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start = self._closed({start})

    def matches(self, text: str) -> bool:
        """Whether it describes the whole of `text`."""
        if len(text) > MAX_TEXT:
            return False
        states = self._start
        for character in text:
            states = self._moves.get((states, character)) or self._move(states, character)
            if not states:
                return False
        return 0 in states

    def _move(self, states: frozenset[int], character: str) -> frozenset[int]:
        following: set[int] = set()
        for state in states:
            test = self._tests[state]
            if test is not None and test.match(character):
                following.update(self._targets[state])
        found = self._closed(following)
        if len(self._moves) >= _MAX_MOVES:
            self._moves.clear()
        self._moves[states, character] = found
        return found

    def _closed(self, states: set[int]) -> frozenset[int]:
        """`states`, and all that can be reached from them without a character."""
        seen: set[int] = set()
        todo = list(states)
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                if self._tests[state] is None:
                    todo += self._targets[state]
        return frozenset(seen)

    def _state(self, test: re.Pattern[str] | None, *targets: int) -> int:
        if len(self._tests) >= _MAX_STATES:
            raise ShapeError(f"{self._text!r}: its repetitions add up to too much")
        self._tests.append(test)
        self._targets.append(list(targets))
        return len(self._tests) - 1

    def _add(self, node: _Node, then: int) -> int:
        """The state in which `node` begins, if `then` is what follows it."""
        if isinstance(node, _Character):
            return self._state(re.compile(node.text), then)
        if isinstance(node, _Sequence):
            for part in reversed(node.parts):
                then = self._add(part, then)
            return then
        if isinstance(node, _Choice):
            return self._state(None, *[self._add(option, then) for option in node.of])
        end = then
        if node.most is None:
            then = self._state(None, end)
            self._targets[then].append(self._add(node.node, then))
        else:
            for _ in range(node.most - node.least):
                then = self._state(None, self._add(node.node, then), end)
        for _ in range(node.least):
            then = self._add(node.node, then)
        return then


@lru_cache(maxsize=1024)
def shape(text: str) -> Shape:
    """`Shape(text)`, remembered: rules cross to another process as texts."""
    return Shape(text)
