"""A worker that runs the mitmproxy engine: `python -m gateway.mitm`."""

from __future__ import annotations

import asyncio

from gateway import engine
from gateway.mitm.engine import MitmEngine

if __name__ == "__main__":
    engine.main(MitmEngine, asyncio.run)
