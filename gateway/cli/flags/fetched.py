"""The flags as a gateway would get them now, for when there is none to ask."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flags.snapshot import Snapshot

if TYPE_CHECKING:
    from gateway.cli.flags.steering import Steering

TIMEOUT: Final = 5.0


def fetched(where: Steering) -> Snapshot | None:
    """None where they cannot be had."""
    from flags.features import FeaturesError, revision

    if where.source == "file":
        from flags.file import FlagFileError, read

        try:
            data = read(where.file)
        except FlagFileError:
            return None
        return Snapshot(revision(data), data, "file", time.time())
    import httpx

    from flags.salvage import salvage

    try:
        response = httpx.get(f"{where.url.rstrip('/')}/client/features", headers={"Authorization": where.token}, timeout=TIMEOUT)
        usable = salvage(response.raise_for_status().content)
    except (httpx.HTTPError, FeaturesError, ValueError):
        return None
    return Snapshot(revision(usable.features), usable.features, "unleash", time.time(), refused=usable.refused)
