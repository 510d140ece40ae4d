"""What a worker counts is what it reports, and what the supervisor adds up."""

from gateway.tally import Tally
from gateway.telemetry import BUCKETS, Stats, merge


def test_a_report_says_what_was_counted() -> None:
    tally = Tally()
    for seconds in (0.0005, 0.001, 0.002, 100.0):
        tally.route("reviews").finish("legacy", 200, seconds)
    tally.route("reviews").finish("candidate", 503, 0.0)
    tally.route("reviews").finish("candidate", 0, 0.0)
    tally.route("reviews").finish("gateway", 502, 0.0)
    tally.route("reviews").fell_back("status-503")
    tally.route("reviews").shadow.eligible += 2
    tally.route("").finish("gateway", 404, 0.0)
    tally.problem("framing")
    tally.event("underscored-header", 3)
    report = tally.report()
    reviews = report.routes["reviews"]
    assert reviews.answered == {"legacy 200": 4, "candidate 503": 1, "candidate 0": 1, "gateway 502": 1}
    # A bound belongs to its bucket (Prometheus: less or equal).
    assert reviews.latency["legacy"].buckets == [2, 1, *[0] * (len(BUCKETS) - 2), 1]
    assert reviews.latency["legacy"].total == 100.0035
    assert (reviews.shadow.legacy, reviews.shadow.candidate, reviews.shadow.fallback, reviews.shadow.eligible) == (4, 1, 1, 2)
    assert (reviews.shadow.gateway, reviews.shadow.unfinished) == (1, 1), "so that every count of an answer stands in one sum"
    assert reviews.fallbacks == {"status-503": 1}
    assert report.routes[""].answered == {"gateway 404": 1}
    assert (report.problems, report.events) == ({"framing": 1}, {"underscored-header": 3})


def test_reports_add_up() -> None:
    total = Stats()
    for status in (200, 200, 404, 0):
        tally = Tally()
        tally.route("reviews").finish("legacy", status, 0.002)
        tally.event("x")
        merge(total, tally.report())
    assert total.routes["reviews"].answered == {"legacy 200": 2, "legacy 404": 1, "legacy 0": 1}
    assert total.routes["reviews"].latency["legacy"].buckets[1] == 4
    assert (total.routes["reviews"].shadow.legacy, total.routes["reviews"].shadow.unfinished) == (3, 1)
    assert total.events == {"x": 4}
