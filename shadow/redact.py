"""Takes what is configured out of an exchange, before anything of it reaches a disk, a log or a broker.

A redacted value becomes `redacted:` and 16 hex digits of a keyed hash (HMAC-SHA256, RFC 2104): equal values still compare as equal, and
nobody without the key can try out guesses. `null` stays: that a field is empty is what a comparison is about, and nothing secret.

Card numbers and tokens are known by their looks (gateway/secret_patterns.py), and go from wherever they stand: fields, JSON and its names,
text, HTML, forms, paths and queries. What stands in for them says what it was: `redacted:card:` and the hash.

Fields can only be taken out of a body that has fields: JSON, also within a string of JSON, and forms. Other text (HTML, CSV, JSON that
can't be parsed) in which a redacted name occurs is kept as its keyed digest alone: still compared, never stored. What of it differs is told
by its place, and by hashes in place of what stands there. Of what is no text there is the digest and nothing else.
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
from typing import cast
from urllib.parse import parse_qsl, unquote_plus, urlencode

from gateway.secret_fields import NAMES
from gateway.secret_patterns import Patterns, is_card
from shadow import markup, multipart
from shadow.normalise import Body, Form, Headers, Json, Message, UnparsedError, joined, parse_json
from shadow.paths import Path as Place
from shadow.paths import Pattern, PatternError, Step

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
URL_HEADERS = ("location", "content-location", "referer", "refresh", "link")
"""Fields that hold an address, in whose query there may be a secret."""
_KEY_BYTES = 32
_SEPARATORS = re.compile(r"[^\w]+")
_EXPONENT = re.compile(r"[0-9][eE]\+?0*1[0-9](?![0-9])")
_MAX_NESTED = 2
"""JSON in a string of JSON in a string of JSON is looked into; what lies deeper is a text."""
_NESTED = re.compile(r'\\|"\s*[{\[]')
"""Without one of these no string of a JSON document holds JSON, nor what may be meant as such, nor anything that is escaped."""
_CONTAINERS = frozenset((dict, list))
_CREDENTIAL = re.compile(
    r"(?:^|[-_])(?:api[-_]?key|auth|authorization|cookie|credentials?|csrf|jwt|key|otp|passw(?:or)?d|pin|secret|session|sig|signature|sso"
    r"|token|xsrf)(?:$|[-_])|csrftoken|authtoken|sessionid|apikey"
)
"""Header fields whose names sound like a credential, of requests and answers."""
MAX_SOUNDING, MAX_SOUNDING_NAME = 1000, 100
"""Names of headers that are remembered, and how long one of them may be: upstreams may send a new one each time."""


class Redactor:
    """What `[shadow] redact` says, ready to be applied. Names are compared without regard to case: a secret spelt `Password` is one too."""

    def __init__(self, rules: Sequence[str], key: bytes, patterns: Sequence[str] = ()) -> None:
        """`patterns`: what is known by its looks, `cards` and `tokens`.

        Raises:
            PatternError: a rule is neither a header's name nor a path.
        """
        self._key = key
        self._headers = frozenset(rule.lower() for rule in rules if not rule.startswith("$"))
        for name in self._headers:
            if not _TOKEN.fullmatch(name):
                raise PatternError(f"redact: {name!r} is neither a header's name nor a path starting with $")
        parsed = [Pattern.parse(rule.casefold()) for rule in rules if rule.startswith("$")]
        self._by_name: dict[str, list[Pattern]] = {}
        self._unnamed: list[Pattern] = []
        self._wanted = frozenset(patterns)
        self._names = sorted({last for pattern in parsed if (last := _named(pattern)) is not None})
        self._patterns = Patterns(self._wanted, NAMES.union(self._names))
        self._anywhere = any(_named(pattern) is None for pattern in parsed)
        """A rule names no field at all: nobody can tell where it applies in a text."""
        for pattern in parsed:
            if pattern.last_name is None:
                self._unnamed.append(pattern)
            else:
                self._by_name.setdefault(pattern.last_name, []).append(pattern)
        self._sounding: dict[str, bool] = {}
        """Names of headers that were looked at."""
        self._by_name_alone = not self._unnamed and all(pattern.steps[:-1] == (Step.DEEP,) for pattern in parsed)
        """Whether every path is a name at any depth, so that the way to a field need not be known."""

    @property
    def _withholds(self) -> bool:
        return bool(self._by_name or self._unnamed or self._wanted)

    def message(self, message: Message) -> Message:
        """`message` without anything that the rules name."""
        return replace(message, headers=self._fields(message.headers), body=self._body(message.body, message.headers))

    def target(self, target: str) -> str:
        """A request target or URL, with query parameters of redacted or secret names hashed, and without what looks like a secret.
        Untouched to the byte where there are none."""
        before, mark, query = target.partition("?")
        if mark:
            query, hash_mark, fragment = query.partition("#")
            pairs = parse_qsl(query, keep_blank_values=True)
            redacted = [(name, self.hash(value) if value and self.hides(name) else value) for name, value in pairs]
            if redacted != pairs:
                target = f"{before}?{urlencode(redacted, safe=':')}{hash_mark}{fragment}"
        return self.text(target)

    def text(self, text: str) -> str:
        """`text` with everything hashed in it that looks like a secret; the very same object where there is none."""
        return self._patterns.replace(text, self._stand_in) if self._wanted else text

    def _stand_in(self, kind: str, secret: str) -> str:
        return self.hash(secret).replace(":", f":{kind}:", 1) if kind != "field" else self.hash(unquote_plus(secret))

    def hides(self, name: str) -> bool:
        """Whether the value of a field of that name is taken out: of a form, a query, or a request's head."""
        for spelt in (name.casefold(), unquote_plus(name).casefold()):
            # user[password], user.password and form-0-password are fields of that name too, to one framework or another.
            if not {spelt, *_SEPARATORS.split(spelt)}.isdisjoint(self._names) or spelt in NAMES:
                return True
        return False

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
        if value and name != "set-cookie" and self._sounds_secret(name):  # of that the edge has left no value
            return self.hash(value)
        return self.target(value) if name in URL_HEADERS else self.text(value)

    def _sounds_secret(self, name: str) -> bool:
        """Whether it is a header that nobody may read. There are few, and each is in every answer."""
        known = self._sounding.get(name)
        if known is None:
            known = _CREDENTIAL.search(name) is not None or self.hides(name)
            if len(self._sounding) < MAX_SOUNDING and len(name) <= MAX_SOUNDING_NAME:
                self._sounding[name] = known
        return known

    def _cookie(self, line: str) -> str:
        """A Set-Cookie line without the cookie's value. Its name and attributes are compared."""
        pair, semicolon, attributes = line.partition(";")
        name, equals, value = pair.partition("=")
        if not equals:
            return self.hash(line)
        return f"{self.text(name)}={self.hash(value.strip())}{semicolon}{self.text(attributes)}"

    def _body(self, body: Body, headers: Headers) -> Body:
        if body.form is Form.EMPTY or not self._withholds:
            return body
        digest = self.digest(body.data)
        if body.form is Form.JSON:
            document = self._document(body.value, body.text or "")
            if document is body.value:
                return replace(body, digest=digest)
            text = json.dumps(document, ensure_ascii=False)
            return replace(body, value=document, text=text, data=text.encode(), digest=digest)
        if body.form is Form.FORM and isinstance(body.value, dict):
            form = self._form(body.value)
            text = urlencode({name: items for name, items in form.items() if isinstance(items, list)}, doseq=True, safe=":")
            return replace(body, value=form, text=text, data=text.encode(), digest=digest)
        if body.form in (Form.HTML, Form.TEXT) and body.text is not None:
            return self._page(body, body.text, digest)
        parts = multipart.redacted(body.data, joined(headers, "content-type") or "", self._field) if body.form is Form.OPAQUE else None
        if parts is not None and not body.note:
            # Compared whole, by the digest: files are part of that.
            return Body(Form.OPAQUE, parts.encode(), text=parts, size=body.size, digest=digest)
        return Body(body.form, b"", note=body.note or "withheld", size=body.size, digest=digest, veiled=True)

    def _page(self, body: Body, plain: str, digest: str) -> Body:
        """HTML or another text: without what looks like a secret. Where a redacted name may stand in it, it is still compared by its parts,
        but no part of it is shown or kept."""
        text = self.text(plain)
        value = body.value
        if text is not plain:
            try:
                value = cast("Json", markup.parse(text) if body.form is Form.HTML else text.split("\n"))
            except markup.MarkupError:
                return Body(Form.OPAQUE, b"", note=body.note or "withheld", size=body.size, digest=digest, veiled=True)
        veiled = self._may_name(plain)
        if body.form is Form.HTML and self._wanted:
            nodes = self._nodes(value)
            veiled = veiled or nodes != value  # the text still says what was found in its nodes alone
            value = nodes
        if veiled:
            return Body(body.form, b"", value, note=body.note or "withheld", size=body.size, digest=digest, veiled=True)
        return replace(body, value=value, text=text, data=body.data if text is plain else text.encode(), digest=digest)

    def _nodes(self, value: Json) -> Json:
        """A page's nodes without what looks like a secret only now that references are undone and white space is joined."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._nodes(item) for item in value]
        return {self.text(name): self._nodes(item) for name, item in value.items()} if isinstance(value, dict) else value

    def _may_name(self, text: str) -> bool:
        """Whether a redacted name may stand in a text, where nobody can tell what belongs to it."""
        if self._anywhere:
            return True
        if not self._names:
            return False
        return any(name in reading.casefold() for reading in self._patterns.readings(text) for name in self._names)

    def _form(self, fields: dict[str, Json]) -> dict[str, Json]:
        return {
            self.text(name): [self._field(name, str(item)) for item in items] if isinstance(items, list) else items
            for name, items in fields.items()
        }

    def _field(self, name: str, value: str) -> str:
        """A form's value."""
        if self.hides(name):
            return self.hash(value)
        return str(self._string(value, (name.casefold(),), 0))

    def _document(self, value: Json, text: str, place: Place = (), nested: int = 0) -> Json:
        """A JSON document with the named places and what looks like a secret hashed; the very same object where there are none."""
        folded = text.casefold()
        if not self._unnamed and "\\u" not in folded and not any(name in folded for name in self._by_name) and not self._suspicious(text):
            return value  # most bodies: no field can have such a name, and nothing looks like a secret
        if self._by_name_alone and _NESTED.search(text) is None and not self._suspicious(text):
            return self._fields_of(value, {})
        if self._means(place) and value is not None:
            return self.hash(value)
        return self._one(value, place, nested)

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

    def _suspicious(self, text: str) -> bool:
        """Whether something in JSON may look like a secret: also a number of 13 digits and more that is written with an exponent."""
        return bool(self._wanted) and (_EXPONENT.search(text) is not None or self.text(text) is not text)

    def _one(self, value: Json, place: Place, nested: int) -> Json:
        if isinstance(value, str):
            return self._string(value, place, nested)
        if isinstance(value, dict | list):
            return self._json(value, place, nested)
        if isinstance(value, int | float) and not isinstance(value, bool) and self._is_card(value):
            return self.hash(value).replace(":", ":card:", 1)
        return value

    def _is_card(self, value: float) -> bool:
        return "cards" in self._wanted and 1e12 <= abs(value) < 1e19 and value == int(value) and is_card(str(abs(int(value))))

    def _string(self, value: str, place: Place, nested: int) -> Json:
        if len(value) > 1 and value.lstrip()[:1] in ("{", "[", '"'):
            inner = self._nested(value, place, nested)
            if inner is not None:
                return inner
        return self.text(value)

    def _nested(self, text: str, place: Place, nested: int) -> str | None:
        """JSON within a string. None: it is none, and holds no name that is redacted."""
        if nested < _MAX_NESTED:
            try:
                _, value = parse_json(text.encode("utf-8", "surrogatepass"))
            except UnparsedError:
                pass
            else:
                redacted = self._document(value, text, place, nested + 1)
                return text if redacted is value else json.dumps(redacted, ensure_ascii=False)
        return self.hash(text) if self._may_name(text) else None

    def _json(self, value: Json, place: Place, nested: int) -> Json:
        # Depth is bounded by normalise.MAX_DEPTH, once for each that is nested. Nothing is copied but what leads to a change.
        if isinstance(value, dict):
            fields = {self.text(key): self._item(item, (*place, key.casefold()), nested) for key, item in value.items()}
            same = all(map(operator.is_, fields, value)) and all(map(operator.is_, fields.values(), value.values()))
            return value if same and len(fields) == len(value) else fields
        if isinstance(value, list):
            items = [self._item(item, (*place, index), nested) for index, item in enumerate(value)]
            return items if any(map(operator.is_not, items, value)) else value
        return value

    def _item(self, item: Json, place: Place, nested: int) -> Json:
        if item is not None and (self._unnamed or place[-1] in self._by_name) and self._means(place):
            return self.hash(item)
        return self._one(item, place, nested)

    def _means(self, place: Place) -> bool:
        last = place[-1] if place else None
        named = self._by_name.get(last, ()) if isinstance(last, str) else ()
        return any(pattern.matches(place) for pattern in (*named, *self._unnamed))


def _named(pattern: Pattern) -> str | None:
    """The last name in it: `cards` of $.cards[*]."""
    return next((step for step in reversed(pattern.steps) if isinstance(step, str)), None)


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
    if not path.exists():
        # Whole before it has its name: of several that start at once, one makes the key, and none reads half of it.
        made = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(_KEY_BYTES).hex().encode())
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink(missing_ok=True)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {_KEY_BYTES} bytes in hex; remove the file to have a new one made")
    return key
