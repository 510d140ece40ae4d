"""Timeouts expire in order, once, and only if they were not ended."""

from gateway.net.deadlines import Timeouts


def test_a_timeout_expires_once_and_in_order() -> None:
    expired: list[str] = []
    timeouts = Timeouts(10.0, expired.append)
    timeouts.begin("a", 0.0)
    timeouts.begin("b", 1.0)
    timeouts.begin("c", 2.0)
    timeouts.begin("a", 3.0)
    timeouts.end("c")
    timeouts.tick(10.9)
    assert expired == []
    timeouts.tick(11.0)
    assert expired == ["b"]
    timeouts.tick(100.0)
    timeouts.tick(200.0)
    assert expired == ["b", "a"]
    assert len(timeouts) == 0


def test_what_expires_may_end_or_begin_others() -> None:
    expired: list[str] = []

    def expire(item: str) -> None:
        expired.append(item)
        timeouts.end("b")
        timeouts.begin("again", 50.0)

    timeouts = Timeouts(10.0, expire)
    timeouts.begin("a", 0.0)
    timeouts.begin("b", 0.0)
    timeouts.tick(20.0)
    assert expired == ["a"]
    assert len(timeouts) == 1
