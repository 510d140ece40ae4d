"""`python -m console`."""

from __future__ import annotations

import sys

from gateway.quick import HTTPX_COMMAND, absent, importing

absent(HTTPX_COMMAND)
with importing():
    from console.server import main

sys.exit(main())
