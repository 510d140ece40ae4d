"""A browser in a hundred lines: one kept HTTP/1.1 connection, one set of cookies, one request at a time.

It hides nothing. It never asks again by itself and takes no half answer for a whole one, so that what it calls a failure is what a person
would have seen fail. It costs a fifth of what a general client does, on a machine that also runs everything else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

ANSWER_SECONDS: Final = 15.0
_NOTHING: Final[Mapping[str, str]] = {}
_COOKIE: Final = re.compile(rb"(?im)^set-cookie:[ \t]*([^=;\s]+)=([^;\r\n]*)")
_FORM_TOKEN: Final = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


class ClientError(Exception):
    """No whole answer came. The message says how it failed."""


class SignInError(Exception):
    """The shop did not take the user's name and password."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """A field's value; "" where it is missing."""
        found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r]*)", self.head)
        return found[1].decode("latin-1") if found else ""


class Client:
    """See the module's docstring."""

    def __init__(self, port: int, cookies: Mapping[str, str] = _NOTHING) -> None:
        self.cookies = dict(cookies)
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, target: str, body: bytes = b"", fields: Mapping[str, str] = _NOTHING) -> Response:
        """One request and its whole answer.

        Raises:
            ClientError: it could not be sent, or the answer did not come, or not to its end.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._exchange(method, target, body, fields)
        except TimeoutError:
            self.close()
            raise ClientError(f"no answer within {ANSWER_SECONDS:g} s") from None
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ClientError("the answer was cut off" if error.partial else "the connection was closed unanswered") from None
        except (OSError, ValueError) as error:
            self.close()
            raise ClientError(f"{type(error).__name__}: {error}") from None
        except asyncio.CancelledError:
            self.close()
            raise

    async def sign_in(self, user: str, password: str) -> None:
        """Through the form, as a person does: its hidden token and the cookie that belongs to it.

        Raises:
            SignInError: the shop would not have it.
            ClientError: no answer.
        """
        page = await self.request("GET", "/login/")
        token = _FORM_TOKEN.search(page.body)
        if token is None:
            raise SignInError(f"/login/ answered {page.status} without a form")
        form = urlencode({"csrfmiddlewaretoken": token[1].decode(), "username": user, "password": password}).encode()
        answer = await self.request("POST", "/login/", form, {"Content-Type": "application/x-www-form-urlencoded"})
        if answer.status != 302 or "sessionid" not in self.cookies:
            raise SignInError(f"{user} was not signed in: /login/ answered {answer.status}")

    def close(self) -> None:
        """Drops the connection; the next request makes a new one."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _exchange(self, method: str, target: str, body: bytes, fields: Mapping[str, str]) -> Response:
        reader, writer = await self._connection()
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Accept: */*", "User-Agent: banyan-demo"]
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        lines += [f"{name}: {value}" for name, value in fields.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 1"):
            head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lower = head.lower()
        content = await self._body(reader, lower, bodiless=method == "HEAD" or status in (204, 304))
        for name, value in _COOKIE.findall(head):
            self.cookies[name.decode()] = value.decode()
        if b"\r\nconnection: close" in lower:
            self.close()
        return Response(status, head, content)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._reader.at_eof():
            self.close()  # closed in between: known before anything was sent
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    async def _body(self, reader: asyncio.StreamReader, head: bytes, *, bodiless: bool) -> bytes:
        if bodiless:
            return b""
        if b"\r\ntransfer-encoding: chunked" in head:
            parts = []
            while size := int(await reader.readuntil(b"\r\n"), 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            await reader.readuntil(b"\r\n")
            return b"".join(parts)
        length = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", head)
        if length is not None:
            return await reader.readexactly(int(length[1]))
        content = await reader.read()
        self.close()
        return content
