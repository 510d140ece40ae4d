"""TLS: the only place that makes contexts, for clients and for upstreams, whichever engine uses them.

To clients: the supervisor reads the certificate files, judges them and watches them; workers get what was found good, as bytes. So there is
one judge, a broken new file is said once, and a worker that is started while a file is broken still gets the last good one. A worker's
listening sockets keep one context for ever (Front). It has no say of its own: for each handshake it gives way to the context of the
certificate that fits the name which the client asked for. So a new certificate is there for the next handshake, and open connections never
notice.

Keys are bytes that nobody prints: no error and no repr here holds any of them.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.listening import why_not

if TYPE_CHECKING:
    from gateway.settings import Config, Upstream

HANDSHAKE_SECONDS = 10.0
"""A client has this long for its handshake (edge.md 35). nginx: 60 s, HAProxy recommends 10 s."""
LOOK_SECONDS = 0.5
"""Between two looks at the files. What has changed is read once it has stayed the same for one look: certificate and key are two files."""
PROTOCOLS = ["http/1.1"]
"""What is offered by ALPN: what is spoken, and nothing else. To clients also h2, where it is configured."""


class TlsError(Exception):
    """A file cannot be used. The message names the key, the file, and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain and its key, as PEM."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)


# To clients: the supervisor's part


class Certificates:
    """The files under [gateway] tls, and the last good state of each."""

    def __init__(self, config: Config) -> None:
        several = len(config.gateway.tls) > 1
        self._files = [
            _Files(f"gateway.tls[{index}]" if several else "gateway.tls", config.resolve(each.certificate), config.resolve(each.key))
            for index, each in enumerate(config.gateway.tls)
        ]

    @property
    def pairs(self) -> list[Pair]:
        """What workers get."""
        return [each.pair for each in self._files]

    def read(self) -> list[str]:
        """Reads all of them, at start. What should be said about them: that one has expired.

        Raises:
            TlsError: one cannot be used.
        """
        return [warning for each in self._files for warning in each.read()]

    def look(self) -> tuple[bool, list[str], list[str]]:
        """Has any changed for the better? And what should be said: (changed, warnings, errors). What is broken is said once."""
        changed, warnings, errors = False, list[str](), list[str]()
        for each in self._files:
            if each.settled():
                try:
                    warnings += each.read()
                    changed = True
                except TlsError as error:
                    errors.append(f"{error}. The last good one goes on being used")
        return changed, warnings, errors


class _Files:
    """One certificate's two files."""

    def __init__(self, where: str, certificate: Path, key: Path) -> None:
        self.pair = Pair(b"", b"")
        self._where = where
        self._certificate = certificate
        self._key = key
        self._stamp: object = None
        """Of what was read last, good or bad."""
        self._seen: object = None
        """At the last look."""

    def settled(self) -> bool:
        """Have they changed since they were read, and not since the last look?"""
        before, self._seen = self._seen, self._state()
        return self._seen not in (None, self._stamp) and self._seen == before

    def read(self) -> list[str]:
        self._stamp = self._seen = self._state()
        pair = Pair(_read(self._certificate, f"{self._where}.certificate"), _read(self._key, f"{self._where}.key"))
        warnings = _judge(pair.certificate, self._certificate, f"{self._where}.certificate")
        try:
            names_of(pair.certificate)
        except Exception as error:  # whatever else is wrong with its extensions: workers would stumble over the same
            raise TlsError(f"{self._where}.certificate: {self._certificate}: its names cannot be read. Name another file") from error
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, self._key, self._certificate, f"{self._where}.key")
        self.pair = pair
        return warnings

    def _state(self) -> object:
        # stat and not lstat: Kubernetes replaces the target of a link.
        try:
            return [(found.st_mtime_ns, found.st_size, found.st_ino) for found in (self._certificate.stat(), self._key.stat())]
        except OSError:
            return "missing"


# To clients: the worker's part


