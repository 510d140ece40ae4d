"""Which endpoint to migrate next, and why: a rule of thumb with its reasons, for a person to agree with or not. Pure.

What speaks for an endpoint is the share of legacy's time that it takes. What speaks against it lowers that: that it writes, that it is
asked for so rarely that the gate would wait for days, that legacy itself fails at it, that its path is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

type Verdict = Literal["routed", "good", "fair", "poor"]

COMPARISONS: Final = 1000
"""That the gate needs by default ([routes.gate] minimum)."""
LONG_HOURS: Final = 72.0
SHORT_HOURS: Final = 24.0
GREAT_SHARE: Final = 0.05
SMALL_SHARE: Final = 0.01
ERRORS_5XX: Final = 0.01
ERRORS_4XX: Final = 0.2
CACHEABLE: Final = 0.5
REPEATS: Final = 0.5

_FILE: Final = re.compile(r"\.(?:js|mjs|css|map|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|mp4|webm|wasm|txt|webmanifest)\Z")

WORDS: Final = {
    "share": "it takes {value:.0%} of legacy's time",
    "small": "it takes less than 1 % of legacy's time",
    "asked": "it is {value:.0%} of all requests (what they cost is not known: there are no durations)",
    "seldom": "it is less than 1 % of all requests (what they cost is not known: there are no durations)",
    "safe": "it only reads: it can be compared, and fails back to legacy",
    "writes": "it writes: comparing needs a candidate with a sandbox, and its data have to move with it",
    "soon": "the gate's 1000 comparisons take {value:.1f} hours at this rate",
    "rare": "the gate's 1000 comparisons take {value:.0f} days at this rate",
    "failing": "legacy fails at {value:.1%} of its requests: repair that first, or it will be compared too",
    "clean": "legacy hardly ever fails at it",
    "refused": "{value:.0%} of its answers are 4xx: perhaps it is not asked by whom it is for",
    "cacheable": "{value:.0%} of its answers may be kept by shared caches: a cache may be cheaper than a migration",
    "repeats": "{value:.0%} of its requests are for what had been asked for before: in front of the new service a cache would help",
    "login": "it needs a login: the new service has to take the gateway's word for who calls",
    "file": "it is a file: whatever serves files can take it over without any comparison",
    "unclear": "its path has values of which no more is known: look at what is behind it first",
    "whole": "it is what is left over of many paths, no endpoint of its own",
}
"""Each reason in English; {value} is its figure."""

_FACTORS: Final = {
    "small": 0.5,
    "seldom": 0.5,
    "login": 0.8,
    "writes": 0.2,
    "rare": 0.4,
    "failing": 0.5,
    "refused": 0.7,
    "cacheable": 0.7,
    "file": 0.1,
    "unclear": 0.5,
    "whole": 0.05,
}
_POOR: Final = frozenset(("writes", "file", "whole"))


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, or why not."""

    code: str
    """A key of WORDS."""
    good: bool
    value: float = 0.0

    def __str__(self) -> str:
        if self.code == "soon" and self.value < 1:
            return f"the gate's 1000 comparisons take {max(1, round(60 * self.value))} minutes at this rate".replace(
                " 1 minutes", " a minute"
            )
        return WORDS[self.code].format(value=self.value)


@dataclass(frozen=True, slots=True)
class Advice:
    """What is thought of migrating one endpoint next."""

    verdict: Verdict
    score: float
    """From 0 to 100: whoever has most is first."""
    reasons: tuple[Reason, ...]
    """What speaks for it first."""


def advise(one: Mapping[str, Any]) -> Advice:
    """`one`: an endpoint as gateway.endpoints.live lists it, or as gateway.endpoints.logged does, which knows some things more, and
    perhaps has no durations (`timed`)."""
    reasons = _reasons(one)
    if one["route"]:
        return Advice("routed", 0.0, ())
    share = _share(one)
    score = 100.0 * share
    for reason in reasons:
        score *= _FACTORS.get(reason.code, 1.0) if not reason.good else 1.0
    against = {reason.code for reason in reasons if not reason.good}
    verdict: Verdict = "fair"
    if against & _POOR:
        verdict = "poor"
    elif not against and share >= GREAT_SHARE:
        verdict = "good"
    return Advice(verdict, round(score, 2), tuple(sorted(reasons, key=lambda reason: not reason.good)))


def _share(one: Mapping[str, Any]) -> float:
    """Of legacy's time, or where nobody knows that, of the requests."""
    return float(one["legacy_share"] if one.get("timed", True) else one["share"])


def _reasons(one: Mapping[str, Any]) -> list[Reason]:
    found = []
    share, template, timed = _share(one), one["template"], one.get("timed", True)
    if share >= SMALL_SHARE:
        found.append(Reason("share" if timed else "asked", share >= GREAT_SHARE, share))
    else:
        found.append(Reason("small" if timed else "seldom", good=False))
    found.append(Reason("safe", good=True) if one["safe"] else Reason("writes", good=False))
    hours = COMPARISONS / one["rps"] / 3600 if one["rps"] else float("inf")
    if one["rps"] is None:
        pass  # a log without times
    elif hours <= SHORT_HOURS:
        found.append(Reason("soon", good=True, value=hours))
    elif hours > LONG_HOURS:
        found.append(Reason("rare", good=False, value=min(hours / 24, 9999.0)))
    if one["errors_5xx"] > ERRORS_5XX:
        found.append(Reason("failing", good=False, value=one["errors_5xx"]))
    elif one["requests"] >= 100:
        found.append(Reason("clean", good=True))
    if one["errors_4xx"] > ERRORS_4XX:
        found.append(Reason("refused", good=False, value=one["errors_4xx"]))
    if one["cacheable"] is not None and one["cacheable"] >= CACHEABLE:
        found.append(Reason("cacheable", good=False, value=one["cacheable"]))
    if one["safe"] and one.get("login") != "yes" and (repeats := one.get("repeats")) is not None and repeats >= REPEATS:
        found.append(Reason("repeats", good=True, value=repeats))
    if one.get("login") == "yes":
        found.append(Reason("login", good=False))
    if _FILE.search(template):
        found.append(Reason("file", good=False))
    elif one.get("declared"):
        pass  # somebody wrote what its values are
    elif template.endswith("/*") or template == "*":
        found.append(Reason("whole", good=False))
    elif "{…}" in template or "{token}" in template or "//" in template:
        found.append(Reason("unclear", good=False))
    return found
