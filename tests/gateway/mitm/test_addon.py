"""What this engine does with a request about which it cannot decide: nothing, for mitmproxy alone would send it on as it came."""

from __future__ import annotations

import warnings
from pathlib import Path

from gateway import build
from gateway.access import AccessLog
from gateway.config import parse
from tests.support.flags import Stumbling

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, which mitmproxy uses in its old words
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.flow import Error
    from mitmproxy.test import tflow

    from gateway.mitm.addon import GatewayAddon
    from gateway.mitm.shared import Shared

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:1"
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
"""


async def test_a_request_that_cannot_be_decided_about_goes_nowhere(tmp_path: Path) -> None:
    config = parse(tmp_path / "banyan.toml", TOML)
    shared = Shared(config, build.policy(config, Stumbling()), AccessLog(""), None)
    flow = tflow.tflow()
    flow.request.path = "/account/1"
    await GatewayAddon(shared, Proxyserver()).requestheaders(flow)
    assert flow.error is not None
    assert flow.error.msg == Error.KILLED_MESSAGE
    await shared.close()
