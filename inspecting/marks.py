"""How a flow is marked, in words and signs that mitmproxy's filters find: ~marker, ~meta and ~comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

# Signs that every font has: not every machine that has a browser can draw pictures.
LEGACY: Final = ":white_circle:"
CANDIDATE: Final = ":black_circle:"
"""Or a provider of a split route."""
FALLBACK: Final = ":leftwards_arrow_with_hook:"
GATEWAY: Final = ":warning:"
"""The gateway itself answered, with an error."""
SHADOW: Final = ":left_right_arrow:"
"""What the other upstream said, whom the client never hears of."""
DIFFERS: Final = ":heavy_multiplication_x:"

ROUTE: Final = "route"
SERVED: Final = "served-by"
UPSTREAM: Final = "upstream"
REASON: Final = "reason"
SHADOWED: Final = "shadow"
VERDICT: Final = "verdict"
DIFFERENCE: Final = "difference"
REQUEST: Final = "request-id"
CALLER: Final = "caller"
CUT: Final = "cut"
KEYS: Final = (ROUTE, SERVED, UPSTREAM, REASON, SHADOWED, VERDICT, DIFFERENCE, CALLER, CUT, REQUEST)
"""What is in a flow's metadata, as far as it is known."""

OURS: Final = "gateway"
"""Who served, where the gateway itself answered."""
THIS: Final = "this"
"""In place of who is asked beside: it is this flow that is that."""
NOISE: Final = "noise"
"""The same, of legacy asked a second time."""

MAX_DIFFERENCES = 5
"""That are named in a comment."""


def marker(about: Mapping[str, str]) -> str:
    """The sign of a flow about which this is known. What differs is what one looks for; so it comes before who served."""
    if about.get(VERDICT) == "mismatch":
        return DIFFERS
    if about.get(SHADOWED) in (THIS, NOISE):
        return SHADOW
    if about.get(REASON, "").startswith("fallback-"):
        return FALLBACK
    return {"legacy": LEGACY, OURS: GATEWAY}.get(about.get(SERVED, OURS), CANDIDATE)


def comment(about: Mapping[str, str]) -> str:
    """The same in a line that can be read: `reviews · candidate (flag) · shadow legacy · mismatch: value $.rating · id 4f1c…`. All that one
    may look for is in it, as mitmweb's own search does not know ~meta."""
    parts = [about.get(ROUTE) or "no route", f"{about.get(SERVED, '-')} ({about.get(REASON) or '-'})"]
    shadowed = about.get(SHADOWED, "")
    if shadowed in (THIS, NOISE):
        parts[1] = f"{about.get(UPSTREAM, '-')} asked {'beside' if shadowed == THIS else 'a second time, for its noise'}"
    elif shadowed:
        parts.append(f"shadow {shadowed}")
    if verdict := about.get(VERDICT, ""):
        difference = about.get(DIFFERENCE, "")
        parts.append(f"{verdict}: {difference}" if difference else verdict)
    if cut := about.get(CUT, ""):
        parts.append(cut)
    if request := about.get(REQUEST, ""):
        parts.append(f"id {request}")
    return " · ".join(parts)


def differences(named: Sequence[tuple[str, str]]) -> str:
    """What differs, for people: (kind, path) each."""
    told = [f"{kind} {path}".rstrip() for kind, path in named[:MAX_DIFFERENCES]]
    return ", ".join(told) + (f" and {len(named) - MAX_DIFFERENCES} more" if len(named) > MAX_DIFFERENCES else "")
