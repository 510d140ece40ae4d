"""Turning flags on, off and part of the way: in the flag file, or in Unleash through its Admin API.

Turned off is turned off where the flag lives, so that every gateway and every person sees the same. Both ways keep what people configured
beside it: a flag with several strategies is refused a percentage rather than stripped of them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from flags import names
from flags.features import EMPTY, FeaturesError, normalised, parse


class AdminError(RuntimeError):
    """The flag could not be changed. The message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class FlagState:
    """A flag as `banyan flags list` shows it."""

    name: str
    enabled: bool
    rollout: int | None
    """Percent; None where the strategies are more than one rollout can say."""
    description: str = ""


def _percent(rollout: int | None) -> int | None:
    if rollout is not None and not 0 <= rollout <= 100:
        raise AdminError(f"rollout {rollout}: a percentage is a whole number from 0 to 100")
    return rollout


def _strategy(name: str, rollout: int, stickiness: str | None, current: dict[str, Any] | None = None) -> dict[str, Any]:
    """A rollout in place of `current`, whose group and stickiness stay, or other users would change sides; its constraints stay too."""
    kept = {key: value for key, value in (current or {}).items() if key not in {"id", "name", "parameters", "sortOrder", "disabled"}}
    parameters = {"stickiness": "default", "groupId": name, **((current or {}).get("parameters") or {}), "rollout": str(rollout)}
    if stickiness is not None:
        parameters["stickiness"] = stickiness
    return {"name": "flexibleRollout", "constraints": [], **kept, "parameters": parameters}


def _rollout_of(strategies: list[dict[str, Any]]) -> int | None:
    if not strategies:
        return 100
    if len(strategies) > 1 or strategies[0].get("constraints") or strategies[0].get("segments"):
        return None
    if strategies[0]["name"] == "default":
        return 100
    try:
        return int((strategies[0].get("parameters") or {})["rollout"])
    except (KeyError, ValueError):
        return None


def _only_rollout(name: str, strategies: list[dict[str, Any]], where: str) -> dict[str, Any] | None:
    """The one strategy whose percentage may be set; None where a new one should be made.

    Raises:
        AdminError: somebody configured more than that.
    """
    if not strategies:
        return None
    (first, *others) = strategies
    if others or first["name"] not in {"default", "flexibleRollout"}:
        raise AdminError(f"flag {name!r} has {len(strategies)} strategies of its own: change its percentage in {where}")
    return first


def list_flags(path: Path) -> list[FlagState]:
    """Every flag in the file.

    Raises:
        AdminError: the file can't be read.
    """
    return [FlagState(f["name"], f["enabled"], _rollout_of(f["strategies"]), f.get("description") or "") for f in _load(path)["features"]]


def has_flag(path: Path, name: str) -> bool:
    """Whether the flag is in the file, if there is one.

    Raises:
        AdminError: the file can't be read.
    """
    return any(feature["name"] == name for feature in _load(path, missing_ok=True)["features"])


