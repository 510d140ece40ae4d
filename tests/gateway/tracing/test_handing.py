"""What a worker hands to the exporter of spans, and what becomes of it where there is none to take it."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config import parse
from gateway.control import Channel, Configure, Drain, Report, ToWorker
from gateway.engine import Engine, Worker
from gateway.identity.received import RECEIVED
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.telemetry import Stats
from gateway.tracing.handing import Handing

TEXT = '[gateway]\naccess_log = ""\n[upstreams]\nlegacy = "http://a"\n[tracing]\nendpoint = "http://a/v1/traces"\n'

pytestmark = pytest.mark.asyncio


async def test_what_no_exporter_takes_before_the_end_is_abandoned(tmp_path: Path) -> None:
    handing = Handing(asyncio.get_running_loop())
    links: list[ShipperLink | None] = []
    await handing.adopt(str(tmp_path / "nobody.sock"), parse(tmp_path / "banyan.toml", TEXT), lambda link, _: links.append(link))
    (link,) = links
    assert link is not None
    assert [link.put(b"record") for _ in range(3)] == ["", "", ""]
    assert handing.take_abandoned() == 0
    await handing.close()
    await handing.close()
    assert (handing.take_abandoned(), handing.take_abandoned()) == (3, 0)


class Told:
    """A supervisor's end of the channel, that says these things."""

    def __init__(self, *messages: ToWorker) -> None:
        self.messages = deque(messages)
        self.said: list[object] = []

    async def receive(self) -> ToWorker | None:
        return self.messages.popleft() if self.messages else None

    def send(self, message: object) -> None:
        self.said.append(message)

    async def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class Traced:
    """An engine that carries nothing, and has told of two requests when it ends."""

    link: ShipperLink | None = None

    def take_stats(self) -> Stats:
        return Stats()

    def watch_ends(self, ended: Any) -> None:
        """Nothing ends."""

    def trace(self, link: ShipperLink | None, config: Config) -> None:
        self.link = link

    async def drain(self, seconds: float) -> int:
        return 0

    async def close(self) -> None:
        assert self.link is not None
        for _ in range(2):
            self.link.put(b"record")


async def test_a_workers_last_report_has_the_spans_that_nobody_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(RECEIVED, "asking", RECEIVED.asking)
    channel = Told(Configure(str(tmp_path / "banyan.toml"), TEXT, "", exporter=str(tmp_path / "nobody.sock")), Drain(1.0))
    await Worker(cast("Channel[ToWorker]", channel), [], lambda *_: cast("Engine", Traced())).run()
    dropped = [message.stats.spans_dropped for message in channel.said if isinstance(message, Report)]
    assert [each for each in dropped if each] == [{"exporter_gone": 2}]
