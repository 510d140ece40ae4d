"""Answers that end: a client whose every answer has a deadline for the whole of it, its head included, and a most of bytes.

httpx's timeouts are for each wait alone: who sends a byte in time, and another, is listened to for ever. Answers come as they are: nothing
that could unfold to more than was sent is asked for, or taken. httpx gives no access to its sockets, so it is put upon httpcore here, as it
always is.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any, Final, override

import httpcore
import httpx

from flags.source import FlagSourceError


class SlowError(httpx.TimeoutException):
    """The answer was not complete in time."""


class LargeError(httpx.TransportError):
    """The answer has more bytes than anybody needs."""


WHOLE: Final = 2.0
"""Times the timeout, for a request and its answer."""
LARGEST: Final = 64 * 1024 * 1024
"""Bytes. Ten thousand flags are some 5 MB."""


def client(
    url: str,
    token: str = "",
    *,
    timeout: float,
    whole: float | None = None,
    largest: int = LARGEST,
    retries: int = 0,
    uds: str | None = None,
) -> httpx.Client:
    """For requests to `url` with that token, by one thread at a time. `timeout` seconds for each wait, `whole` for a request and its answer
    together (WHOLE times that), `largest` bytes for the answer's body; `retries` more tries to connect. `uds`: a unix socket to connect to.
    No redirects are followed, and no proxies asked.

    Its requests raise httpx.HTTPError: SlowError and LargeError among them; `why` has words for all of them.

    Raises:
        FlagSourceError: there is no host of such a name.
    """
    headers = {"Accept-Encoding": "identity", **({"Authorization": token} if token else {})}
    secure = httpx.create_ssl_context() if url.lower().startswith("https:") else None  # which takes its time
    transport = _Transport(WHOLE * timeout if whole is None else whole, largest, retries, secure, uds)
    try:
        made = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport, trust_env=False)
        made.base_url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise FlagSourceError("flags.url: there is no host of such a name") from None
    return made


def why(error: httpx.HTTPError) -> str:
    """Reads on after "Unleash at <url> "."""
    if isinstance(error, SlowError | LargeError):
        return str(error)
    return f"can't be reached: {error or type(error).__name__}"


class _Transport(httpx.BaseTransport):
    def __init__(self, whole: float, largest: int, retries: int, secure: ssl.SSLContext | None, uds: str | None) -> None:
        self._whole = whole
        self._largest = largest
        self._clock = _Clock()
        self._pool = httpcore.ConnectionPool(
            ssl_context=secure, network_backend=_Backend(self._clock), max_connections=1, retries=retries, uds=uds
        )

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._clock.until = time.monotonic() + self._whole
        try:
            return self._answer(request)
        except httpcore.TimeoutException as error:
            if time.monotonic() >= self._clock.until:
                raise SlowError(f"did not give a whole answer within {self._whole:g} s") from None
            raise httpx.TimeoutException(str(error) or "timed out") from None
        except httpcore.ConnectError as error:  # told apart: nothing was sent
            raise httpx.ConnectError(str(error) or type(error).__name__) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, UnicodeError) as error:  # a host of no name
            raise httpx.TransportError(str(error) or type(error).__name__) from None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
        extensions = {"timeout": request.extensions["timeout"]}
        with self._pool.stream(request.method, url, headers=request.headers.raw, content=request.read(), extensions=extensions) as answer:
            body = bytearray()
            for part in answer.iter_stream():
                body += part
                if len(body) > self._largest:
                    raise LargeError(f"answered with more than {self._largest / 1024**2:g} MiB")
            found = httpx.Response(answer.status, headers=answer.headers)
            if found.headers.get("content-encoding", "identity") != "identity":
                raise LargeError("answered with something compressed, which it was not asked for")
            return httpx.Response(answer.status, headers=answer.headers, content=bytes(body))

    @override
    def close(self) -> None:
        self._pool.close()


class _Clock:
    """When the request under way has to be over."""

    until = 0.0

    def left(self, timeout: float | None, error: type[Exception]) -> float:
        """Seconds for the next wait."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise error("timed out")
        return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, clock: _Clock) -> None:
        self._real = httpcore.SyncBackend()
        self._clock = clock

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._clock.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._real.connect_tcp(host, port, left, local_address, socket_options), self._clock)

    @override
    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = self._clock.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._real.connect_unix_socket(path, left, socket_options), self._clock)

    @override
    def sleep(self, seconds: float) -> None:
        time.sleep(self._clock.left(seconds, httpcore.ConnectTimeout))


class _Stream(httpcore.NetworkStream):
    def __init__(self, real: httpcore.NetworkStream, clock: _Clock) -> None:
        self._real = real
        self._clock = clock

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._real.read(max_bytes, self._clock.left(timeout, httpcore.ReadTimeout))

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._real.write(buffer, self._clock.left(timeout, httpcore.WriteTimeout))

    @override
    def close(self) -> None:
        self._real.close()

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._clock.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._real.start_tls(ssl_context, server_hostname, left), self._clock)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._real.get_extra_info(info)
