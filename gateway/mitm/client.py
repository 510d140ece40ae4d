"""Asks an upstream beside mitmproxy: the candidate (so that legacy can still answer when it fails), the shadow, and legacy's identity view.

Bytes are left alone: no redirects, no cookies, no decoding, the target exactly as the policy made it. Every pool is bounded, every wait has
a timeout, and what httpx can raise becomes one of the policy's Failures here and nowhere else.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx

from gateway.mitm.fields import Fields, clean_response, declared_length, find, sound
from gateway.policy.failure import Failure
from gateway.tls import refused_us

IDLE_SECONDS = 4.0
"""Shorter than what servers allow (uvicorn and Node.js 5 s), so that it is mostly us who close."""
MAX_IDLE = 64

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain http. Without one given, httpx reads the machine's certificates once for each client."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as an upstream gets it."""

    method: str
    target: bytes
    fields: Fields
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's whole answer."""

    status: int
    reason: bytes
    fields: Fields
    """Cleaned."""
    body: bytes
    """Content-Encoding left on; empty when `skipped` is set."""
    skipped: str = ""
    """'' or why the body was not read: too_large, event_stream."""
    waited: float = 0.0
    """Seconds until its head was there."""


class _StaleError(Exception):
    """A kept connection turned out to be dead before anything of an answer came."""


class Client:
    """The way to one upstream."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        connect_timeout: float,
        response_timeout: float,
        connections: int,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self._address = host, port = address
        self._url = httpx.URL(scheme="http" if tls is None else "https", host=host, port=port)
        self._extensions = {} if tls is None else {"sni_hostname": server_name}
        verify = tls or _TLS
        self._timeout = {"connect": connect_timeout, "read": response_timeout, "write": response_timeout, "pool": connect_timeout}
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=min(connections, MAX_IDLE), keepalive_expiry=IDLE_SECONDS
        )
        self._kept = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)
        # A request that cannot be repeated never meets a connection that its server may be closing right now.
        self._fresh = httpx.AsyncHTTPTransport(
            verify=verify, trust_env=False, limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        )

    async def ask(self, ask: Ask, *, limit: int, repeatable: bool) -> Reply | Failure:
        """The answer, its body up to `limit` bytes. `repeatable`: it may be sent once more, should a kept connection be dead."""
        try:
            return await self._once(self._kept if repeatable else self._fresh, ask, limit)
        except _StaleError:
            pass
        try:
            return await self._once(self._fresh, ask, limit)
        except _StaleError:
            return Failure.RESET

    async def reach(self) -> Failure | None:
        """Whether a connection to it can be opened at all; it is closed again."""
        host, port = self._address
        try:
            async with asyncio.timeout(self._timeout["connect"]):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Failure.CONNECT_TIMEOUT
        except OSError:
            return Failure.REFUSED
        writer.close()
        return None

    async def close(self) -> None:
        await self._kept.aclose()
        await self._fresh.aclose()

    async def _once(self, transport: httpx.AsyncHTTPTransport, ask: Ask, limit: int) -> Reply | Failure:
        opened = False

        async def trace(event: str, info: object) -> None:
            nonlocal opened
            opened = opened or event == "connection.connect_tcp.started"

        request = httpx.Request(
            ask.method,
            self._url,
            headers=list(ask.fields),
            stream=httpx.ByteStream(ask.body),
            extensions={"target": ask.target, "timeout": self._timeout, "trace": trace, **self._extensions},
        )
        request.method = ask.method  # methods are case-sensitive (RFC 9110, 9.1), and httpx has just made it upper case
        response: httpx.Response | None = None
        began = time.monotonic()
        try:
            response = await transport.handle_async_request(request)
            waited = time.monotonic() - began
            if not _sound(response):
                return Failure.BAD_ANSWER
            return replace(await _read(response, ask.method, limit), waited=waited)
        except (httpx.TransportError, ssl.SSLError) as error:  # httpx lets the latter through as it is
            failure = _failure(error)
            if failure is Failure.RESET and response is None and not opened:
                raise _StaleError from error
            return failure
        finally:
            if response is not None:
                await response.aclose()


def _sound(response: httpx.Response) -> bool:
    """Of a value h11 lets every control character through but NUL and what is white space."""
    version, reason = response.extensions["http_version"], response.extensions["reason_phrase"]
    return sound(version, response.status_code, reason, tuple(response.headers.raw))


async def _read(response: httpx.Response, method: str, limit: int) -> Reply:
    fields = clean_response(tuple(response.headers.raw))
    reason = response.extensions["reason_phrase"]
    skipped = unfit(fields, limit, method, response.status_code)
    parts: list[bytes] = []
    size = 0
    if not skipped:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - it came from an asynchronous transport
        async for part in response.stream:
            size += len(part)
            if size > limit:
                skipped = "too_large"
                break
            parts.append(part)
    return Reply(response.status_code, reason, fields, b"" if skipped else b"".join(parts), skipped)


def unfit(fields: Fields, limit: int, method: str, status: int) -> str:
    """Why an answer with this head is not held in memory: '' | event_stream | too_large."""
    if method == "HEAD" or status in (204, 304):
        return ""  # it has no body (RFC 9112, 6.3), whatever its fields say of one
    if (find(fields, b"content-type") or b"").lower().startswith(b"text/event-stream"):
        return "event_stream"
    return "too_large" if declared_length(fields) > limit else ""


def _failure(error: httpx.TransportError | ssl.SSLError) -> Failure:
    match error:
        case ssl.SSLError():
            return Failure.TLS if refused_us(error) else Failure.RESET
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failure.CONNECT_TIMEOUT
        case httpx.ConnectError() if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
            return Failure.TLS
        case httpx.ConnectError() | httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return Failure.REFUSED  # nothing was sent
        case httpx.TimeoutException():
            return Failure.TIMEOUT
        case httpx.RemoteProtocolError() if not str(error).startswith(("Server disconnected", "peer closed connection")):
            return Failure.BAD_ANSWER
        case _:
            return Failure.RESET


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What was raised first, and all that was made of it: httpx, httpcore and anyio each wrap it once more."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
