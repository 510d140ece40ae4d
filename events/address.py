"""Where NATS is, as it is said on a command line."""

from __future__ import annotations

from urllib.parse import urlsplit


class AddressError(ValueError):
    """A text that does not say where NATS is. It may hold a password, and is not repeated."""


def addresses(text: str) -> tuple[str, ...]:
    """nats://host:port or tls://host:port, several with commas between them.

    Raises:
        AddressError: it is something else, or holds a name or a password.
    """
    found = tuple(part.strip() for part in text.split(","))
    for one in found:
        if "@" in one:
            raise AddressError("--nats: no passwords here, where everybody reads them; BANYAN_EVENTS_CREDENTIALS names a file of them")
        try:
            parts = urlsplit(one)
            right = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise AddressError("--nats: expected nats://host:port or tls://host:port, several with commas between them")
    return found
