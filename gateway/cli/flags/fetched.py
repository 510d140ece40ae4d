"""The flags as a gateway would get them now, for when there is none to ask."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flags.snapshot import Snapshot

if TYPE_CHECKING:
    from gateway.cli.flags.steering import Steering


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

    from flags.admin import bounded
    from flags.admin.calls import TIMEOUT
    from flags.salvage import salvage

    try:
        with bounded.client(where.url.rstrip("/"), where.token, timeout=TIMEOUT) as unleash:
            response = unleash.get("/client/features")
        usable = salvage(response.raise_for_status().content)
    except (httpx.HTTPError, FeaturesError, ValueError):
        return None
    return Snapshot(revision(usable.features), usable.features, "unleash", time.time(), refused=usable.refused)
