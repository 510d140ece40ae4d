"""Every reason that an exchange can end for stands on one side of the sum or the other."""

from __future__ import annotations

import re
from pathlib import Path

from shadow import counters
from shadow.reconcile import in_words, reconcile
from shadow.report import RouteReport

ROOT = Path(__file__).resolve().parents[2]


def report(**more: object) -> RouteReport:
    return RouteReport("r", 0.0, **{"captured": 10, "matched": 4, "mismatched": 2, **more})  # type: ignore[arg-type]  # names of its own


def test_what_the_edge_did_not_capture_is_in_neither_side() -> None:
    found = reconcile(
        report(
            skipped={"too_large": 1, "comparison_failed": 1, "method": 500, "sampled_out": 7},
            dropped={"broker_full": 1, "shipper_stopped": 1, "queue_full": 70, "concurrency": 3},
        )
    )
    assert (found.missing, found.adds_up) == (0, True)
    assert in_words(found) == (
        "captured 10 = compared 6 + skipped 1 too_large + skipped 1 comparison_failed + dropped 1 broker_full + dropped 1 shipper_stopped"
    )


def test_what_is_missing_is_said() -> None:
    found = reconcile(report())
    assert (found.missing, found.adds_up) == (4, False)
    assert "+ missing 4 (under way, or lost" in in_words(found)
    assert reconcile(report(captured=5)).missing == -1
    assert "- 1 (compared before" in in_words(reconcile(report(captured=5)))


def test_every_reason_behind_the_edge_is_known() -> None:
    """A reason that is counted behind the edge and not in AFTER_CAPTURE would make sums that are right look wrong."""
    named = {value for name, value in vars(counters).items() if name.isupper() and isinstance(value, str)}
    reasons = {value for value in named if value.startswith((counters.SKIPPED, counters.DROPPED)) and not value.endswith(".")}
    assert len(reasons) > 8
    assert reasons <= counters.AFTER_CAPTURE
    edge = (ROOT / "gateway" / "net" / "mirror.py").read_text()
    for reason in re.findall(r'self\.skipped = "(\w+)"', edge):  # of an answer that is captured without its body
        assert counters.SKIPPED + reason in counters.AFTER_CAPTURE
    own = set(re.findall(r'(?:skip|drop)\(counts, "(\w+)"\)', edge))
    assert len(own) > 3
    assert not {each.partition(".")[2] for each in counters.AFTER_CAPTURE} & own
