"""`banyan bench`: speed beside peers."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

from cyclopts import Parameter


def bench(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Runs the benchmarks of a source checkout, as `make bench` does: speed and memory beside peers, and the bars.

    Example: banyan bench edge

    Parameters
    ----------
    arguments
        Passed on; see python -m bench --help.
    """
    return subprocess.run([sys.executable, "-m", "bench", *arguments], check=False).returncode  # noqa: S603 - our own module
