"""Whether this machine, or what this process may use of it, suffices for what is configured."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.config import Config
from gateway.doctor.findings import Finding

_BESIDE: Final = 200
"""Open files of a worker that are no client's: libraries, sockets to the supervisor, health checks, logs."""
_EACH: Final = 2
"""A client's connection, and an upstream's."""
_CGROUP: Final = Path("/sys/fs/cgroup")


def files(config: Config) -> Sequence[Finding]:
    """Open files. A worker raises its limit to the hard one by itself."""
    about = "open files"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    workers = config.gateway.processes
    connections = config.gateway.limits.connections
    wanted = _EACH * -(-connections // workers) + _BESIDE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        shown = "no limit" if hard == resource.RLIM_INFINITY else f"{hard} a process"
        return [Finding(about, "fine", f"{shown}: enough for {connections} connections")]
    fits = max(0, (hard - _BESIDE) // _EACH) * workers
    return [
        Finding(
            about, "warning", f"{hard} a process (ulimit -Hn): enough for {fits} of {connections} connections",
            f"allow {wanted} (systemd: LimitNOFILE={wanted}), or lower gateway.limits.connections",
        )
    ]  # fmt: skip


def processors(config: Config) -> Sequence[Finding]:
    """Workers, and what there is for them to run on."""
    about = "processors"
    cores = len(os.sched_getaffinity(0))
    share = quota()
    usable = min(float(cores), share) if share is not None else float(cores)
    workers = config.gateway.processes
    said = f"{workers} worker{'' if workers == 1 else 's'} on {usable:g} of them"
    if workers > max(1.0, usable):
        why = "workers = 0 goes by cores, and a container's limit is not seen there" if not config.gateway.workers else "they take turns"
        return [Finding(about, "warning", f"{said}: {why}", f"set gateway.workers = {max(1, int(usable))}")]
    return [Finding(about, "fine", said)]


def quota() -> float | None:
    """Processors that this control group may use (cgroup v2: cpu.max of it and of those above), None: as many as there are."""
    try:
        # "0::/path": the only line, where version 2 is alone
        own = next(line.partition("::")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    place = _CGROUP / own.strip().lstrip("/")
    found = [share for each in (place, *place.parents) if each.is_relative_to(_CGROUP) and (share := _share(each)) is not None]
    return min(found, default=None)


def _share(group: Path) -> float | None:
    try:
        most, period = (group / "cpu.max").read_text().split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
