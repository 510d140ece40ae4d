"""Whoever looks changes nothing: what the tests of conformance say of requests and of upgrades holds under `banyan inspect` too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.conftest import World, configuration, world
from tests.conformance.test_requests import *  # noqa: F403 - the tests themselves
from tests.conformance.test_upgrade import *  # noqa: F403 - as above
from tests.support.gateway import Upstream, gateway, ok

__all__ = ["world"]

OF_THEIR_OWN = (
    "test_behind_a_trusted_proxy_flags_and_the_log_see_the_client",
    "test_a_trace_is_the_gateways_own_and_a_trusted_proxys_goes_on",
)
"""They start a gateway that nobody looks into."""
for name in OF_THEIR_OWN:
    del globals()[name]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("looked-into")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        # To look takes time of the same process: the candidate is not to be late on a busy machine.
        toml = configuration(folder, legacy, new).replace('response_timeout = "700ms"', 'response_timeout = "2s"')
        async with gateway(folder, toml, inspect=["--keep", "100"]) as started:
            yield World("mitmproxy", started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()
