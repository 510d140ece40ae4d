"""Where NATS and a store's PostgreSQL are, and where metrics are to be, as it is said on a command line."""

from __future__ import annotations

from urllib.parse import urlsplit


class AddressError(ValueError):
    """A text that does not say where something is. Where NATS or a database is it may hold a password, and is not repeated."""


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


def listening(text: str) -> tuple[str, int]:
    """HOST:PORT or [HOST]:PORT, of which the host may be left out: this machine's own.

    Raises:
        AddressError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise AddressError(f"--metrics: expected HOST:PORT, such as 127.0.0.1:9911 or [::1]:9911, and not {text!r}")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return bare or "127.0.0.1", int(port)


def require_postgres(url: str) -> None:
    """`url` can be given to psycopg: what that says of it then names host, port, user and database, and nothing of the password.

    Raises:
        AddressError: it can't be read, or a password is where a host, a port or a name should be.
    """
    import psycopg  # a third of a server's start-up, and SQLite needs none of it
    from psycopg.conninfo import conninfo_to_dict

    # As libpq has it: the first @ ends the password, unless a / comes before that.
    rest = url.partition("://")[2]
    user, at, place = rest.partition("@")
    if not at or "/" in user:
        place = rest
    try:
        port = str(conninfo_to_dict(url).get("port") or "")
        right = "@" not in place.partition("?")[0] and (not port or port.replace(",", "").isdigit())
    except (psycopg.Error, UnicodeError):  # its words are parts of the address
        right = False
    if not right:
        raise AddressError(
            "the address can't be read: expected postgres://user:password@host:port/name; in a password write % @ / : ? [ and a space as"
            " %25 %40 %2F %3A %3F %5B and %20"
        ) from None
