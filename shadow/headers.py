"""When two response headers say the same.

Each is levelled as far as its own definition says that something means nothing, and no further. Cookies are compared by name and
attributes: their values are a session's or a visitor's, new by nature, and redacted before anything is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from shadow.normalise import Headers, joined, media_type

COOKIES = "set-cookie"
MAX_COOKIES = 200
"""Of one answer. Browsers take about 180 from a site; the rest is compared by number."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the client had sent its request, for Location to be read against. Empty: nobody knows."""

    host: str = ""
    target: str = ""


NOWHERE = Address()


def differing(
    legacy: Headers, candidate: Headers, names: Iterable[str], resolved: Address = NOWHERE
) -> Iterator[tuple[str, str | None, str | None]]:
    """(name, legacy's, the candidate's) of each of `names` (lower case) that makes a difference; a cookie's name is `set-cookie: name`.

    `resolved`: a relative Location is read against it. Where it is not given, `/a` and `https://host/a` differ.
    """
    for name in names:
        if name == COOKIES:
            yield from _cookies(legacy, candidate)
            continue
        left, right = joined(legacy, name), joined(candidate, name)
        if left == right or canonical(name, left) == canonical(name, right):
            continue
        if name == "location" and left is not None and right is not None and _same_place(left, right, resolved):
            continue
        yield name, left, right


def canonical(name: str, value: str | None) -> str | None:
    """A header's value with everything levelled that its own definition says means nothing."""
    if value is None:
        return None
    if name == "content-type":
        media, charset = media_type(value)
        rest = sorted(part.strip() for part in value.split(";")[1:] if part.strip() and not part.strip().lower().startswith("charset"))
        # RFC 8259 section 11: a charset on application/json "really has no effect on compliant recipients".
        if media != "application/json" and "charset" in value.lower():
            rest.append(f"charset={charset}")
        return ";".join([media, *rest])
    if name == "cache-control":
        return ",".join(sorted(part.strip().lower() for part in value.split(",") if part.strip()))
    return value.strip()


def _same_place(left: str, right: str, address: Address) -> bool:
    """Whether one is relative, the other absolute, and both lead the client to the same place on its own host.

    Two absolute ones are never levelled: http and https are different places.
    """
    if not address.host:
        return False
    try:
        sides = [urlsplit(value.strip()) for value in (left, right)]
        absolute = [bool(side.scheme or side.netloc) for side in sides]
        if absolute[0] is absolute[1]:
            # Two relative ones: the same when they resolve to the same.
            return not absolute[0] and _resolved(left, address) == _resolved(right, address)
        relative, whole = (right, sides[0]) if absolute[0] else (left, sides[1])
        if whole.scheme not in ("", "http", "https") or whole.netloc.lower() != address.host.lower():
            return False
        return whole._replace(scheme="", netloc="", path=whole.path or "/").geturl() == _resolved(relative, address)
    except ValueError:  # not a URL
        return False


def _resolved(location: str, address: Address) -> str:
    resolved = urlsplit(urljoin(f"http://host{address.target.partition('?')[0]}", location.strip()))
    return resolved._replace(scheme="", netloc="").geturl()


def _cookies(legacy: Headers, candidate: Headers) -> Iterator[tuple[str, str | None, str | None]]:
    lefts, rights = _jar(legacy), _jar(candidate)
    for name in lefts | rights:
        left, right = lefts.get(name), rights.get(name)
        if left != right:
            yield f"{COOKIES}: {name}", left, right


def _jar(headers: Headers) -> dict[str, str]:
    """The cookies that an answer sets: their attributes by name, domain and path being among them. The last of a name counts."""
    lines = [value for name, value in headers if name == COOKIES]
    jar = dict(map(_cookie, lines[:MAX_COOKIES]))
    return jar | {"(more)": str(len(lines))} if len(lines) > MAX_COOKIES else jar


def _cookie(line: str) -> tuple[str, str]:
    """(name, attributes in order). Of Expires it counts only that it is there, since the date moves with the clock; and whether it is in
    1970, which is how a cookie is taken back."""
    first, *attributes = line.split(";")
    kept = set()
    for attribute in attributes:
        key, equals, value = (part.strip() for part in attribute.partition("="))
        key = key.lower()
        if key == "expires":
            kept.add("expires=1970" if "1970" in value else key)
        elif key:
            kept.add(f"{key}={value.lower() if key in ('samesite', 'domain') else value}" if equals else key)
    return first.partition("=")[0].strip()[:200], "; ".join(sorted(kept))
