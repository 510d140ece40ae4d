"""What is otherwise in a mesh is said where it is, and not where it is not."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from gateway.export import envoy, istio
from gateway.export.losses import GIVEN_UP
from gateway.export.notes import notes
from gateway.export.plan import plan
from tests.support.exporting import ROUTE, SPLIT, around, config, flags

Mesh = Literal["envoy", "istio"]


def said(toml: str, state: Any, mesh: Mesh = "envoy", rest: str = "gateway") -> str:
    loaded, surroundings = config(toml), around(rest=rest)
    unsayable = envoy.unsayable if mesh == "envoy" else istio.unsayable
    found = plan(loaded, state, lambda handing: unsayable(loaded, surroundings, handing), give_up=GIVEN_UP)
    return "\n".join(notes(loaded, found, surroundings, mesh))


def test_of_nothing_nothing_is_said() -> None:
    assert said(ROUTE, flags()) == ""


@pytest.mark.parametrize(
    ("words", "with_it", "without"),
    [
        ("copies are sent", {"state": flags(reviews__shadow=True)}, {"state": flags(reviews=True)}),
        ("-shadow behind their Host", {"state": flags(reviews__shadow=True), "mesh": "istio"}, {"state": flags(reviews__shadow=True)}),
        ("the longest is every one's", {"toml": SPLIT}, {}),
        ("gateway.trusted_proxies", {}, {"rest": "legacy"}),
        ("paths that are not tidy", {}, {"rest": "legacy"}),
        ("%00 in a path", {"rest": "legacy"}, {}),
        ("numTrustedProxies", {"mesh": "istio"}, {}),
        ("xff_num_trusted_hops", {"toml": ROUTE + '[gateway]\ntrusted_proxies = ["10.0.0.0/8"]\n'}, {}),
        ("PROXY header", {"toml": ROUTE + "[gateway]\nproxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8']\n"}, {}),
        ("no Banyan-Route", {"toml": ROUTE + "[gateway]\nexpose_decision = true\n"}, {}),
        ("there is no breaker", {}, {"toml": ROUTE + "[upstreams.x]\nurl='http://x:1'\n", "state": flags()}),
        ("TLS to clients", {"toml": ROUTE + "[gateway]\ntls = { certificate = 'c.pem', key = 'k.pem' }\n"}, {}),
    ],
)
def test_a_note_is_there_for_a_reason(words: str, with_it: dict[str, Any], without: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"toml": ROUTE, "state": flags(reviews=True)}
    assert words in said(**(usual | with_it))
    assert words not in said(**(usual | without))
