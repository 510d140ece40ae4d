"""Asks a running gateway through its admin port. Every wait is bounded, and so is every answer."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Final, override

from flags.admin.states import plain
from gateway.settings.addresses import parse_address

LOOK_SECONDS: Final = 1.0
"""For a question whose answer is at hand: a gateway on the same machine gives it in milliseconds."""
CHANGE_SECONDS: Final = 5.0
"""For a change: the gateway answers once every worker has taken it, which it waits 2 s for."""
_MOST: Final = 16 * 1024 * 1024
"""Bytes of an answer."""


class AdminPortError(Exception):
    """No answer that could be used. The message says what and where."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(plain(message))
        self.status = status
        """What it answered; 0 where nobody answered at all."""
        self.code = code
        """Of the gateway's problem document, such as "unknown-flag"; "" where there is none."""


class AdminPort:
    """Of one gateway. A connection for each question."""

    def __init__(self, address: str) -> None:
        """`address`: HOST:PORT or unix:/PATH, as in [gateway] admin; http:// may stand before it.

        Raises:
            AdminPortError: it is none, or its port is 0.
        """
        self.address = address.removeprefix("http://").rstrip("/")
        try:
            self._place = parse_address(self.address)
        except ValueError as error:
            raise AdminPortError(f"{address!r} is no admin port: {error}") from None
        if isinstance(self._place, tuple) and self._place[1] == 0:
            raise AdminPortError(
                f"[gateway] admin is {self.address!r}, a port that the gateway chose when it started: name it with --admin HOST:PORT "
                "(`banyan run` printed it)"
            )

    def get(self, path: str, *, kind: object = Any, within: float = LOOK_SECONDS) -> Any:
        """The JSON at `path`, of the shape `kind` (see gateway.cli.shapes).

        Raises:
            AdminPortError: nobody answers within `within` seconds, or not with that.
        """
        return self.ask("GET", path, kind=kind, within=within)

    def ask(self, method: str, path: str, body: object = None, *, kind: object = Any, within: float = CHANGE_SECONDS) -> Any:
        """The JSON that is answered, of the shape `kind`.

        Raises:
            AdminPortError: nobody answers, each wait being `within` seconds, or not with such JSON and a status of 2xx.
        """
        data = None if body is None else json.dumps(body).encode()
        connection = self._connection(within)
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
            response = connection.getresponse()
            raw = response.read(_MOST + 1)
        except TimeoutError:
            raise AdminPortError(f"no gateway answers at {self.address} within {within:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AdminPortError(f"no gateway answers at {self.address} ({why})") from None
        finally:
            connection.close()
        if len(raw) > _MOST:
            raise AdminPortError(f"{self.address} answers {path} with more than {_MOST // 2**20} MiB. Is it a gateway's admin port?")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        if not 200 <= response.status < 300:
            code = str(answer.get("type", "")) if isinstance(answer, dict) else ""
            raise AdminPortError(
                f"the gateway at {self.address} says {response.status}: {_said(answer)}", response.status, code.rpartition(":")[2]
            )
        if answer is None:
            raise AdminPortError(f"{self.address} answers {path} with no JSON. Is it a gateway's admin port?", response.status)
        if kind is not Any:
            import msgspec

            try:
                msgspec.convert(answer, kind)
            except msgspec.ValidationError as error:
                raise AdminPortError(
                    f"{self.address} answers {path} with something else than a gateway does ({str(error)[:200]}). Is it a "
                    "gateway's admin port, of this version?",
                    response.status,
                ) from None
        return answer

    def _connection(self, within: float) -> http.client.HTTPConnection:
        if isinstance(self._place, str):
            return _UnixConnection(self._place, within)
        return http.client.HTTPConnection(*self._place, timeout=within)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _said(answer: object) -> str:
    """A problem document's words (RFC 9457)."""
    if isinstance(answer, dict):
        title, detail = (str(answer.get(key) or "") for key in ("title", "detail"))
        if title or detail or answer.get("error"):
            return " ".join(part for part in (title, detail) if part)[:500] or str(answer["error"])[:500]
    return "with no reason that could be read. Is it a gateway's admin port, of this version?"
