"""How long a request took, as access logs say it: behind the user agent, bare or with a name, or in nginx's lists."""

from __future__ import annotations

import re
from typing import Final

DURATIONS: Final = {
    "upstream": "the upstream's response times",
    "request": "the times of whole requests, a client's slow reading included",
    "microseconds": "the whole number behind the user agent, as microseconds (Apache's %D)",
}
"""Where durations come from."""

_TEXT: Final = rb'"(?:[^"\\]*+(?:\\.[^"\\]*+)*+)"'
_TRIES: Final = rb"(?:-|\d{1,9}\.\d{1,9})(?:(?:, | : )(?:-|\d{1,9}\.\d{1,9}))*+"
"""$upstream_response_time: of each try one."""
_TIMES: Final = re.compile(rb'"?(\d{1,9}\.\d{1,9})"?(?: "?(' + _TRIES + rb')"?)?')
"""$request_time, or that and $upstream_response_time."""
_LABELLED: Final = re.compile(
    rb"(?:^|[\s,|;\"])(?:(rt|request_time|req_time|reqtime)|(urt|upstream_response_time|upstream_time|uresp))"
    rb"[=:]\s?\"?([\d.,: -]+)"
)
_WORDS: Final = re.compile(_TEXT + rb"|(" + _TRIES + rb"(?!\S)|\S+)")
_DECIMALS: Final = re.compile(_TRIES)
WHOLE: Final = re.compile(rb"\d{1,15}")
SECONDS: Final = re.compile(rb"\d{1,12}(?:\.\d{1,12})?")


def trailing(rest: bytes) -> tuple[str, float] | None:
    """The duration in what stands behind the user agent, in seconds, and what it is: a key of DURATIONS. None: there is none, or several
    numbers could be it."""
    found = _TIMES.fullmatch(rest)
    if found is not None:
        whole, upstream = found.groups()
        tries = None if upstream is None else summed(upstream)
        return ("request", float(whole)) if tries is None else ("upstream", min(float(whole), tries))
    if WHOLE.fullmatch(rest) is not None:
        return "microseconds", int(rest) / 1e6
    labelled = {bool(upstream): value for _, upstream, value in _LABELLED.findall(rest) if b"." in value}  # else who knows of what
    for upstream, kind in ((True, "upstream"), (False, "request")):
        if (seconds := summed(labelled.get(upstream, b""))) is not None:
            return kind, seconds
    if labelled:
        return None
    words = [word for word in _WORDS.findall(rest) if word]
    decimals = [tries for word in words if _DECIMALS.fullmatch(word) and (tries := summed(word)) is not None]
    if decimals:
        return "upstream" if len(decimals) == 2 else "request", min(decimals)
    wholes = [int(word) for word in words if WHOLE.fullmatch(word)]
    return ("microseconds", wholes[0] / 1e6) if len(wholes) == 1 else None


def summed(text: bytes) -> float | None:
    """nginx's list of what each try took, in seconds: 0.002, 0.010 : 0.004. None: there is no number in it."""
    if SECONDS.fullmatch(text) is not None:
        return float(text)
    found = [float(part) for part in re.split(rb"[,:\s]+", text[:1024]) if SECONDS.fullmatch(part)]
    return sum(found) if found else None
