"""Answers that may be a little behind: when a difference is a change that is still on its way, and when it is none.

A candidate that is fed from elsewhere says as of when its answer is: whatever was changed before that moment is in it. Legacy reads live,
and says when it last changed what it shows. Then what differs is stale where the candidate is as of a moment before that change, and not
older than `max_age`. It is a difference like any other where the candidate is as of that change or later, for then it claims to show it;
where it is older; and where either says nothing, or nothing that can be.

So nothing stays stale: `max_age` after legacy's last change there is none of it any more, whatever the candidate says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shadow.paths import Path, Pattern, PatternError, Step
from shadow.scalars import instant

AGE = "age"
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


class Said(NamedTuple):
    """What an answer says, as far as it is asked here."""

    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    document: Any
    """Its body as JSON; None where it is something else."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer says a moment: in a header, or at a place in its JSON."""

    header: str = ""
    path: Path = ()

    @classmethod
    def parse(cls, text: str) -> Source:
        """
        Raises:
            PatternError: it is neither a place nor a header's name.
        """
        if text.startswith("$"):
            return cls(path=_place(text))
        if not _FIELD.fullmatch(text):
            raise PatternError(f"write a header, such as Last-Modified, or a place, such as $.as_of.price: {text!r} is neither")
        return cls(header=text.lower())

    def moment(self, said: Said, at: float) -> float | None:
        """Unix seconds, of an answer to what was asked at `at`; None: it does not say. Age is seconds (RFC 9111, 5.1); all else is a date
        and a time with its offset (RFC 3339), or as HTTP writes them (RFC 9110, 5.6.7)."""
        text = self._text(said)
        if text is None:
            return None
        if self.header == AGE:
            return at - int(text) if _SECONDS.fullmatch(text) else None
        found = instant(text)
        return None if found is None or found.tzinfo is None else (found - _EPOCH).total_seconds()

    def _text(self, said: Said) -> str | None:
        if self.header:
            values = [value for name, value in said.headers if name == self.header]
            return values[0] if len(values) == 1 else None  # of two moments neither is the one
        value = said.document
        for step in self.path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value if isinstance(value, str) else None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Freshness:
    """What one route's answers say of their freshness. Of several places that hold a difference the longest counts."""

    max_age: float
    """Seconds."""
    as_of: tuple[tuple[Path, Source], ...]
    """Of the candidate's."""
    last_modified: tuple[tuple[Path, Source], ...]
    """Of legacy's."""

    @classmethod
    def make(cls, *, max_age: float, as_of: str | Mapping[str, str], last_modified: str | Mapping[str, str]) -> Freshness:
        """From the texts in the configuration. A text alone is about the whole answer.

        Raises:
            PatternError: a place or a header is none.
        """
        return cls(max_age, _sources(as_of), _sources(last_modified))

    def stale(self, path: str, legacy: Said, candidate: Said, at: float) -> bool:
        """Whether what differs at `path`, such as $.options[0].stock, is a change that the candidate need not show yet. `at`: when it was
        asked, in Unix seconds."""
        try:
            place: Path = _place(path)
        except PatternError:
            return False
        as_of, changed = _moment(self.as_of, place, candidate, at), _moment(self.last_modified, place, legacy, at)
        if as_of is None or changed is None or changed - at > self.max_age:  # clocks are not that far apart: it is no time of a change
            return False
        return as_of < changed and at - as_of <= self.max_age


def _sources(given: str | Mapping[str, str]) -> tuple[tuple[Path, Source], ...]:
    texts = {"$": given} if isinstance(given, str) else given
    found = [(_place(place), Source.parse(text)) for place, text in texts.items()]
    return tuple(sorted(found, key=lambda each: -len(each[0])))


def _moment(sources: Sequence[tuple[Path, Source]], place: Path, said: Said, at: float) -> float | None:
    return next((source.moment(said, at) for part, source in sources if place[: len(part)] == part), None)


def _place(text: str) -> Path:
    """
    Raises:
        PatternError: it is no path, or one that means several places.
    """
    steps = Pattern.parse(text).steps
    if any(isinstance(step, Step) for step in steps):
        raise PatternError(f"one place is meant, without * and ..: {text!r} may be several")
    return tuple(step for step in steps if not isinstance(step, Step))
