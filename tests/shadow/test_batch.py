"""What a batch holds is bounded by route, and nothing is lost that could be kept by the minute."""

from __future__ import annotations

from shadow.batch import MAX_COMBINATIONS, MAX_SIGNATURES, MAX_TALLIES, OTHER, Batch
from shadow.compare import Kind
from shadow.judge import Judgement
from shadow.recompute import combination
from shadow.signature import Signature

KEPT = MAX_TALLIES // MAX_COMBINATIONS


def shows(route: str, *paths: str, at: float = 0.0, excused: bool = False) -> Judgement:
    named: tuple[Signature, ...] = tuple((Kind.VALUE, path) for path in paths)
    outcome = "match" if excused else "mismatch"
    return Judgement(route, at, False, outcome, "", () if excused else named, combination=combination(named), under=frozenset({"ignore $"}))


def test_what_one_route_is_full_of_is_nothing_to_another() -> None:
    batch = Batch()
    for number in range(MAX_SIGNATURES + 5):
        batch.judgement(shows("noisy", f"$.p{number}"))
    batch.judgement(shows("quiet", "$.total"))
    assert ("quiet", Kind.VALUE, "$.total") in batch.signatures
    assert batch.signatures["noisy", Kind.VALUE, OTHER].count == 5
    assert {members for route, members in batch.combinations if route == "quiet"} == {combination([(Kind.VALUE, "$.total")])}


def test_seconds_that_find_no_room_are_counted_by_the_minute() -> None:
    batch = Batch()
    for second in range(3 * KEPT):
        batch.judgement(shows("r", "$.t", at=float(second), excused=True))
    (shown,) = batch.combinations.values()
    assert sum(shown.seconds.values()) == 3 * KEPT
    assert len(shown.seconds) < KEPT + 3 * KEPT // 60 + 2
    other = Batch()
    other.judgement(shows("r", "$.t", at=9999.0, excused=True))
    batch.merge(other)
    assert sum(shown.seconds.values()) == 3 * KEPT + 1
