"""For which kinds of request a signature was seen: the kept samples, counted by what their requests have in common.

The samples are the newest few, so this says where to look and never how often. Pure: what the samples' requests were comes in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from django.utils.translation import gettext as _

MOST = 6
"""Parts of a dimension that are told apart; the rest is counted together."""
MAX_SEGMENT = 40
"""Characters. A longer segment of a path is data."""

_DATA = re.compile(
    r"\d+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|.*redacted:.*|.*\d{4,}.*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is needed of a sample."""

    method: str
    target: str
    legacy: int
    """Its status; 0: it gave no answer."""
    candidate: int
    caller: str = ""
    """As shadow.exchange.Exchange.caller."""


@dataclass(frozen=True, slots=True)
class Part:
    """Samples that have something in common."""

    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Dimension:
    """The samples, told apart by one thing."""

    title: str
    parts: Sequence[Part]
    of: int

    @property
    def single(self) -> bool:
        """All of them have it in common."""
        return len(self.parts) == 1 and self.parts[0].count == self.of


def breakdown(asked: Iterable[Asked]) -> list[Dimension]:
    """By method, path, statuses, query parameters and caller; nothing where there are no samples."""
    every = list(asked)
    if not every:
        return []
    callers = {"user": _("a known user"), "nobody": _("nobody known")}
    parameters: Counter[str] = Counter()
    for each in every:
        parameters.update(names(each.target))
    return [
        _dimension(_("Method"), Counter(each.method for each in every), len(every)),
        _dimension(_("Path"), Counter(template(each.target) for each in every), len(every)),
        _dimension(
            _("Statuses, legacy and candidate"),
            Counter(f"{_status(each.legacy)} → {_status(each.candidate)}" for each in every),
            len(every),
        ),
        _dimension(_("Query parameters"), parameters or Counter({_("none"): len(every)}), len(every)),
        _dimension(_("Caller"), Counter(callers.get(each.caller, _("not kept")) for each in every), len(every)),
    ]


def template(target: str) -> str:
    """A target's path with what looks like data replaced: `/reviews/7?page=2` → `/reviews/{id}`."""
    path = target.partition("?")[0]
    return "/".join("{id}" if _DATA.fullmatch(each) or len(each) > MAX_SEGMENT else each for each in path.split("/")[:12])


def names(target: str) -> set[str]:
    """The names of a target's query parameters."""
    query = target.partition("?")[2]
    found = (unquote(pair.partition("=")[0])[:MAX_SEGMENT] for pair in query.split("&")[:50] if pair)
    return {f"?{name}" for name in found}


def _status(status: int) -> str:
    return str(status) if status else _("no answer")


def _dimension(title: str, counts: Counter[str], of: int) -> Dimension:
    first = counts.most_common(MOST)
    parts = [Part(label, count) for label, count in first]
    if len(counts) > len(first):
        parts.append(Part(_("others"), counts.total() - sum(part.count for part in parts)))
    return Dimension(title, tuple(parts), of)
