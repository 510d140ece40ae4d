"""Reads what Unleash answers, with bounds. requests reads whatever comes, for as long as it comes, and guesses what letters it means.

The SDK gives nobody its session, but takes options for its requests; `hooks` is one of them, and a hook for responses is called before any
of the body was read. What it returns takes the place of the response.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, Final

import requests
import urllib3

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a document, after it was decompressed. Ten thousand flags are some 5 MB."""
SLOWEST: Final = 10.0
"""Seconds for the whole of a body. Each part of it has the timeout of the request besides."""
_PART: Final = 64 * 1024


class AnswerError(Exception):
    """An answer that is of no use. The message reads on after "Unleash at <url> "."""


def bounded(head: Callable[[requests.Response], None]) -> Callable[..., requests.Response]:
    """A hook for responses. `head` hears of each, before its body. A body is read only of what was asked for and came with a 200."""

    def hook(response: requests.Response, *_args: object, **_options: object) -> requests.Response:
        head(response)
        method = response.request.method
        wanted = method == "GET" and response.status_code == 200
        body = read(response.raw, response.headers.get("Content-Length"), largest=LARGEST, slowest=SLOWEST) if wanted else b""
        response.close()
        if wanted and not body:
            # The SDK would take it for "nothing has changed".
            raise AnswerError("answered 200 with nothing in it. Is there a proxy in between?")
        read_already = requests.Response()
        read_already.status_code = response.status_code
        read_already.reason = response.reason
        read_already.headers = response.headers
        read_already.url = response.url
        read_already.request = response.request
        read_already.raw = io.BytesIO(body)
        read_already.encoding = "utf-8"  # JSON is (RFC 8259 section 8.1); requests would guess, which takes minutes for megabytes
        return read_already

    return hook


def read(raw: Any, declared: str | None, *, largest: int, slowest: float) -> bytes:
    """The body of a urllib3 response, decompressed.

    Raises:
        AnswerError: it is too large, takes too long, breaks off, or can't be decompressed.
    """
    too_large = f"answered with more than {largest // 1024 // 1024} MiB. Is flags.url Unleash's API?"
    if declared is not None and declared.isdigit() and int(declared[:20]) > largest:
        raise AnswerError(too_large)
    until = time.monotonic() + slowest
    body = bytearray()
    try:
        # Not `read`, which waits for all of what it was asked for, however slowly that comes.
        while part := raw.read1(_PART, decode_content=True):
            body += part
            if len(body) > largest:
                raise AnswerError(too_large)
            if time.monotonic() > until:
                raise AnswerError(f"answered too slowly: after {slowest:g} s the answer was not complete")
    except urllib3.exceptions.ReadTimeoutError:
        raise AnswerError("did not answer in time: it stopped in the middle of its answer") from None
    except urllib3.exceptions.DecodeError:
        raise AnswerError("answered with something that can't be decompressed. Is there a proxy in between?") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise AnswerError("broke off in the middle of its answer. Is there a proxy in between?") from None
    return bytes(body)
