"""Where the state of all flags comes from. One source runs in the supervisor; what it publishes goes to every worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from flags.snapshot import Snapshot

Publish = Callable[[Snapshot], None]


class Source(Protocol):
    """Publishes a Snapshot when there is a first state and whenever its revision, source or error changes."""

    async def run(self, publish: Publish) -> None:
        """Runs until cancelled. `publish` is called on this event loop and must not block.

        Raises:
            FlagFileError: a file source has no readable file to start from.
        """
        ...

    async def refresh(self) -> None:
        """Looks now, and returns once it has looked."""
        ...

    def staleness(self) -> float:
        """Seconds since the source last confirmed the published state; infinite before the first time."""
        ...

    def report(self, usage: Mapping[str, tuple[int, int]], variants: Mapping[str, Mapping[str, int]] = ...) -> None:
        """Takes how often each flag said (yes, no) since the last report, and how often each of its variants was the answer."""
        ...

    def close(self) -> None:
        """Ends what `run` left behind. Safe to call twice, and without `run`."""
        ...


class FlagSourceError(ValueError):
    """The [flags] section cannot work as it is. The message says which key and what to do."""


def check_url(url: str) -> None:
    """
    Raises:
        FlagSourceError: it cannot be the address of Unleash's API. It may hold a password, and is not repeated.
    """
    try:
        parts = urlsplit(url)
        reachable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        reachable = False
    # urlsplit drops line ends; whoever connects does not.
    if not reachable or "@" in parts.netloc or parts.query or parts.fragment or " " in url or not url.isprintable():
        raise FlagSourceError("flags.url: expected Unleash's API address, such as http://unleash.internal:4242/api, without credentials")


def check_token(token: str, key: str = "flags.token") -> None:
    """
    Raises:
        FlagSourceError: it cannot be a token of Unleash's. It is not repeated.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise FlagSourceError(f"{key}: empty, or with spaces or line ends; Unleash makes one under Admin > API access")


def create(
    *,
    source: str,
    path: str | Path = "flags.json",
    url: str = "",
    token: str = "",
    refresh: float = 0.5,
    backup: str | Path | None = None,
    folder: str | Path = ".",
    app_name: str = "banyan",
    instance_id: str | None = None,
) -> Source:
    """The source that the [flags] section names. Relative paths are below `folder`.

    Raises:
        FlagSourceError: an unknown `source`, or Unleash without a usable address or token.
    """
    base = Path(folder)
    if source == "file":
        from flags.file import FileSource

        return FileSource(base / path)
    if source == "unleash":
        # Imported only here: a gateway that reads a file needs neither requests nor APScheduler in memory.
        from flags.unleash import UnleashSource

        return UnleashSource(
            url, token, refresh=refresh, backup=None if backup is None else base / backup, app_name=app_name, instance_id=instance_id
        )
    raise FlagSourceError(f'flags.source: {source!r} is neither "file" nor "unleash"')
