"""Whether a request may go on, by what is known of its caller and what its route needs to know.

A doubt about the caller never opens anything: where a route requires somebody, nobody, a bad credential, and a source that cannot say end
the request here, before an upstream sees a byte of it (edge.md 51, 52). Where the route only wants to know, such a caller is anonymous.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.policy.problems import Problem


class Need(StrEnum):
    """What a route needs to know of its caller."""

    IGNORED = "ignored"
    """Nothing: nobody is asked, flags and upstreams are told nothing."""
    OPTIONAL = "optional"
    """Who it is, if it is anybody."""
    REQUIRED = "required"
    """Who it is; nobody else is let through."""


class Standing(StrEnum):
    """What is known of a caller."""

    KNOWN = "known"
    NOBODY = "nobody"
    """No credential, or one that belongs to nobody: a visitor's session."""
    REFUSED = "refused"
    """A credential that is no good: forged, expired, doubled, for somebody else."""
    UNSAID = "unsaid"
    """Whoever could say is away."""


def refusal(need: Need, standing: Standing, method: str) -> Problem | None:
    """What the gateway answers in place of an upstream; None: the request goes on.

    OPTIONS goes on whoever asks: browsers send it by themselves before a request to another origin, without credentials (Fetch, 4.8), and
    would never send that request if it were refused. It executes nothing (RFC 9110, 9.3.7), and its caller is nobody to the upstream.
    """
    if need is not Need.REQUIRED or standing is Standing.KNOWN or method == "OPTIONS":
        return None
    return Problem.IDENTITY_UNAVAILABLE if standing is Standing.UNSAID else Problem.UNAUTHENTICATED
