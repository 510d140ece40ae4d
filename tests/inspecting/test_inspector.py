"""How much is kept of what passes, without a gateway."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import pytest_asyncio
from wsproto.frame_protocol import Opcode

from gateway.config import parse
from inspecting.told import Told

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, which mitmproxy uses in its old words
    from mitmproxy.addons.view import View
    from mitmproxy.test import tflow
    from mitmproxy.websocket import WebSocketMessage

    from inspecting import inspector, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mitmproxy.http import HTTPFlow

    from gateway.mitm.relay import Relay

LARGE = 2**20


class Looked:
    """An inspector, and what it is told of."""

    def __init__(self) -> None:
        self.view = View()
        config = parse(Path("banyan.toml"), '[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
        told = Told(web=0, password="", keep=100, body=LARGE, credentials=False)
        self.inspector = inspector.Inspector(self.view, told, config)

    def begin(self, name: str) -> HTTPFlow:
        """A request comes."""
        flow = tflow.tflow()
        self.inspector.begun(flow, relay(name))
        return flow

    def say(self, flow: HTTPFlow, count: int) -> None:
        """So many large messages pass on a WebSocket."""
        for _ in range(count):
            self.inspector.message(flow, WebSocketMessage(Opcode.BINARY, True, bytes(LARGE)))

    def messages(self) -> list[int]:
        """How many are shown, of each flow."""
        return [len(each.websocket.messages) if each.websocket is not None else 0 for each in self.shown()]

    def shown(self) -> list[HTTPFlow]:
        return [cast("HTTPFlow", each) for each in self.view]

    @property
    def held(self) -> int:
        """Bytes of everything that can still be reached from what is under way or shown."""
        every = {each.id: each for each in [*self.shown(), *self.inspector._by_flow.values()]}
        return sum(map(shown.weight, every.values()))


def relay(name: str) -> Relay:
    """As much of one as is shown."""
    nothing = dict.fromkeys(("problem", "serve", "caller", "decision", "capture", "peeks", "own"))
    return cast("Relay", SimpleNamespace(route="", reason="unrouted", request_id=name.encode(), **nothing))


@pytest_asyncio.fixture
async def looked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Looked]:
    monkeypatch.setattr(inspector, "MAX_BYTES", 20 * LARGE)
    monkeypatch.setattr(shown, "MESSAGE_BYTES", 8 * LARGE)
    started = Looked()
    yield started
    started.inspector.close()


async def test_one_flow_s_messages_are_bounded_by_their_size(looked: Looked) -> None:
    flow = looked.begin("one")
    looked.say(flow, 30)
    assert looked.messages() == [8]
    assert looked.held < 9 * LARGE


async def test_messages_of_flows_under_way_push_out_the_oldest(looked: Looked) -> None:
    flows = [looked.begin(str(number)) for number in range(4)]
    for flow in flows:
        looked.say(flow, 8)
        assert looked.held <= 20 * LARGE
    assert looked.messages() == [8, 8]
    seen = looked.shown()
    # What is pushed out gathers no more, and its end is nobody's matter.
    looked.say(flows[0], 8)
    looked.inspector.over(flows[0], relay("0"))
    assert looked.shown() == seen
    assert looked.held <= 20 * LARGE


async def test_what_was_pushed_out_holds_nothing(looked: Looked) -> None:
    first = looked.begin("first")
    looked.say(first, 8)
    (gone,) = looked.shown()
    for number in range(3):
        looked.say(looked.begin(str(number)), 8)
    assert gone not in looked.shown()
    assert shown.weight(gone) < LARGE
    assert gone.websocket is None


async def test_fields_have_their_weight_too(looked: Looked) -> None:
    for number in range(50):
        flow = tflow.tflow()
        flow.request.headers["X-Large"] = "x" * LARGE
        looked.inspector.begun(flow, relay(str(number)))
    assert len(looked.shown()) < 20
