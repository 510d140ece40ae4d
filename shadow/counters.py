"""The names under which things are counted (shadow.models.Tally.name). `skipped.` and `dropped.` are followed by a reason."""

from __future__ import annotations

SERVED = "served."
"""Before who answered."""
SERVED_LEGACY = "served.legacy"
SERVED_CANDIDATE = "served.candidate"
FALLBACK = "served.fallback"
"""Requests that the candidate failed and legacy answered; counted under SERVED_LEGACY too."""
SERVED_GATEWAY = "served.gateway"
UNFINISHED = "unfinished"
"""Requests whose answer broke off, or whose client left; in none of the three."""
ELIGIBLE = "eligible"
CAPTURED = "captured"
MATCHED = "matched"
MISMATCHED = "mismatched"
EXCUSED = "excused"
"""Comparisons in which every difference was excused, and reviewed rules were needed for that; in neither of the two above."""
CONFIGURED = "matched.configured"
"""Those of MATCHED that rest on the configuration's rules."""
COMBINATION = "combination."
"""Followed by a combination's key (shadow.recompute): of MISMATCHED and EXCUSED, those that showed exactly this."""
SKIPPED = "skipped."
DROPPED = "dropped."
SAMPLED_OUT = "sampled_out"
"""The reason under SKIPPED of what chance left out."""
STALE = "stale"
"""The reason under SKIPPED of what the candidate need not show yet (shadow.freshness)."""
DRIFT = "drift."
"""Followed by a key (shadow.drift): exchanges in which an ignored place had these types."""
NOISE_PAIRS = "noise.pairs"
NOISE_DIFFERENT = "noise.different"
NOISE_SKIPPED = "noise.skipped"
NOISE_DROPPED = "noise.dropped"
"""Second answers of legacy that were lost on their way here. Not in DROPPED, as they were never in CAPTURED."""
LATENCY = "latency."
"""Followed by a side (shadow.latency.SIDES), a point, and a bucket: "latency.legacy.4" are legacy's answers in BUCKETS[4]."""
ERRORS = "errors."
"""Followed by a side: 5xx, no answer, or one that broke off."""
UNANSWERED = "unanswered."
"""Followed by a side: of ERRORS, those that are in no bucket of LATENCY."""
BAD_FRAMES = "bad_frames"
"""Connections dropped because what came was not a record; counted under the route ''."""

QUEUE_FULL = DROPPED + "shipper_full"
POOL_FULL = DROPPED + "comparison_full"
"""Too many comparisons that may take long were waiting."""
SHUTDOWN = DROPPED + "shipper_stopped"
FAILED = SKIPPED + "comparison_failed"
"""The comparison itself broke: a fault of Banyan's, told in the shipper's log."""

BROKER_AWAY = DROPPED + "broker_away"
"""NATS does not answer, or not as fast as exchanges come."""
BROKER_FULL = DROPPED + "broker_full"
"""The stream has all that it may hold: nobody compares, or not as fast as exchanges come."""
BROKER_REFUSED = DROPPED + "broker_refused"
"""NATS took it for too large, or took nothing: told in the shipper's log."""
EXPIRED = DROPPED + "expired"
UNREADABLE = DROPPED + "unreadable"
"""A shadow worker of another version could not read it, or it was no pack at all."""
POISON = DROPPED + "poison"
"""It ended the process in which a shadow worker opened it."""

_NO_VERDICT = tuple(SKIPPED + reason for reason in ("too_large", "event_stream", "reference_unanswered", STALE))
AFTER_CAPTURE = frozenset(
    (QUEUE_FULL, POOL_FULL, SHUTDOWN, BROKER_AWAY, BROKER_FULL, BROKER_REFUSED, EXPIRED, UNREADABLE, POISON, FAILED, *_NO_VERDICT)
)
"""What can become of an exchange, besides a comparison, once it is in CAPTURED. Every other reason is the edge's, of a request that is not:
the two never share one. Whoever adds a reason behind the edge adds it here (shadow/reconcile.py)."""


def lost(name: str, *, noise: bool) -> str:
    """What an exchange counts as that was to be counted as dropped by `name`."""
    return NOISE_DROPPED if noise else name


def failed(*, noise: bool) -> str:
    """What an exchange counts as whose comparison broke."""
    return NOISE_SKIPPED if noise else FAILED