class Front:
    """The context of a worker's listening sockets. See the module's docstring."""

    def __init__(self, *, http2: bool = False) -> None:
        self._protocols = _protocols(http2)
        self.context = _server_context(self._protocols)
        # Called for every handshake, also without a name. It sees what take() has set last.
        self.context.sni_callback = self._choose
        self._first: ssl.SSLContext | None = None
        self._names: dict[str, ssl.SSLContext] = {}

    def take(self, pairs: Sequence[Pair]) -> None:
        """These certificates from now on, the first where no name fits."""
        first: ssl.SSLContext | None = None
        names: dict[str, ssl.SSLContext] = {}
        for pair in pairs:
            context = _server_context(self._protocols)
            with as_file(pair.certificate + b"\n" + pair.key) as path:
                context.load_cert_chain(path, password=_no_password)
            first = first or context
            for name in names_of(pair.certificate):
                names.setdefault(name, context)
        self._first, self._names = first, names

    def offer(self, *, http2: bool) -> None:
        """What is spoken from the next handshake on."""
        self._protocols = _protocols(http2)
        for context in (self.context, self._first, *self._names.values()):
            if context is not None:
                context.set_alpn_protocols(self._protocols)

    def choose(self, name: str | None) -> ssl.SSLContext | None:
        """The context for the name that a client asks for. A wildcard stands for exactly one label (RFC 9525, 6.3)."""
        if not name:
            return self._first
        name = name.lower().rstrip(".")
        return self._names.get(name) or self._names.get("*." + name.partition(".")[2]) or self._first

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        context = self.choose(name)
        if context is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = context
        return None


def _protocols(http2: bool) -> list[str]:
    return ["h2", *PROTOCOLS] if http2 else PROTOCOLS