def set_flag(path: Path, name: str, enabled: bool, rollout: int | None = None, stickiness: str | None = None) -> FlagState:
    """Turns a flag in the file on or off, for `rollout` percent; None keeps the percentage that it has (a new flag: 100).

    `stickiness` None keeps that too (a new flag: "default", which is userId, else sessionId, else chance). The file and the flag are made
    where they are missing. Everything else in the file stays, its mode too, and readers see either the whole old or the whole new content.

    Raises:
        AdminError: the file can't be read or written, the gateway would not take it, or the flag has strategies that a percentage would
            destroy.
    """
    _percent(rollout)
    target = path.resolve()  # through a symbolic link, which stays
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent):
            document = _load(target, missing_ok=True)
            feature = next((f for f in document["features"] if f["name"] == name), None)
            if feature is None:
                if not names.possible(name):  # what somebody wrote into the file by hand can be switched nevertheless
                    raise AdminError(f"{name!r} cannot be a flag's name: {names.RULE}")
                feature = {"name": name, "type": "release", "enabled": enabled, "strategies": [_strategy(name, 100, stickiness)]}
                document["features"].append(feature)
            feature["enabled"] = enabled
            if rollout is not None:
                current = _only_rollout(name, feature["strategies"], str(path))
                feature["strategies"] = [_strategy(name, rollout, stickiness, current)]
            data = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
            normalised(data, strict=True)
            write_atomically(target, data)
    except FeaturesError as error:  # to say "off" of a file that the gateway does not take would be a lie
        raise AdminError(f"flag file {path}: {error}. Correct it first; nothing was changed") from None
    except OSError as error:
        raise AdminError(f"flag file {path}: {error.strerror or error}") from None
    return FlagState(name, enabled, _rollout_of(feature["strategies"]), feature.get("description") or "")


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replaces the file whole. `mode` None keeps the mode that it has (0644 for a new one).

    Raises:
        OSError: it can't be written; the old content stands.
    """
    if mode is None:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            mode = 0o644
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from its first moment
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _load(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not missing_ok:
            raise AdminError(f"flag file {path}: there is no such file. `banyan flags off NAME` starts one") from None
        data = EMPTY
    except OSError as error:
        raise AdminError(f"flag file {path}: {error.strerror or error}") from None
    try:
        return parse(data)
    except FeaturesError as error:
        raise AdminError(f"flag file {path}: {error}. Correct it first; nothing was changed") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two `banyan flags` at once must not lose one another's change. The folder is locked: the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class UnleashAdmin:
    """Unleash's Admin API, as far as a migration needs it. Synchronous; close it, or use it in a `with`."""

    def __init__(self, url: str, admin_token: str, *, project: str = "default", environment: str = "development", timeout: float = 5.0):
        """`url` is the API's base, as in [flags] url: http://host:4242/api."""
        if not admin_token or not admin_token.isascii() or not admin_token.isprintable() or " " in admin_token:
            raise AdminError(
                "flags.admin_token: not a token (empty, or with spaces or line ends). Unleash makes one under Admin > API access"
            )
        self._url = url.rstrip("/")
        self._features = f"/admin/projects/{quote(project, safe='')}/features"
        self._environment = environment
        self._client = httpx.Client(
            base_url=self._url, headers={"Authorization": admin_token}, timeout=timeout, transport=httpx.HTTPTransport(retries=1)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def exists(self, name: str) -> bool:
        """Whether the project has the flag."""
        return self._call("GET", f"{self._features}/{quote(name, safe='')}", fine=(404,)).status_code != 404

    def ensure_flag(self, name: str, description: str = "", type: str = "release") -> bool:  # noqa: A002 - Unleash's own word
        """Makes the flag, off, where it does not exist. Returns whether it was made."""
        body = {"name": name, "description": description, "type": type}
        return self._call("POST", self._features, json=body, fine=(409,)).status_code != 409

    def set(self, name: str, enabled: bool, rollout: int | None = None, stickiness: str | None = None) -> FlagState:
        """Turns the flag on or off in the environment, for `rollout` percent; None keeps the percentage that it has."""
        _percent(rollout)
        place = self._place(name)
        if rollout is not None:
            strategies = self._call("GET", f"{place}/strategies").json()
            current = _only_rollout(name, strategies, "Unleash")
            body = _strategy(name, rollout, stickiness, current)
            if current is None:
                self._call("POST", f"{place}/strategies", json=body)
            else:
                self._call("PUT", f"{place}/strategies/{quote(current['id'], safe='')}", json=body)
        self._call("POST", f"{place}/{'on' if enabled else 'off'}")
        return FlagState(name, enabled, _rollout_of(self._call("GET", f"{place}/strategies").json()))

    def off(self, name: str) -> None:
        """Turns the flag off: legacy answers."""
        self._call("POST", f"{self._place(name)}/off")

    def list(self) -> list[FlagState]:
        """Every flag of the project, as it is in the environment."""
        states = []
        for feature in self._call("GET", self._features).json()["features"]:
            place = f"{self._place(feature['name'])}"
            environment = self._call("GET", place).json()
            strategies = environment.get("strategies") or []
            states.append(
                FlagState(feature["name"], bool(environment["enabled"]), _rollout_of(strategies), feature.get("description") or "")
            )
        return states

    def _place(self, name: str) -> str:
        return f"{self._features}/{quote(name, safe='')}/environments/{quote(self._environment, safe='')}"

    def _call(self, method: str, path: str, *, json: object = None, fine: tuple[int, ...] = ()) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise AdminError(f"Unleash at {self._url} can't be reached: {error or type(error).__name__}. Is flags.url right?") from None
        status = response.status_code
        if response.is_success or status in fine:
            if response.content and "json" not in response.headers.get("content-type", ""):
                raise AdminError(
                    f"Unleash at {self._url} answered with a page instead of JSON: flags.url must be its API, which ends with /api"
                )
            return response
        hint = {
            401: "flags.admin_token is not valid there",
            403: "flags.admin_token may not do that; it must be an admin token",
            404: "no such flag, project or environment, or flags.url is not Unleash's API (it ends with /api)",
        }.get(status) or _said(response)
        raise AdminError(f"Unleash at {self._url} answered {status} to {method} {path}: {hint}")


def _said(response: httpx.Response) -> str:
    """Unleash's own words on what is wrong, cut short."""
    try:
        body = response.json()
        detail = body["details"][0]["message"] if body.get("details") else body["message"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return "it gave no reason that could be read; see its log"
    return str(detail)[:200]
