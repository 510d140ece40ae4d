"""A shadow worker that dies, the way a machine does, after it has committed and before it has acknowledged: `python -m … CONFIG`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from gateway.config import load
from shadow.consumed import Counted
from shadow.standalone import make_worker


def main() -> None:
    worker = make_worker(load(sys.argv[1]))
    write = worker._write

    def write_and_die(messages: Sequence[Counted]) -> int:
        write(messages)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody outlives that")

    worker._write = write_and_die
    asyncio.run(worker.run())


if __name__ == "__main__":
    main()
