"""Takes what is configured out of an exchange, before anything of it reaches a disk, a log or a broker.

A redacted value becomes `redacted:` and 16 hex digits of a keyed hash (HMAC-SHA256, RFC 2104): equal values still compare as equal, and
nobody without the key can try out guesses. `null` stays: that a field is empty is what a comparison is about, and nothing secret.

Fields can only be taken out of a body that has fields. So while any body path is configured, a body that is neither JSON nor a form (HTML,
CSV, an image, JSON that can't be parsed) is kept as its keyed digest alone: still compared, never stored. What of it differs is told by its
place, and by hashes in place of what stands there.
"""

from __future__ import annotations

import hmac
import json
import operator
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus, urlencode

from gateway.secret_fields import NAMES
from shadow.normalise import Body, Form, Headers, Json, Message
from shadow.paths import Path as Place
from shadow.paths import Pattern, PatternError, Step

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_URL_HEADERS = ("location", "content-location", "refresh", "link")
_KEY_BYTES = 32
_CONTAINERS = frozenset((dict, list))


class Redactor:
    """What `[shadow] redact` says, ready to be applied. Names are compared without regard to case: a secret spelt `Password` is one too."""

    def __init__(self, rules: Sequence[str], key: bytes) -> None:
        """
        Raises:
            PatternError: a rule is neither a header's name nor a path.
        """
        self._key = key
        self._headers = frozenset(rule.lower() for rule in rules if not rule.startswith("$"))
        for name in self._headers:
            if not _TOKEN.fullmatch(name):
                raise PatternError(f"redact: {name!r} is neither a header's name nor a path starting with $")
        patterns = [Pattern.parse(rule.casefold()) for rule in rules if rule.startswith("$")]
        self._by_name: dict[str, list[Pattern]] = {}
        self._unnamed: list[Pattern] = []
        for pattern in patterns:
            if pattern.last_name is None:
                self._unnamed.append(pattern)
            else:
                self._by_name.setdefault(pattern.last_name, []).append(pattern)
        self._anywhere = not self._unnamed and all(pattern.steps[:-1] == (Step.DEEP,) for pattern in patterns)
        """Whether every path is a name at any depth, so that the way to a field need not be known."""

    @property
    def _withholds(self) -> bool:
        return bool(self._by_name or self._unnamed)

    def message(self, message: Message) -> Message:
        """`message` without anything that the rules name."""
        return replace(message, headers=self._fields(message.headers), body=self._body(message.body))

    def target(self, target: str) -> str:
        """A request target or URL, with query parameters of redacted or secret names hashed. Untouched to the byte where there are none."""
        before, mark, query = target.partition("?")
        if not mark:
            return target
        query, hash_mark, fragment = query.partition("#")
        pairs = parse_qsl(query, keep_blank_values=True)
        redacted = [(name, self.hash(value) if self._hides(name) else value) for name, value in pairs]
        return target if redacted == pairs else f"{before}?{urlencode(redacted, safe=':')}{hash_mark}{fragment}"

    def _hides(self, name: str) -> bool:
        return name.casefold() in self._by_name or unquote_plus(name).casefold() in NAMES

    def hash(self, value: Json) -> str:
        """What stands in for `value`."""
        canonical = json.dumps(value) if isinstance(value, str) else json.dumps(_integral(value), sort_keys=True, separators=(",", ":"))
        return f"redacted:{hmac.digest(self._key, canonical.encode(), 'sha256').hex()[:16]}"

    def digest(self, data: bytes) -> str:
        """What stands in for a body."""
        return hmac.digest(self._key, data, "sha256").hex()[:32]

    def _fields(self, headers: Headers) -> Headers:
        return tuple((name, self._header(name, value)) for name, value in headers)

    def _header(self, name: str, value: str) -> str:
        if name in self._headers:
            return self._cookie(value) if name == "set-cookie" else self.hash(value)
        return self.target(value) if name in _URL_HEADERS else value

    def _cookie(self, line: str) -> str:
        """A Set-Cookie line without the cookie's value. Its name and attributes are compared."""
        pair, semicolon, attributes = line.partition(";")
        name, equals, value = pair.partition("=")
        return f"{name}={self.hash(value.strip())}{semicolon}{attributes}" if equals else self.hash(line)

    def _body(self, body: Body) -> Body:
        if body.form is Form.EMPTY or not self._withholds:
            return body
        digest = self.digest(body.data)
        if body.form is Form.JSON:
            value = self._document(body)
            if value is body.value:
                return replace(body, digest=digest)
            text = json.dumps(value, ensure_ascii=False)
            return replace(body, value=value, text=text, data=text.encode(), digest=digest)
        if body.form is Form.FORM and isinstance(body.value, dict):
            value = self._form(body.value)
            text = urlencode({name: items for name, items in value.items() if isinstance(items, list)}, doseq=True, safe=":")
            return replace(body, value=value, text=text, data=text.encode(), digest=digest)
        # Pages and texts are still compared by their parts, but no part of them is shown or kept.
        value = body.value if body.form in (Form.HTML, Form.TEXT) else None
        return Body(body.form, b"", value, note=body.note or "withheld", size=body.size, digest=digest, veiled=True)

    def _form(self, fields: dict[str, Json]) -> dict[str, Json]:
        return {
            name: [self.hash(item) for item in items] if name.casefold() in self._by_name and isinstance(items, list) else items
            for name, items in fields.items()
        }

    def _document(self, body: Body) -> Json:
        """A JSON body's value with the named places hashed; the very same object where there are none."""
        text = (body.text or "").casefold()
        if not self._unnamed and "\\u" not in text and not any(name in text for name in self._by_name):
            return body.value  # most bodies: no field can have such a name
        if self._anywhere:
            return self._fields_of(body.value, {})
        if self._means(()) and body.value is not None:
            return self.hash(body.value)
        return self._json(body.value, ())

    def _fields_of(self, value: Json, shapes: dict[tuple[str, ...], list[str]]) -> Json:
        """`_json` where a field's name decides, wherever it stands. `shapes`: of the objects met so far, by their names, which to hash."""
        if isinstance(value, list):
            items = [self._fields_of(item, shapes) if type(item) in _CONTAINERS else item for item in value]
            return items if any(map(operator.is_not, items, value)) else value
        if not isinstance(value, dict):
            return value
        names = tuple(value)
        hidden = shapes.get(names)
        if hidden is None:
            hidden = shapes[names] = [name for name in names if name.casefold() in self._by_name]
        changed: dict[str, Json] = {name: self.hash(value[name]) for name in hidden if value[name] is not None}
        for name, item in value.items():
            if type(item) in _CONTAINERS and name not in changed and (new := self._fields_of(item, shapes)) is not item:
                changed[name] = new
        return value | changed if changed else value

    def _json(self, value: Json, place: Place) -> Json:
        # Depth is bounded by normalise.MAX_DEPTH. Nothing is copied but what leads to a change.
        if isinstance(value, dict):
            fields = {key: new for key, item in value.items() if (new := self._item(item, (*place, key.casefold()))) is not item}
            return value | fields if fields else value
        if isinstance(value, list):
            items = [self._item(item, (*place, index)) for index, item in enumerate(value)]
            return items if any(map(operator.is_not, items, value)) else value
        return value

    def _item(self, item: Json, place: Place) -> Json:
        if item is not None and (self._unnamed or place[-1] in self._by_name) and self._means(place):
            return self.hash(item)
        return self._json(item, place) if isinstance(item, dict | list) else item

    def _means(self, place: Place) -> bool:
        last = place[-1] if place else None
        named = self._by_name.get(last, ()) if isinstance(last, str) else ()
        return any(pattern.matches(place) for pattern in (*named, *self._unnamed))


def _integral(value: Json) -> Json:
    """1.0 as 1, at every depth: they are the same JSON number, so they must have the same hash."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    return value


def load_key(path: Path) -> bytes:
    """This installation's key; made on first use, readable by its owner alone.

    Raises:
        OSError: it can't be read or made.
        ValueError: the file is there and is not a key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES).hex().encode())
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {_KEY_BYTES} bytes in hex; remove the file to have a new one made")
    return key
