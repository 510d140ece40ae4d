"""Whether the addresses on which the gateway listens can be had, or who has them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from gateway.config import Config, parse_address
from gateway.doctor.findings import Finding
from gateway.doctor.holders import holders
from gateway.listening import why_not


def look(config: Config) -> Sequence[Finding]:
    """One finding for each address of `listen`, and the admin port's."""
    named = [("listen", address) for address, _ in config.gateway.addresses] + [("admin", config.gateway.admin)]
    return [_address(key, address) for key, address in named]


def _address(key: str, address: str) -> Finding:
    about = f"port {address}" if not address.startswith("unix:") else f"socket {address.removeprefix('unix:')}"
    parsed = parse_address(address)
    if isinstance(parsed, str):
        return _socket(about, Path(parsed), key)
    host, port = parsed
    if not port:
        return Finding(about, "fine", f"[gateway] {key}: any free one")
    reason = _taken(host, port)
    if reason is None:
        return Finding(about, "fine", f"[gateway] {key}: free")
    if reason != errno.EADDRINUSE:
        todo = "ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE)" if reason == errno.EACCES else "name another address"
        return Finding(about, "wrong", f"[gateway] {key}: {os.strerror(reason)}", todo)
    found = holders(port)
    if found and all(holder.ours for holder in found):
        return Finding(about, "fine", f"[gateway] {key}: held by a gateway that runs (process {found[0].pid})")
    if not found:
        return Finding(
            about, "warning", f"[gateway] {key}: held by a process that this user may not see",
            "if that is not the gateway: stop it, or name another address; as root, doctor says which it is",
        )  # fmt: skip
    who = ", ".join(f"{holder.title} (process {holder.pid})" for holder in found[:3])
    return Finding(about, "wrong", f"[gateway] {key}: held by {who}", f"stop it, or name another address under [gateway] {key}")


def _taken(host: str, port: int) -> int | None:
    """Why the address cannot be had; None: it can. It is taken for a moment, without listening, which nobody can connect to."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
    except OSError as error:
        return error.errno if error.errno and error.errno > 0 else errno.EADDRNOTAVAIL  # a name that nobody knows has a number below 0
    return None


def _socket(about: str, path: Path, key: str) -> Finding:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if os.access(path.parent, os.W_OK | os.X_OK):
            return Finding(about, "fine", f"[gateway] {key}: free")
        return Finding(about, "wrong", f"[gateway] {key}: its folder cannot be written", f"make {path.parent} for the gateway's user")
    except OSError as error:
        return Finding(about, "wrong", f"[gateway] {key}: {why_not(error)}", "name another path")
    if not stat.S_ISSOCK(mode):
        return Finding(about, "wrong", f"[gateway] {key}: something that is no socket is there", "remove it, or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return Finding(about, "fine", f"[gateway] {key}: free; what is there was left by a process that is gone")
        except OSError as error:
            return Finding(about, "warning", f"[gateway] {key}: {why_not(error)}", "see who listens there")
    return Finding(about, "note", f"[gateway] {key}: somebody listens there; if a gateway runs, it is that one")
