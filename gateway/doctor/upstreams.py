"""Whether each upstream's addresses take a connection, and are well where that is asked."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Sequence

from gateway import tls
from gateway.config import Config
from gateway.doctor.findings import Finding
from gateway.listening import why_not
from gateway.settings import Upstream


def look(config: Config, name: str, within: float) -> Sequence[Finding]:
    """One finding for each address of upstream `name`, which share its seconds."""
    upstream = config.upstreams[name]
    try:
        context = tls.client_context(upstream, name, config)
    except tls.TlsError:
        return [Finding(f"upstream {name}", "note", "not asked: see the configuration")]
    share = within / len(upstream.places)
    return [_address(config, name, place, shown, context, share) for place, shown in zip(upstream.places, _shown(upstream), strict=True)]


def _shown(upstream: Upstream) -> list[str]:
    return upstream.urls or [upstream.url]


def _address(config: Config, name: str, place: tuple[str, int, str], shown: str, context: ssl.SSLContext | None, share: float) -> Finding:
    upstream = config.upstreams[name]
    host, port, path = place
    timeout = min(upstream.connect_timeout, share)
    about = f"upstream {name}"
    try:
        sock = _connected(host, port, path, timeout)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=upstream.tls.server_name or host)  # which closes it where that fails
        with sock:
            if upstream.health is None:
                return Finding(about, "fine", f"{shown} takes connections")
            sock.settimeout(min(upstream.health.timeout, share))
            status = _asked(sock, upstream.health.path, upstream.health.host or host)
    except ssl.SSLError as error:
        return _away(config, name, shown, tls.why(error))
    except TimeoutError:
        return _away(config, name, shown, f"no answer within {timeout:g} s")
    except (OSError, http.client.HTTPException) as error:
        return _away(config, name, shown, why_not(error) if isinstance(error, OSError) else "what it answers is no HTTP")
    if 200 <= status < 400:
        return Finding(about, "fine", f"{shown} is well ({status} at {upstream.health.path})")
    return _away(config, name, shown, f"it is not well: {status} at {upstream.health.path}")


def _connected(host: str, port: int, path: str, timeout: float) -> socket.socket:
    if not path:
        return socket.create_connection((host, port), timeout)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _asked(sock: socket.socket, path: str, host: str) -> int:
    """The status with which it answers, as the gateway's own health check asks."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status


def _away(config: Config, name: str, shown: str, why: str) -> Finding:
    about = f"upstream {name}"
    todo = f"start it, or correct [upstreams] {name}"
    if name == "legacy":
        return Finding(about, "wrong", f"{shown}: {why}", f"{todo}: until then its requests are answered 502")
    if any(name in route.split for route in config.routes):
        return Finding(about, "wrong", f"{shown}: {why}", todo)
    return Finding(about, "warning", f"{shown}: {why}; legacy answers in its place", todo)
