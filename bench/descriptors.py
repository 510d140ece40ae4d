"""Open files: a benchmark with 10,000 connections needs as many, and says so when it may not have them."""

from __future__ import annotations

import resource


class TooFewError(Exception):
    """The hard limit of open files is too low. The message says by how much, and what to do."""


def allow(count: int) -> None:
    """Raises this process's limit of open files, and so its children's, to what is allowed.

    Raises:
        TooFewError: that is fewer than `count`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise TooFewError(f"{count} open files are needed, and the hard limit is {hard}: raise it (ulimit -Hn, LimitNOFILE=)")
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
