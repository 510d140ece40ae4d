"""What to write into banyan.toml, and what to say to the flags, so that an endpoint begins to migrate. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

PLACEHOLDER: Final = "http://127.0.0.1:8101"
_PREFIX: Final = re.compile(r"api|rest|v\d+(?:\.\d+)?|internal|public")
_NAME: Final = re.compile(r"[^a-z0-9._-]+")
_DECLARED: Final = re.compile(r"\{([a-zA-Z_]\w{0,39})\}", re.ASCII)
_VALUE: Final = {"{id}": "id", "{uuid}": "uuid", "{hash}": "hash", "{date}": "date", "{email}": "email", "{token}": "token"}
_SAFE: Final = {"GET": '["GET", "HEAD"]', "OPTIONS": '["OPTIONS"]'}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """How one endpoint begins."""

    name: str
    match: str
    toml: str
    """To be put at the end of banyan.toml."""
    commands: tuple[str, ...]
    """In this order; each may be repeated."""
    later: tuple[str, ...]
    """Once it is compared, one after the other and never at once."""
    back: tuple[str, ...]
    """Gives all of it back to legacy."""
    unknown: tuple[str, ...]
    """What only a person can say: keys of UNKNOWN."""


UNKNOWN: Final = {
    "upstream": "where the new service is: put its address in the place of {placeholder}",
    "rewrite": "whether the new service has the same path: if not, add rewrite",
    "identity": "whether it needs to know who calls: identity is optional unless the route says otherwise",
    "guard": "how much worse the new service may do before its flag is turned off: without [routes.guard] nobody watches it",
    "writes": "whether the new service has a sandbox: a request that writes is compared only then (docs/guide/sandbox.md)",
    "values": "what the values in its path are: narrow match down if other things have the same path",
    "methods": "what becomes of the other methods of this path ({methods}): they stay with legacy",
}
"""In English, with what is put in."""


def pattern(template: str) -> str:
    """`match` for everything that has this template: {id} and what else is a value become names, each once."""
    if not template.startswith("/"):
        return "/*"
    used: set[str] = set()
    parts = []
    for part in template[1:].split("/"):
        if "{" not in part:
            parts.append(part)
            continue
        declared = _DECLARED.fullmatch(part)
        name = _VALUE.get(part) or (declared[1] if declared else "file" if not part.endswith("}") else "value")
        parts.append("{" + _unique(name, used, "") + "}")
    return "/" + "/".join(parts)


def route_name(template: str, taken: Collection[str]) -> str:
    """A name for its route, other than those `taken`."""
    segments = [part for part in template.split("/") if part and part != "*"]
    words = [_NAME.sub("-", part.lower()).strip("-._") for part in segments if "{" not in part and not _PREFIX.fullmatch(part.lower())]
    name = "-".join(word for word in words[-3:] if word)[:80] or "home"
    if segments and "{" in segments[-1] and words:
        name += "-detail"
    return _unique(name, set(taken), "-")


def suggest(
    template: str, method: str, *, routes: Iterable[str] = (), upstreams: Iterable[str] = (), methods: Iterable[str] = ()
) -> Suggestion:
    """`routes` and `upstreams`: the names that are taken. `methods`: those that are seen of this template."""
    routes = list(routes)
    name = route_name(template, routes)
    candidate = _unique(name, set(upstreams), "-")
    match = pattern(template)
    safe = method in _SAFE
    toml = (
        f"[upstreams.{_key(candidate)}]\n"
        f'url = "{PLACEHOLDER}"    # the new service\'s address\n\n'
        f"[[routes]]\n"
        f'name = "{name}"\n'
        f"match = {json.dumps(match, ensure_ascii=False)}\n"
        f"methods = {_SAFE.get(method) or f'["{method}"]'}\n"
        f'candidate = "{candidate}"\n'
    )
    if safe:
        toml += "[routes.shadow]\nsample = 1.0    # less, if the new service cannot bear all of it\n"
    commands = ("banyan check", "banyan flags sync", *((f"banyan flags on {name}.shadow",) if safe else ()))
    later = (
        *((f"banyan report {name}", f"banyan gate {name} --wait") if safe else ()),
        f"banyan flags set {name} 1%",
        f"banyan flags set {name} 25%",
        f"banyan flags set {name} 100%",
    )
    others = sorted({other for other in methods if other != method})
    unknown = (
        "upstream",
        "rewrite",
        "identity",
        "guard",
        *(() if safe else ("writes",)),
        *(("values",) if "{" in template or "*" in template else ()),
        *(("methods",) if others else ()),
    )
    return Suggestion(name, match, toml, commands, later, (f"banyan flags off {name}",), unknown)


def _unique(name: str, taken: set[str], between: str) -> str:
    """`name`, or with a number behind it; it is taken then."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}{between}{number}", number + 1
    taken.add(found)
    return found


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
