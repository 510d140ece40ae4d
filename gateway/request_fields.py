"""Names of request fields that no upstream and no flag is told of as they came: for one hop only, or forged. In lower case.

The edge engine cuts by them (gateway/net/lines.py), and the settings refuse them where a field is named that flags are to read. The
mitmproxy engine writes down its own on purpose.
"""

from __future__ import annotations

from typing import Final

HOP: Final = frozenset(("connection", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
"""Between two neighbours (RFC 9110, 7.6.1)."""
TAKEN: Final = frozenset(("expect", "x-request-id"))
"""The gateway's own to understand, and to say anew."""
FORWARDED: Final = frozenset(("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"))
TRACE: Final = frozenset(("traceparent", "tracestate"))
BELIEVED: Final = FORWARDED | TRACE
"""Passed on from a trusted proxy only."""
TIMEOUT: Final = "banyan-timeout-ms"
"""How long the request may still take: understood from a trusted proxy, and said anew to upstreams."""
STAMP: Final = "banyan-identity"
"""The gateway's own, which a service that calls through it passes on. Cut, and made anew; where domains are looked at, it is read."""
CUT_PREFIXES: Final = ("banyan-", "proxy-", "x-forwarded-")
"""Of names that are none of the above."""


def never_passed_on(name: str) -> bool:
    """Whether a field of this lower-case name is cut, whoever sends it. One with an underscore is: to WSGI it is another (edge.md 27)."""
    if name in BELIEVED:
        return False
    return name in HOP or name in TAKEN or name.startswith(CUT_PREFIXES) or "_" in name
