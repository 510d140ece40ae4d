"""banyan.toml, as the console's pages and threads go by it: read again when it has changed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from gateway.config import Config, load


def configuration() -> Config | None:
    """banyan.toml as it is now; None where the console was not told of it.

    Raises:
        gateway.config.ConfigError: it can't be used.
    """
    if not settings.BANYAN_CONFIG:
        return None
    path = Path(settings.BANYAN_CONFIG)
    return _load(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(path: str, _modified: int) -> Config:
    return load(path)
