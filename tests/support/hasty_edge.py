"""`python -m tests.support.hasty_edge`: a worker as `python -m gateway.worker` starts it, but that it reports ten times a second.

Where a test looks at what was counted it waits for the next report.
"""

from __future__ import annotations

import uvloop

from gateway import engine
from gateway.worker import EdgeEngine

if __name__ == "__main__":
    engine.REPORT_SECONDS = 0.1
    engine.main(EdgeEngine, uvloop.run)
