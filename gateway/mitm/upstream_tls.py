"""TLS on mitmproxy's own connections to upstreams, by the same settings as everywhere (gateway/tls.py). It takes pyOpenSSL's contexts,
not the standard library's, and would have one set of options for all upstreams."""

from __future__ import annotations

import ipaddress
from typing import Any

from mitmproxy.addons.tlsconfig import DEFAULT_HOSTFLAGS
from mitmproxy.tls import TlsData
from OpenSSL import SSL, crypto

from gateway.settings import Config
from gateway.tls import PROTOCOLS, as_file, system_authorities


class UpstreamsTls:
    """A context for each https upstream."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._contexts = {name: self._context(name) for name, upstream in config.upstreams.items() if upstream.secure}

    def begin(self, name: str, data: TlsData) -> None:
        """Gives mitmproxy what it needs to speak TLS with this upstream."""
        server_name = self._config.upstreams[name].server_name
        connection = data.ssl_conn = SSL.Connection(self._contexts[name])
        connection.set_connect_state()
        self._expect(connection, server_name)
        data.conn.sni = server_name

    @staticmethod
    def _expect(connection: SSL.Connection, name: str) -> None:
        # pyOpenSSL has no method for it; this is how mitmproxy does it.
        library: Any = SSL._lib  # type: ignore[attr-defined] # noqa: SLF001
        parameters = library.SSL_get0_param(connection._ssl)  # noqa: SLF001
        try:
            address = ipaddress.ip_address(name).packed
        except ValueError:
            host = name.encode("idna")
            connection.set_tlsext_host_name(host)
            library.X509_VERIFY_PARAM_set_hostflags(parameters, DEFAULT_HOSTFLAGS)
            done = library.X509_VERIFY_PARAM_set1_host(parameters, host, len(host))
        else:
            done = library.X509_VERIFY_PARAM_set1_ip(parameters, address, len(address))
        if done != 1:
            raise ValueError(f"{name!r} cannot be the name in a certificate")

    def _context(self, name: str) -> SSL.Context:
        tls = self._config.upstreams[name].tls
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION)
        context.set_verify(SSL.VERIFY_PEER if tls.verify else SSL.VERIFY_NONE)
        context.set_alpn_protos([each.encode() for each in PROTOCOLS])
        store = context.get_cert_store()
        if store is not None:
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        if tls.ca:
            with as_file(self._config.content(tls.ca)) as path:
                context.load_verify_locations(path)
        elif tls.verify:
            context.load_verify_locations(*system_authorities())
        if tls.certificate:
            with as_file(self._config.content(tls.certificate)) as path:
                context.use_certificate_chain_file(path)
            with as_file(self._config.content(tls.key)) as path:
                context.use_privatekey_file(path)
        return context
