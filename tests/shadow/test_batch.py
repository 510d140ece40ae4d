"""What a batch holds is bounded by route, and nothing is lost that could be kept by the minute."""

from __future__ import annotations

from dataclasses import replace

from shadow.batch import MAX_COMBINATIONS, MAX_DRIFTS, MAX_SAMPLES_A_WRITE, MAX_SIGNATURES, MAX_TALLIES, OTHER, Batch
from shadow.compare import Drift, Kind
from shadow.judge import Judgement, Sample
from shadow.recompute import combination
from shadow.room import MAX_BYTES, weight
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


def large(number: int, *paths: str) -> Judgement:
    """With a sample of half a megabyte."""
    side = {"text": f"{number}" + "x" * 256 * 1024}
    sample = Sample(float(number), f"q{number}", "GET", "/", "legacy", side, {"text": f"{number}" + "y" * 256 * 1024}, [], False)
    return replace(shows("r", *paths, at=float(number)), sample=sample)


def held(batch: Batch) -> int:
    """Bytes of text."""
    each = {id(sample): sample for samples in batch.samples.values() for sample in samples}
    each |= {id(drifted.sample): drifted.sample for drifted in batch.drifts.values() if drifted.sample is not None}
    return sum(len(side["text"]) for sample in each.values() for side in (sample.legacy, sample.candidate))


def test_samples_are_bounded_in_bytes_and_counts_are_not() -> None:
    batch = Batch()
    for number in range(3 * MAX_SIGNATURES):
        batch.judgement(large(number, f"$.p{number % MAX_SIGNATURES}"))
        batch.judgement(replace(large(number), drifts=(Drift(f"$.d{number % MAX_DRIFTS}", "string", "number"),)))
    assert MAX_BYTES // 2 < held(batch) <= MAX_BYTES
    assert held(batch) <= batch.room.bytes <= MAX_BYTES
    assert all(seen.count == 3 for seen in batch.signatures.values())
    assert len(batch.signatures) == MAX_SIGNATURES
    for _ in range(3):  # the database is away, and stays so
        later = Batch()
        for number in range(MAX_SIGNATURES):
            later.judgement(large(number, f"$.p{number}"))
        later.merge(batch)
        batch = later
        assert MAX_BYTES // 2 < held(batch) <= MAX_BYTES
    assert all(seen.count == 6 for seen in batch.signatures.values())


def test_a_sample_that_many_signatures_show_is_counted_once() -> None:
    batch = Batch()
    one = large(0, *(f"$.p{number}" for number in range(300)))
    batch.judgement(one)
    assert one.sample is not None
    assert batch.room.bytes == weight(one.sample)
    for number in range(1, 4):
        batch.judgement(large(number, *(f"$.p{place}" for place in range(300))))
    assert [len(samples) for samples in batch.samples.values()] == [MAX_SAMPLES_A_WRITE] * 300
    assert batch.room.bytes == sum(map(weight, batch.samples["r", Kind.VALUE, "$.p0"]))


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
