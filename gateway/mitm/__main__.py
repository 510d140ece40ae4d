"""A worker that runs the mitmproxy engine: `python -m gateway.mitm`."""

from __future__ import annotations

import asyncio

from gateway.quick import HTTPX_COMMAND, absent, bare, importing

if __name__ == "__main__":
    with importing():
        # Of mitmproxy's own addons a worker has two, and the package would load all of them, with Flask, Werkzeug and LDAP.
        bare("mitmproxy.addons")
        absent(HTTPX_COMMAND)
        from gateway import engine
        from gateway.mitm.engine import MitmEngine
    engine.main(MitmEngine, asyncio.run)
