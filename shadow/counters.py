"""The names under which things are counted (shadow.models.Tally.name). `skipped.` and `dropped.` are followed by a reason."""

from __future__ import annotations

SERVED_LEGACY = "served.legacy"
SERVED_CANDIDATE = "served.candidate"
FALLBACK = "served.fallback"
"""Requests that the candidate failed and legacy answered; counted under SERVED_LEGACY too."""
ELIGIBLE = "eligible"
CAPTURED = "captured"
MATCHED = "matched"
MISMATCHED = "mismatched"
SKIPPED = "skipped."
DROPPED = "dropped."
NOISE_PAIRS = "noise.pairs"
NOISE_DIFFERENT = "noise.different"
NOISE_SKIPPED = "noise.skipped"
BAD_FRAMES = "bad_frames"
"""Connections dropped because what came was not a record; counted under the route ''."""

QUEUE_FULL = DROPPED + "shipper_full"
SHUTDOWN = DROPPED + "shipper_stopped"
FAILED = SKIPPED + "comparison_failed"
"""The comparison itself broke: a fault of Banyan's, told in the shipper's log."""
