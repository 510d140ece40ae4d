"""Usage reaches Unleash exactly once, whatever it answers."""

# ruff: noqa: ASYNC110 - what is published has no event to wait for
from __future__ import annotations

import asyncio
import logging

import pytest

from flags import usage
from tests.support.fake_unleash import ON, FakeUnleash, arrived, on, refusals, running


async def test_usage_is_counted_exactly_and_kept_while_unleash_is_down(server: FakeUnleash) -> None:
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "g": (0, 7)})
        await arrived(server, "f", (3, 2))
        server.mode = "500"
        await seen.until(lambda snapshot: bool(snapshot.error))
        source.report({"f": (10, 0)})
        source.report({"f": (1, 1)})
        await server.polled(3)
        assert len(server.metrics) == 1
        server.mode = "ok"
        await arrived(server, "f", (14, 3))
        server.usage_mode = "503"
        source.report({"f": (0, 4)})
        await refusals(server, 1)
        server.usage_mode = ""
    # Closing sent what was left.
    assert server.counted("f") == (14, 7)
    assert server.counted("g") == (0, 7)
    assert len(server.metrics) == 3
    (one,) = {(metrics["appName"], metrics["instanceId"]) for metrics in (*server.metrics, *server.refused)}
    assert one == (server.registered[0]["appName"], server.registered[0]["instanceId"])


@pytest.mark.parametrize(("mode", "says"), [("503", "answered 503"), ("302", "answered 302"), ("cut", "closed the connection")])
async def test_usage_that_was_not_taken_is_added_to_the_next_report(
    server: FakeUnleash, mode: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.usage_mode = mode
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "g": (1, 0)})
        await refusals(server, 3)
        source.report({"f": (1, 1)})
        server.usage_mode = ""
        await arrived(server, "f", (4, 3))
        assert server.counted("g") == (1, 0)
        source.report({"h": (1, 0)})
        await arrived(server, "h", (1, 0))
        assert not seen[-1].error
    assert (server.counted("f"), server.counted("g")) == ((4, 3), (1, 0))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert f"does not take usage ({says}" in warnings[0]


async def test_usage_that_the_end_cannot_report_is_said(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.usage_mode = "503"
    async with running(server.url, metrics_interval=30) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2)})
    assert len(server.refused) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["flags: Unleash did not take the last usage (answered 503): it is not counted there"]


async def test_usage_that_was_taken_without_a_word_is_not_sent_again(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.usage_mode = "late"
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2)})
        async with asyncio.timeout(8):
            while "did not say in time" not in caplog.text:
                await asyncio.sleep(0.01)
        server.usage_mode = ""
        source.report({"h": (1, 0)})
        await arrived(server, "h", (1, 0))
    assert server.counted("f") == (3, 2)


async def test_usage_of_a_new_flag_waits_until_unleash_counts_it(server: FakeUnleash, monkeypatch: pytest.MonkeyPatch) -> None:
    server.forgetful = 1.0
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 1.0)
    async with running(server.url, metrics_interval=0.1) as (source, seen):
        await seen.until(on)
        source.report({"f": (3, 2), "nowhere": (0, 1)})
        await arrived(server, "nowhere", (0, 1))  # of what is no flag there is nothing to wait for
        await arrived(server, "f", (3, 2))
        server.features = ON.replace(b'"features":[', b'"features":[{"name":"new","enabled":true,"strategies":[]},')
        await seen.until(lambda snapshot: b'"new"' in snapshot.features)
        source.report({"f": (1, 0), "new": (5, 0)})
        await arrived(server, "f", (4, 2))
        source.report({"new": (1, 1)})
        await arrived(server, "new", (6, 1))
