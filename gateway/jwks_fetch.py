"""One question to a key server, bounded in every way: it may be slow, endless, hostile or somebody else by now."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

from gateway import tls

LARGEST: Final = 256 * 1024
"""Bytes of a JWKS: a hundred RSA keys with their certificates are half of that."""


class FetchError(Exception):
    """There is no answer that could be read. `code` is for metrics, the message for people; neither holds the address."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def fetch(url: str, timeout: float) -> bytes:  # noqa: ASYNC109 - it is told what ran out, not only that something did
    """The body of its answer. `timeout`: seconds for all of it, from the name's address to the last byte.

    Nothing is followed: where keys come from stands in the configuration. No proxy and no password is taken from the environment.

    Raises:
        FetchError: timeout, refused, tls, broken, redirect, status, encoded, oversized.
    """
    import httpx  # only where there is a key server

    for name in ("httpx", "httpcore"):  # they would write down the address with its query
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity", "User-Agent": "banyan"}
    verify = _context() if url.startswith("https:") else False
    try:
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(headers=headers, verify=verify, timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.is_redirect:
                raise FetchError("redirect", f"it answered {response.status_code}, and where keys come from is not followed")
            if response.status_code != 200:
                raise FetchError("status", f"it answered {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchError("encoded", "its answer is compressed, which it was asked not to be")
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > LARGEST:
                    raise FetchError("oversized", f"its answer is longer than {LARGEST // 1024} KiB")
            return bytes(body)
    except (TimeoutError, httpx.TimeoutException):
        raise FetchError("timeout", f"its answer was not complete after {timeout:g} s") from None
    except httpx.ConnectError as error:
        inner = error.__cause__
        while inner is not None and not isinstance(inner, ssl.SSLError):
            inner = inner.__cause__ or inner.__context__
        if inner is not None:
            raise FetchError("tls", tls.why(inner)) from None
        raise FetchError("refused", "it cannot be reached") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError):
        raise FetchError("broken", "its answer broke off, or is no HTTP") from None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(*tls.system_authorities())
    return context
