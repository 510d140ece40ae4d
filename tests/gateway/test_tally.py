"""What a worker counts is what it reports, and what the supervisor adds up."""

from gateway.tally import Tally
from gateway.telemetry import BUCKETS, Stats, TurnstileStats, merge


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


def test_times_and_errors_of_both_sides_are_told_by_side() -> None:
    tally = Tally()
    route = tally.route("reviews")
    for seconds in (0.002, 0.002, 0.3):
        route.finish("legacy", 200, seconds)
    route.finish("legacy", 500, 0.002)
    route.finish("candidate", 503, 0.02)
    route.fell_back("timeout")  # the candidate did not answer
    route.finish("legacy", 200, 1.5)
    route.failed("legacy", begun=False)  # and here nobody did
    route.finish("gateway", 504, 5.0)
    route.failed("candidate", begun=True)
    route.finish("candidate", 0, 0.02)
    for status, seconds in ((200, 0.0001), (500, 99.0), (0, 5.0)):
        route.beside("candidate", status, seconds)
    told = tally.report().routes["reviews"].shadow
    assert told.latency == {"legacy": {1: 3, 8: 1, 10: 1}, "candidate": {4: 2}, "shadow-candidate": {0: 1, 13: 1}}
    assert told.errors == {"legacy": 2, "candidate": 3, "shadow-candidate": 2}
    assert told.unanswered == {"legacy": 1, "candidate": 1, "shadow-candidate": 1}
    total = Stats()
    for _ in range(2):
        again = Tally()
        again.route("r").beside("candidate", 200, 0.002)
        again.route("r").failed("legacy", begun=False)
        merge(total, again.report())
    summed = total.routes["r"].shadow
    assert (summed.latency, summed.errors, summed.unanswered) == ({"shadow-candidate": {1: 2}}, {"legacy": 2}, {"legacy": 2})


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


def test_what_was_shed_adds_up_and_gauges_do_not() -> None:
    total = Stats()
    for shed in ({"normal queue-full": 2}, {"normal queue-full": 1, "critical displaced": 1}):
        merge(total, Stats(turnstiles={"legacy": TurnstileStats(waited=3, shed=shed, limit=8, inside=5, waiting=2)}))
    found = total.turnstiles["legacy"]
    assert (found.waited, found.shed) == (6, {"normal queue-full": 3, "critical displaced": 1})
    assert (found.limit, found.inside, found.waiting) == (0, 0, 0)
