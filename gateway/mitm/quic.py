"""HTTP/3 to clients: mitmproxy's QUIC, with the same certificates as everywhere, and above it the same HTTP layer as for TCP.

mitmproxy's UDP server takes a host and a port, and no socket that somebody else has bound. So it is the one thing that a worker binds by
itself: there can be one worker only, and between a worker's end and its successor's beginning nobody listens.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import mitmproxy_rs
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.layers.quic import QuicTlsData, QuicTlsSettings
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ReverseMode

from gateway.tls import Pair, names_of

_log = logging.getLogger("banyan.worker")

PROTOCOLS = ["h3"]


class Quic:
    """A mitmproxy addon of its own. `place`: legacy's host:port, which mitmproxy wants to know before anything is decided."""

    def __init__(self, server: Proxyserver, place: str) -> None:
        self._instance: ServerInstance[ReverseMode] = ServerInstance.make(f"reverse:http3://{place}", server)
        self._servers: list[mitmproxy_rs.udp.UdpServer] = []
        self._first: QuicTlsSettings | None = None
        self._names: dict[str, QuicTlsSettings] = {}

    def take(self, pairs: Sequence[Pair]) -> None:
        """These certificates from now on, the first where no name fits."""
        first: QuicTlsSettings | None = None
        names: dict[str, QuicTlsSettings] = {}
        for pair in pairs:
            settings = _settings(pair)
            first = first or settings
            for name in names_of(pair.certificate):
                names.setdefault(name, settings)
        self._first, self._names = first, names

    async def start(self, beside: socket.socket) -> None:
        """Listens on UDP, at the address of a socket for TCP.

        Raises:
            SystemExit: it cannot be had. No other try mends that: the supervisor is told so.
        """
        host, port = beside.getsockname()[:2]
        try:
            self._servers.append(await mitmproxy_rs.udp.start_udp_server(host, port, self._instance.handle_stream))
        except OSError as error:
            _log.error("gateway.http3: UDP %s:%d cannot be had: %s. End who has it, or remove http3", host, port, error)
            raise SystemExit(2) from error

    def stop(self) -> None:
        """Takes no new connections, and no packets of old ones either: mitmproxy has one socket for all."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    # mitmproxy's hook

    def quic_start_client(self, data: QuicTlsData) -> None:
        """A client is to be shown who we are."""
        name = (data.conn.sni or "").lower().rstrip(".")
        data.settings = self._names.get(name) or self._names.get("*." + name.partition(".")[2]) or self._first


def _settings(pair: Pair) -> QuicTlsSettings:
    leaf, *chain = x509.load_pem_x509_certificates(pair.certificate)
    key = serialization.load_pem_private_key(pair.key, None)
    if not isinstance(key, dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("HTTP/3 needs an RSA or an elliptic key")
    return QuicTlsSettings(alpn_protocols=PROTOCOLS, certificate=leaf, certificate_chain=chain, certificate_private_key=key)
