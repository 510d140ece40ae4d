"""Requests to Unleash's Admin API; what goes wrong is said in words that help."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx
import msgspec

from flags.admin import bounded
from flags.admin.states import AdminError, ArchivedError, plain
from flags.source import FlagSourceError, check_token, check_url

TIMEOUT: Final = 5.0
"""Seconds for each wait on Unleash."""
PAUSE: Final = 0.3
"""Seconds before the second try of what may be tried again; before the third, twice that."""
PATIENCE: Final = 8.0
"""Seconds after which nothing is tried again: whoever waits can do something else."""
_NO_SUCH_PATH: Final = "The path you were looking for"
_HINTS: Final = {
    401: "flags.admin_token is not valid there. Unleash makes one under Admin > API access",
    429: "it is asked too often. Wait a minute and do this again",
    502: "what stands before it does not reach it. Is Unleash up?",
    503: "it is not ready, or what stands before it does not reach it. Is Unleash up? Do this again in a moment",
    504: "what stands before it does not reach it in time. Is Unleash up?",
}
_REDIRECT: Final = "flags.url must be the address itself, since redirects are not followed"


class Calls:
    """To one Unleash. The token is in no message."""

    def __init__(self, url: str, token: str, *, project: str, environment: str, timeout: float = TIMEOUT) -> None:
        """
        Raises:
            AdminError: the token can't be one, or the address none of Unleash's.
        """
        try:
            check_url(url)
            check_token(token, "flags.admin_token")
            self.url = url.rstrip("/")
            self._client = bounded.client(self.url, token, timeout=timeout, retries=1)
        except FlagSourceError as error:
            raise AdminError(str(error)) from None
        self._where = f"flags.project = {project!r} and flags.environment = {environment!r}"

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def call(self, method: str, path: str, *, json: object = None, fine: tuple[int, ...] = (), tries: int = 1) -> httpx.Response:
        """The answer. With more `tries` than one, for what may be done twice: no answer, 429 and 5xx are tried again within PATIENCE.

        Raises:
            ArchivedError: the flag is in Unleash's archive.
            AdminError: no answer, or not one of the 2xx nor `fine`.
        """
        began, tried = time.monotonic(), 0
        while True:
            tried += 1
            try:
                return self._call(method, path, json, fine)
            except _AgainError:
                if tried >= tries or time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(PAUSE * tried)

    def answer(self, kind: object, method: str, path: str, *, json: object = None, fine: tuple[int, ...] = (), tries: int = 1) -> Any:
        """What the answer says (see `decoded`); None for a status that is `fine`.

        Raises:
            ArchivedError, AdminError: as `call` and `decoded`.
        """
        response = self.call(method, path, json=json, fine=fine, tries=tries)
        return self.decoded(kind, response) if response.is_success else None

    def decoded(self, kind: object, response: httpx.Response) -> Any:
        """The answer's JSON, which has the shape of `kind` (flags.admin.answers), and may have more than that.

        Raises:
            AdminError: it has another shape. Whatever gives such an answer is not Unleash.
        """
        try:
            found = msgspec.json.decode(response.content)
            msgspec.convert(found, kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            asked = response.request
            raise AdminError(
                f"Unleash at {self.url} answered {response.status_code} to {asked.method} {asked.url.path} with something else than its "
                f"API does ({str(error)[:200]}). Is flags.url Unleash's API, which ends with /api? Is there a proxy in between?",
                response.status_code,
            ) from None
        return found

    def _call(self, method: str, path: str, json: object, fine: tuple[int, ...]) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise _AgainError(f"Unleash at {self.url} {bounded.why(error)}. Is flags.url right?") from None
        status = response.status_code
        if response.is_success or status in fine:
            if response.content and "json" not in response.headers.get("content-type", ""):
                raise AdminError(
                    f"Unleash at {self.url} answered with a page instead of JSON: flags.url must be its API, which ends with /api"
                )
            return response
        said = said_by(response)
        message = f"Unleash at {self.url} answered {status} to {method} {path}: {self._hint(status, said)}"
        if "archived" in said.lower():
            raise ArchivedError(message, status)
        raise (_AgainError if status == 429 or status >= 500 else AdminError)(message, status)

    def _hint(self, status: int, said: str) -> str:
        if status in _HINTS:
            return _HINTS[status] + (f" ({said})" if said else "")
        if 300 <= status < 400:
            return _REDIRECT
        if status == 403 and "SKIP_CHANGE_REQUEST" in said:
            return (
                f"changes there go through change requests ({self._where}): make one in Unleash's UI, or give the token's owner "
                "SKIP_CHANGE_REQUEST"
            )
        if status == 403:
            return f"flags.admin_token may not do that; it must be an admin token, or its owner needs the permission ({said})"
        if status == 404 and (not said or said.startswith(_NO_SUCH_PATH)):
            return "flags.url is not Unleash's API, which ends with /api"
        if status == 404:
            return f"{said}. Are {self._where} right?"
        return said or "it gave no reason that could be read; see its log"


class _AgainError(AdminError):
    """The same request may do better a moment later."""


def said_by(response: httpx.Response) -> str:
    """Unleash's own words on what is wrong, cut short, and plain text; "" where there are none."""
    try:
        body = response.json()
        detail = body["details"][0]["message"] if body.get("details") else body["message"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        return ""
    return plain(" ".join(str(detail).split()))[:300].rstrip(". ")
