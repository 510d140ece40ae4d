"""What is written in the ledger, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.policy.payments import Verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that wants its key, before anything of it is sent."""

    route: str
    scope: str
    """Whose key it is: two callers' keys are never the same (sealing.scope)."""
    key: str
    keyed: bool
    """The client gave the key. Else it is made up, nobody can ask by it, and nothing is kept of it once it is answered."""
    digest: bytes
    """Of the whole request (sealing.digest)."""
    provider: str
    method: str
    target: str
    """As the access log has it: without secrets."""
    size: int
    """Bytes of the body."""
    request_id: str
    token: str
    """Of this attempt: whoever has it may finish it."""
    idempotent: frozenset[str] = frozenset()
    """The providers that take the same key for the same payment."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a claim is told."""

    verdict: Verdict
    number: int = 0
    """The line's."""
    provider: str = ""
    """That has, or had, the request."""
    status: int = 0
    answer: bytes = field(default=b"", repr=False)
    """Sealed, where the verdict is REPLAY."""


@dataclass(frozen=True, slots=True)
class Held:
    """One attempt that is under way, as whoever made it names it."""

    number: int
    token: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A payment of which nobody knows whether it was made, with all that it takes to find out. Moments are Unix seconds."""

    number: int
    route: str
    provider: str
    key: str
    """As the provider got it; '' where the client gave none."""
    request_id: str
    """X-Request-ID, as the provider got it."""
    method: str
    target: str
    size: int
    """Bytes of the body."""
    digest: str
    """Of the request, in hexadecimal: equal for equal requests of one caller."""
    began: float
    """When it was first sent."""
    doubted: float
    """When it came into doubt."""
    attempts: int
    """How often it was sent to the provider."""
    refused: tuple[str, ...]
    """Providers that were asked before and got nothing of it."""
    reason: str
    """What was seen: timeout, reset, bad-answer, status-503, worker-lost …"""
    status: int
    """Of the provider's answer; 0: there was none."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A doubt that somebody has put an end to."""

    doubt: Doubt
    outcome: str
    """executed or not-executed."""
    by: str
    why: str
    at: float
