"""Reads as much of PromQL as dashboard and alert rules use: what an expression asks for, by which labels, and which its result has.

No Prometheus is at hand in tests. What this does not know it refuses, so that an expression is either understood or seen to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<range>\[\s*(?:\d+[smhdw]|\$__rate_interval)\s*\])"""
    r"""|(?P<duration>\d+[smhdw]\b)|(?P<number>\d+(?:\.\d+)?)(?![\w.])"""
    r"""|(?P<name>[A-Za-z_:][\w:]*)|(?P<mark>=~|!~|!=|==|>=|<=|[-+*/%(){},=<>]))"""
)
AGGREGATES: Final = frozenset(("sum", "min", "max", "count", "avg"))
OVER_A_RANGE: Final = frozenset(("rate", "increase", "deriv"))
FUNCTIONS: Final = frozenset(("histogram_quantile", "vector", "time"))
SETS: Final = frozenset(("and", "or", "unless"))
ARITHMETIC: Final = frozenset(("+", "-", "*", "/", "%", "==", "!=", ">", "<", ">=", "<="))
SCRAPED: Final = frozenset(("job", "instance"))
"""Labels that Prometheus itself gives what it asks for."""


class PromqlError(ValueError):
    """The expression is not valid, or is more than this knows."""


@dataclass
class Use:
    """One metric in an expression."""

    metric: str
    matchers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Label → (operator, value)."""
    over_a_range: bool = False
    function: str = ""
    """Which takes its range."""
    grouped: set[str] = field(default_factory=set)
    """Labels that an aggregate around it keeps."""

    @property
    def labels(self) -> set[str]:
        """All that it is asked for."""
        return self.matchers.keys() | self.grouped


@dataclass
class Read:
    """An expression, or a part of one."""

    uses: list[Use]
    labels: frozenset[str] | None
    """What its result has; None: whatever its one metric has."""


def read(text: str) -> Read:
    """
    Raises:
        PromqlError: it cannot be read.
    """
    reader = _Reader(text)
    found = reader.sets()
    if reader.next is not None:
        raise PromqlError(f"{reader.next!r} is too much in {text!r}")
    _settled(found, text)
    return found


def _settled(found: Read, text: str) -> None:
    """A range is for a function, and for nothing else."""
    if any(use.over_a_range and not use.function for use in found.uses):
        raise PromqlError(f"a range that nothing takes in {text!r}")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text.strip()))
        self._at = 0

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise PromqlError(f"{text[at : at + 20]!r} cannot be read in {text!r}")
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    @property
    def next(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _take(self, kind: str = "", text: str = "") -> str:
        if self._at >= len(self._tokens):
            raise PromqlError(f"{self._text!r} breaks off")
        found, value = self._tokens[self._at]
        if (kind and found != kind) or (text and value != text):
            raise PromqlError(f"{value!r} stands where {text or kind} is wanted in {self._text!r}")
        self._at += 1
        return value

    def sets(self) -> Read:
        """and, or, unless: all of one rank here, which is why an `or` beside an `and` is refused."""
        left, used = self._sums(), set()
        while self.next in SETS:
            used.add(self._take())
            right = self._sums()
            labels = left.labels
            if labels is not None and right.labels is not None and labels != right.labels:
                if "or" not in used:
                    raise PromqlError(f"nothing of {set(labels)} matches {set(right.labels)} in {self._text!r}")
                labels = labels & right.labels
            left = Read(left.uses + right.uses, labels)
        if len(used) > 1:
            raise PromqlError(f"{' and '.join(sorted(used))} without parentheses in {self._text!r}")
        return left

    def _sums(self) -> Read:
        left = self._one()
        while self.next in ARITHMETIC:
            self._take()
            right = self._one()
            if left.labels is not None and right.labels is not None and left.uses and right.uses and left.labels != right.labels:
                raise PromqlError(f"nothing of {set(left.labels)} matches {set(right.labels)} in {self._text!r}")
            left = Read(left.uses + right.uses, left.labels if left.uses else right.labels)
        return left

    def _one(self) -> Read:
        if self._at >= len(self._tokens):
            raise PromqlError(f"{self._text!r} breaks off")
        kind, value = self._tokens[self._at]
        if kind == "number":
            self._at += 1
            return Read([], frozenset())
        if value == "(":
            self._at += 1
            inner = self.sets()
            self._take(text=")")
            return inner
        name = self._take("name")
        if name in AGGREGATES:
            return self._aggregate()
        if name in OVER_A_RANGE or name in FUNCTIONS:
            return self._call(name)
        return self._selector(name)

    def _aggregate(self) -> Read:
        labels: set[str] = set()
        if self.next == "by":
            self._take()
            labels = self._names()
        self._take(text="(")
        inner = self.sets()
        self._take(text=")")
        _settled(inner, self._text)
        for use in inner.uses:
            use.grouped |= labels
        if inner.labels is not None and not labels <= inner.labels:
            raise PromqlError(f"{labels - inner.labels} is gone already in {self._text!r}")
        return Read(inner.uses, frozenset(labels))

    def _names(self) -> set[str]:
        self._take(text="(")
        found = {self._take("name")}
        while self.next == ",":
            self._take()
            found.add(self._take("name"))
        self._take(text=")")
        return found

    def _call(self, name: str) -> Read:
        self._take(text="(")
        parts: list[Read] = []
        while self.next != ")":
            if parts:
                self._take(text=",")
            parts.append(self.sets())
        self._take(text=")")
        inner = parts[-1] if parts else Read([], frozenset())
        if name in OVER_A_RANGE:
            if len(inner.uses) != 1 or not inner.uses[0].over_a_range:
                raise PromqlError(f"{name} takes a range in {self._text!r}")
            inner.uses[0].function = name
        elif name == "histogram_quantile":
            if inner.labels is None or "le" not in inner.labels:
                raise PromqlError(f"histogram_quantile needs le in {self._text!r}")
            return Read(inner.uses, inner.labels - {"le"})
        return inner

    def _selector(self, metric: str) -> Read:
        use = Use(metric)
        if self.next == "{":
            self._take()
            while self.next != "}":
                if use.matchers:
                    self._take(text=",")
                label = self._take("name")
                operator = self._take("mark")
                if operator not in ("=", "!=", "=~", "!~"):
                    raise PromqlError(f"{operator!r} compares no label in {self._text!r}")
                use.matchers.setdefault(label, []).append((operator, self._take("string")[1:-1]))
            self._take(text="}")
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "range":
            self._at += 1
            use.over_a_range = True
        elif self.next == "offset":
            self._take()
            self._take("duration")
        return Read([use], None)
