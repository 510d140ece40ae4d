"""Where a gateway listens, as it is written."""

from __future__ import annotations


def parse_address(text: str) -> tuple[str, int] | str:
    """("127.0.0.1", 8080) for "127.0.0.1:8080" or "[::1]:8080"; the path for "unix:/path".

    Raises:
        ValueError: it is neither.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f'write an absolute path, "unix:/run/banyan.sock", not {text!r}')
        return path
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
        raise ValueError(f'write "host:port", "[::]:port" or "unix:/path", not {text!r}')
    return bare, int(port)


def without_scheme(address: str) -> str:
    """An address of `listen` without http:// or https://."""
    return address.removeprefix("http://").removeprefix("https://")
