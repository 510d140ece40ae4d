"""What is written, added up, rolled up, bounded and purged."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shadow import counters, database, report, states, store
from shadow.batch import MAX_SAMPLES_A_WRITE, MAX_SIGNATURES, MAX_TALLIES, OTHER, Batch
from shadow.compare import Kind
from shadow.judge import Judgement, Sample
from shadow.models import MAX_SAMPLES, Sighting, Signature, Tally
from shadow.models import Sample as Row

NOW = 1_800_000_000.0


def sample(number: int = 0, **more: Any) -> Sample:
    fields: dict[str, Any] = {
        "at": NOW + number, "request_id": f"r{number}", "method": "GET", "target": "/x", "served": "legacy",
        "legacy": {"text": "a"}, "candidate": {"text": "b"}, "differences": [], "cut": False,
    }  # fmt: skip
    return Sample(**(fields | more))


def mismatch(*paths: str, number: int = 0, route: str = "reviews", **more: Any) -> Judgement:
    signatures = tuple((Kind.VALUE, path) for path in paths)
    return Judgement(route, NOW + number, False, "mismatch", "", signatures, sample(number, **more))


def match(number: int = 0, route: str = "reviews") -> Judgement:
    return Judgement(route, NOW + number, False, "match")


def write(*judgements: Judgement) -> None:
    batch = Batch()
    for judgement in judgements:
        batch.judgement(judgement)
    store.write(batch)


@pytest.mark.django_db
def test_counts_add_up_over_writes_and_since_is_exact_to_the_second() -> None:
    write(match(0), match(1), mismatch("$.a", number=1))
    write(match(1), match(2), mismatch("$.a", "$.b", number=2))
    found = report.summary("reviews")
    assert (found.matched, found.mismatched, found.match_rate) == (4, 2, 4 / 6)
    assert [(line.path, line.count) for line in found.signatures] == [("$.a", 2), ("$.b", 1)]
    assert (found.signatures[0].first_seen, found.signatures[0].last_seen) == (NOW + 1, NOW + 2)
    assert report.summary("reviews", NOW + 1).compared == 5
    assert report.summary("reviews", NOW + 1.5).compared == 2
    assert report.summary("other").compared == 0


@pytest.mark.django_db
def test_seconds_become_minutes_after_an_hour_and_no_count_is_lost() -> None:
    write(*(match(number) for number in range(0, 7200, 7)))
    before = Tally.objects.count()
    total = report.summary("reviews").matched
    for _ in range(2):
        store.roll_up(NOW + 7200)
    assert Tally.objects.count() < before / 1.5
    assert report.summary("reviews").matched == total
    assert Tally.objects.filter(width=60).count() == 60
    write(match(30))
    store.roll_up(NOW + 7200)
    assert report.summary("reviews").matched == total + 1


@pytest.mark.django_db
def test_the_newest_samples_are_kept_and_shared_ones_stay() -> None:
    write(mismatch("$.rare", "$.often", number=0))
    for number in range(1, 30):
        write(mismatch("$.often", number=number))
    often = Signature.objects.get(path="$.often")
    assert sorted(row.request_id for row in often.samples.all()) == sorted(f"r{number}" for number in range(10, 30))
    assert [row.request_id for row in Signature.objects.get(path="$.rare").samples.all()] == ["r0"]
    assert Row.objects.count() == MAX_SAMPLES + 1


@pytest.mark.django_db
def test_a_flood_of_paths_ends_under_one_signature() -> None:
    for start in range(0, MAX_SIGNATURES + 300, 100):
        write(*(mismatch(f"$.key{number}", number=number) for number in range(start, start + 100)))
    assert Signature.objects.count() == MAX_SIGNATURES + 1
    assert Signature.objects.get(path=OTHER).count == 300
    assert sum(Signature.objects.values_list("count", flat=True)) == MAX_SIGNATURES + 300


@pytest.mark.django_db
def test_what_is_older_than_the_retention_goes_but_not_what_a_person_judged() -> None:
    write(mismatch("$.old"), mismatch("$.judged"), mismatch("$.fresh", number=5000))
    states.change(Signature.objects.get(path="$.judged").pk, "expected", by="ada", why="a rule")
    store.purge(NOW + 4500, 1000)
    assert report.summary("reviews").mismatched == 3, "counts go by whole hours"
    store.purge(NOW + 5500, 1000)
    assert set(Signature.objects.values_list("path", flat=True)) == {"$.judged", "$.fresh"}
    assert [row.request_id for row in Row.objects.all()] == ["r5000"]
    assert Sighting.objects.count() == 1
    assert report.summary("reviews").mismatched == 1


@pytest.mark.django_db
def test_nul_and_foreign_text_can_be_stored() -> None:
    write(mismatch('$["\0"]', request_id="\0", differences=[{"legacy": "a\0b", "candidate": {"\0": ["\0"]}}]))
    (row,) = Row.objects.all()
    assert "\0" not in repr(row.differences) + row.request_id
    assert row.differences[0]["legacy"] == "a\N{SYMBOL FOR NULL}b"


def test_a_batch_is_bounded_by_what_it_counts() -> None:
    batch = Batch()
    for number in range(50):
        batch.judgement(mismatch("$.a", number=number))
    ((key, samples),) = batch.samples.items()
    assert key == ("reviews", Kind.VALUE, "$.a")
    assert [sample.request_id for sample in samples] == [f"r{number}" for number in range(50 - MAX_SAMPLES_A_WRITE, 50)]
    for number in range(MAX_TALLIES + 10):
        batch.count("reviews", number, counters.MATCHED)
    assert len(batch.tallies) == MAX_TALLIES
    assert batch.lost > 0


def test_a_batch_that_could_not_be_written_loses_nothing() -> None:
    first, second = Batch(), Batch()
    first.judgement(mismatch("$.a", number=0))
    second.judgement(mismatch("$.a", number=5))
    second.judgement(match(5))
    second.merge(first)
    seen = second.signatures["reviews", Kind.VALUE, "$.a"]
    assert (seen.count, seen.first, seen.last) == (2, NOW, NOW + 5)
    assert sum(second.tallies.values()) == 3
    assert [sample.request_id for sample in second.samples["reviews", Kind.VALUE, "$.a"]] == ["r0", "r5"]


MIGRATE = """
import sys
from pathlib import Path
from shadow import store
store.setup("sqlite:///var/b.sqlite3", Path(sys.argv[1]))
store.migrate(Path(sys.argv[1]) / "var")
from shadow import report
assert report.known_routes() == []
"""


def test_several_processes_may_migrate_at_once(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", MIGRATE, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40w@h:5433/name", {"NAME": "name", "USER": "u", "PASSWORD": "p@w", "HOST": "h", "PORT": "5433"}),
        ("postgresql://u@/name?host=%2Frun%2Fsock", {"NAME": "name", "USER": "u", "HOST": "/run/sock", "PORT": ""}),
        ("sqlite:///var/x.sqlite3", {"NAME": "/base/var/x.sqlite3"}),
        ("sqlite:////srv/x.sqlite3", {"NAME": "/srv/x.sqlite3"}),
    ],
)
def test_database_addresses(url: str, expected: dict[str, str]) -> None:
    settings = database.settings(url, Path("/base"))
    assert {key: settings[key] for key in expected} == expected


@pytest.mark.parametrize(
    "url", ["", "sqlite:x", "sqlite://x", "sqlite:///", "mysql://u:secret@h/d", "postgres://u:secret@h", "postgres://u:secret@h:x/d"]
)
def test_other_addresses_are_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(database.DatabaseURLError) as caught:
        database.settings(url, Path("/base"))
    assert "secret" not in str(caught.value)


@pytest.mark.django_db
def test_mode_and_coverage() -> None:
    batch = Batch()
    second = int(time.time())
    for name, number in ((counters.SERVED_LEGACY, 3), (counters.SERVED_CANDIDATE, 7), (counters.FALLBACK, 3), (counters.ELIGIBLE, 4)):
        batch.count("r", second, name, number)
    batch.count("r", second, counters.MATCHED, 5)
    batch.count("r", second, counters.SERVED_GATEWAY, 2)
    batch.count("r", second, counters.UNFINISHED, 1)
    store.write(batch)
    found = report.summary("r", second)
    assert (found.mode, found.served, found.coverage, found.match_rate) == ("candidate", 12, 1.0, 1.0)
    assert (found.gateway, found.unfinished) == (2, 1)
    assert found.eligible == 5, "of what was compared, nothing can have been less than eligible"
    assert report.summary("r", second + 1).mode == "idle"
    assert not report.gate_of(found, minimum=5, match=0.9).passed
