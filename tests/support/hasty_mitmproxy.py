"""`python -m tests.support.hasty_mitmproxy`: the same as tests/support/hasty_edge.py of a worker that runs the mitmproxy engine."""

from __future__ import annotations

import asyncio

from gateway.quick import HTTPX_COMMAND, absent, bare, importing

if __name__ == "__main__":
    with importing():
        bare("mitmproxy.addons")
        absent(HTTPX_COMMAND)
        from gateway import engine
        from gateway.mitm.engine import MitmEngine
    engine.REPORT_SECONDS = 0.1
    engine.main(MitmEngine, asyncio.run)
