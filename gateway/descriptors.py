"""How many files a process may have open, each connection being one."""

from __future__ import annotations

import resource


def allow_all() -> int:
    """Raises this process's limit of open files to the hard one, which is what it may be raised to without asking anybody. Returns it.

    The soft limit is 1,024 on most systems, for the sake of programs that call select(2) (systemd: LimitNOFILE=1024:524288); a worker that
    heeded it would refuse clients at a few hundred connections. nginx has worker_rlimit_nofile for this; Go programs and HAProxy do it so.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
