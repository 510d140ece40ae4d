"""Endpoints that somebody declared: in an OpenAPI document, or in Django's URLconf as `shadow/urlconf.py` tells it.

Their templates are what was written there, and what was learned of paths stands back: so /products/{slug} is one endpoint however many
words come in that place, and /products/search another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PARAMETER: Final = re.compile(r"\{[^{}/]*\}")
_MOST: Final = 20_000
"""Endpoints: a pattern of so many takes some 50 MB."""
_REMEMBERED: Final = 20_000
"""Paths whose template is kept at hand, where they have …"""
_SHORT: Final = 200
"""… so many bytes at most."""
_LONGEST: Final = 2048
"""Bytes of a path that is looked at. A URLconf may have expressions that take their time, and whoever asked chose the path."""


_SAMPLES: Final = {
    "{id}": "1",
    "{uuid}": "00000000-0000-4000-8000-000000000000",
    "{hash}": "0a1b2c3d4e5f",
    "{date}": "2026-01-01",
    "{email}": "a@example.org",
}


class DeclarationError(ValueError):
    """It cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One that was declared."""

    template: str
    pattern: str
    """A regular expression for the whole decoded path, without groups that catch anything."""
    methods: tuple[str, ...] = ()
    """Empty: it does not say."""
    login: bool | None = None
    """Whether it needs one; None: it does not say."""
    why: str = ""
    """By what that is known."""


class Declared:
    """All of them, in the order in which they are tried: the first that matches is meant."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """
        Raises:
            DeclarationError: there are none, too many, or one of them cannot be used.
        """
        self.endpoints = tuple(endpoints)
        if not self.endpoints:
            raise DeclarationError("it declares no endpoints")
        if len(self.endpoints) > _MOST:
            raise DeclarationError(f"it declares more than {_MOST:,} endpoints")
        self._by_template: dict[str, list[Endpoint]] = {}
        for endpoint in self.endpoints:
            self._by_template.setdefault(endpoint.template, []).append(endpoint)
        try:
            self._pattern = re.compile("|".join(f"(?:{endpoint.pattern})()" for endpoint in self.endpoints))
        except (re.error, RecursionError, OverflowError) as error:
            raise DeclarationError(f"its expressions cannot be used together: {error}") from None
        self._remembered: dict[bytes, str | None] = {}

    def __contains__(self, template: object) -> bool:
        return template in self._by_template

    def template(self, path: bytes) -> str | None:
        """Of a path without its query; None: it is none of them."""
        try:
            return self._remembered[path]
        except KeyError:
            pass
        if len(path) > _LONGEST:
            return None
        text = (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace")
        found = self._pattern.fullmatch(text)
        template = None if found is None or found.lastindex is None else self.endpoints[found.lastindex - 1].template
        if len(path) <= _SHORT:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[path] = template
        return template

    def login(self, method: str, template: str) -> tuple[bool, str] | None:
        """Whether this endpoint needs a login, and by what that is known; None: nobody says."""
        for endpoint in self._by_template.get(template, ()):
            if endpoint.login is not None and (not endpoint.methods or method in endpoint.methods):
                return endpoint.login, endpoint.why
        return None

    def unasked(self, seen: Iterable[str]) -> list[str]:
        """Templates that are in none of `seen`, in their order."""
        there = set(seen)
        return [template for template in self._by_template if template not in there]


def sample(template: str) -> bytes:
    """A path that has this template, as it was learned: to be looked up among those that are declared."""
    return "/".join(_SAMPLES.get(part, "x") if "{" in part else part for part in template.split("/")).encode()


def from_urlconf(told: Any) -> tuple[Declared, list[str]]:
    """From what `shadow/urlconf.py` printed, with what of it cannot be used.

    Raises:
        DeclarationError: it is something else, or nothing of it can be used.
    """
    endpoints, refused = [], []
    try:
        for one in told["endpoints"]:
            try:
                re.compile(one["pattern"])
            except re.error as error:
                refused.append(f"{one['template']}: {error}")
                continue
            endpoints.append(Endpoint(one["template"], one["pattern"], tuple(one["methods"] or ()), one["login"], one["why"]))
        refused += told["refused"]
    except (KeyError, TypeError) as error:
        raise DeclarationError(f"what was told of the URLconf cannot be read: {error!r}") from None
    return Declared(endpoints), refused


def from_openapi(document: Any) -> Declared:
    """From an OpenAPI 3 or Swagger 2 document, as JSON or YAML was parsed into it. Literals go before parameters (OpenAPI 3.1, 4.8.8.2).

    Raises:
        DeclarationError: it is none.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("paths"), Mapping):
        raise DeclarationError('it is no OpenAPI document: it has no "paths"')
    prefixes = _prefixes(document)
    needed = _needed(document.get("security"))
    found = []
    for path, item in document["paths"].items():
        if not isinstance(path, str) or not path.startswith("/") or not isinstance(item, Mapping):
            continue
        for method in _METHODS:
            operation = item.get(method)
            if not isinstance(operation, Mapping):
                continue
            login = _needed(operation["security"]) if "security" in operation else needed
            for prefix in prefixes:
                template = prefix + path
                found.append(Endpoint(template, _literally(template), (method.upper(),), login, "its OpenAPI document says so"))
    found.sort(key=lambda endpoint: [part.startswith("{") or "{" in part for part in endpoint.template.split("/")])
    return Declared(found)


def _prefixes(document: Mapping[str, Any]) -> list[str]:
    """Paths of its servers (OpenAPI 3), or its basePath (Swagger 2)."""
    found = []
    servers = document.get("servers")
    for server in servers if isinstance(servers, list) else ():
        url = server.get("url") if isinstance(server, Mapping) else None
        if isinstance(url, str) and "{" not in url:
            try:
                found.append(urlsplit(url).path.rstrip("/"))
            except ValueError:
                continue
    base = document.get("basePath")
    if isinstance(base, str):
        found.append(base.rstrip("/"))
    return list(dict.fromkeys(prefix if not prefix or prefix.startswith("/") else f"/{prefix}" for prefix in found)) or [""]


def _needed(security: object) -> bool | None:
    """One of the alternatives must be met; the empty one is met by anybody (OpenAPI 3.1, 4.8.30)."""
    if not isinstance(security, list):
        return None
    return bool(security) and all(security)


def _literally(template: str) -> str:
    """A pattern for the paths of a template."""
    pattern, end = "", 0
    for found in _PARAMETER.finditer(template):
        pattern += re.escape(template[end : found.start()]) + "[^/]+"
        end = found.end()
    return pattern + re.escape(template[end:])
