"""A worker that runs the mitmproxy engine: `python -m gateway.mitm`."""

from __future__ import annotations

import asyncio

from gateway.quick import importing

if __name__ == "__main__":
    with importing():
        from gateway import engine
        from gateway.mitm.engine import MitmEngine
    engine.main(MitmEngine, asyncio.run)