def _server_context(protocols: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(protocols)
    return context


# To upstreams


def client_context(upstream: Upstream, name: str, config: Config) -> ssl.SSLContext | None:
    """How to speak to this upstream; None is clear text.

    Raises:
        TlsError: a file cannot be used.
    """
    if not upstream.secure:
        return None
    tls, where = upstream.tls, f"upstreams.{name}.tls"
    # Not ssl.create_default_context: its VERIFY_X509_STRICT refuses certificates of internal CAs that curl, nginx and browsers take.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # `ca` may be an intermediate one, or the server's own
    context.set_alpn_protocols(PROTOCOLS)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        path = config.resolve(tls.ca)
        try:
            context.load_verify_locations(cadata=_content(config, tls.ca, f"{where}.ca").decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:  # an empty file is a ValueError
            raise TlsError(f"{where}.ca: {path} holds no certificate in PEM. Name another file") from error
    else:
        context.load_verify_locations(*system_authorities())
    if tls.certificate:
        path, key = config.resolve(tls.certificate), config.resolve(tls.key)
        pair = Pair(_content(config, tls.certificate, f"{where}.certificate"), _content(config, tls.key, f"{where}.key"))
        _judge(pair.certificate, path, f"{where}.certificate")
        _load(context, pair, key, path, f"{where}.key")
    return context


def client_contexts(config: Config) -> dict[str, ssl.SSLContext | None]:
    """For each upstream.

    Raises:
        TlsError: a file cannot be used.
    """
    return {name: client_context(upstream, name, config) for name, upstream in config.upstreams.items()}


def material(upstream: Upstream, config: Config) -> bytes:
    """What its context is made of, as a digest: another one when a file held something else when the configuration was found good."""
    total = hashlib.sha256()
    for file in _named(upstream).values():
        try:
            total.update(hashlib.sha256(config.content(file)).digest())
        except OSError:
            total.update(b"gone")
    return total.digest()


def _named(upstream: Upstream) -> dict[str, str]:
    """The files that it names, by key."""
    files = {"ca": upstream.tls.ca, "certificate": upstream.tls.certificate, "key": upstream.tls.key}
    return {key: file for key, file in files.items() if file}


def check_upstreams(config: Config) -> list[str]:
    """Reads what upstreams need, once: `config` holds it from then on, for the supervisor and for every worker that goes by it, those that
    are started later too. So a file that goes bad meanwhile costs nobody anything. What should be said about it.

    Raises:
        TlsError: a file cannot be used.
    """
    config.hold(
        {
            file: _read(config.resolve(file), f"upstreams.{name}.tls.{key}")
            for name, upstream in config.upstreams.items()
            for key, file in _named(upstream).items()
        }
    )
    client_contexts(config)
    warnings = []
    for name, upstream in config.upstreams.items():
        if not upstream.secure:
            continue
        if not upstream.tls.verify:
            warnings.append(f"upstreams.{name}.tls.verify = false: whoever answers at {upstream.url} is believed to be it")
        if upstream.tls.certificate:
            path = config.resolve(upstream.tls.certificate)
            key = f"upstreams.{name}.tls.certificate"
            warnings += _judge(_content(config, upstream.tls.certificate, key), path, key)
    return warnings


def why(error: OSError) -> str:
    """Why there is no TLS connection, in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the handshake failed").replace("_", " ").lower()
    return "it ended the connection during the handshake"


def refused_us(error: ssl.SSLError) -> bool:
    """Does the other side say that it does not accept our certificate, or that we have none?

    In TLS 1.3 a client learns that only after its own part of the handshake is done, maybe with a request on the way already. But a server
    that says it has not finished its part, and so has looked at nothing else (RFC 8446, 4.4.2.4).
    """
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def system_authorities() -> tuple[str | None, str | None]:
    """(file, folder) of the machine's authorities, where it has any (companies add their own there); else certifi's file."""
    paths = ssl.get_default_verify_paths()  # None for what is not there
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        return paths.cafile, paths.capath
    import certifi

    return certifi.where(), None


# Both


def _content(config: Config, name: str, where: str) -> bytes:
    try:
        return config.content(name)
    except OSError as error:
        raise TlsError(f"{where}: {config.resolve(name)}: {why_not(error)}. Name another file") from error


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{where}: {path}: {why_not(error)}. Name another file") from error


def _judge(data: bytes, path: Path, where: str) -> list[str]:
    """Is there a certificate in it, and is it one for today?"""
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise TlsError(f"{where}: {path} holds no certificate in PEM. Name another file") from error
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc < now:
        return [f"{where}: {path} has expired ({leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC)"]
    if leaf.not_valid_before_utc > now:
        return [f"{where}: {path} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"]
    return []


def _load(context: ssl.SSLContext, pair: Pair, key: Path, certificate: Path, where: str) -> None:
    try:
        # Two files: where both are in one, OpenSSL would take whichever key comes first.
        with as_file(pair.certificate) as chain, as_file(pair.key) as secret:
            context.load_cert_chain(chain, secret, password=_no_password)
    except _EncryptedError as error:
        raise TlsError(f"{where}: {key} is encrypted. Name a key without a passphrase, readable for the gateway alone") from error
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise TlsError(f"{where}: {key} is not the key of the certificate in {certificate}") from error
        raise TlsError(f"{where}: {key} holds no private key in PEM that can be used. Name another file") from error


class _EncryptedError(Exception):
    """The key wants a passphrase."""


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal.
    raise _EncryptedError


def names_of(certificate: bytes) -> list[str]:
    """The DNS names of the first certificate in a file, in lower case."""
    from cryptography import x509

    leaf = x509.load_pem_x509_certificates(certificate)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """`data` as a path, which is all that ssl reads keys from. In memory, where the system can do that."""
    if sys.platform == "linux":
        number = os.memfd_create("banyan", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(data)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
    else:
        with tempfile.NamedTemporaryFile() as file:  # 0600
            file.write(data)
            file.flush()
            yield file.name
