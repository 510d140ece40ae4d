"""How the lines of an access log are made: nginx's `log_format` and Apache's `LogFormat`, as patterns for reading such lines again.

A pattern never goes back: each value ends where the literal text behind it is met first (or, between quotes, at the first quote that is not
escaped), and is not tried any other way. So a line of junk costs as much as its length, whatever the format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NGINX_COMBINED: Final = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
NAMED: Final[dict[str, str]] = {
    "common": '%h %l %u %t "%r" %>s %b',
    "combined": NGINX_COMBINED,
    "vhost_combined": '%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
}

BANYAN: Final = (
    '{"time":$msec,"id":"$request_id","client":"$remote_addr","method":"$request_method","target":"$request_uri","status":$status,'
    '"bytes":$body_bytes_sent,"seconds":$request_time,"route":"$banyan_route","served_by":"$banyan_served_by","upstream":"$banyan_upstream",'
    '"reason":"$banyan_reason","shadow":$banyan_shadow}'
)
"""The gateway's own access log (gateway/access.py), written as nginx would have it."""
NAMED["banyan"] = BANYAN

_NGINX: Final = {
    "request": "request",
    "request_method": "method",
    "request_uri": "target",
    "uri": "path",
    "document_uri": "path",
    "args": "query",
    "query_string": "query",
    "time_local": "time",
    "time_iso8601": "iso",
    "msec": "epoch",
    "status": "status",
    "body_bytes_sent": "size",
    "request_time": "seconds",
    "upstream_response_time": "upstream",
    "upstream_header_time": "head",
    "remote_addr": "client",
    "remote_user": "user",
    "upstream_cache_status": "cache",
    "banyan_route": "route",
    "banyan_served_by": "side",
}
_APACHE: Final = {
    "h": "client",
    "a": "client",
    "u": "user",
    "t": "time",
    "r": "request",
    "m": "method",
    "U": "path",
    "q": "query",
    "s": "status",
    "b": "size",
    "B": "size",
    "D": "microseconds",
    "T": "seconds",
}
_UNITS: Final = {"us": "microseconds", "ms": "milliseconds", "s": "seconds"}
_EPOCHS: Final = {"sec": "epoch", "msec": "epoch-ms", "usec": "epoch-us"}
_NGINX_PART: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_APACHE_PART: Final = re.compile(r"%(?:%|!?[\d,]*[<>]?(?:\{([^}]*)\})?[<>]?(\^t[io]|[a-zA-Z]))")
_PRIVATE: Final = re.compile(r"authorization|cookie|token|secret|password|api.?key|session|csrf", re.IGNORECASE)
"""Fields that are not read although a log has them: a recording that is replayed is to hold no credentials."""
_MOST: Final = 80
"""Values in a format: the widest in use have some 40."""


class FormatError(ValueError):
    """The format cannot be read by. The message says why."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format, ready for reading."""

    text: str
    kinds: tuple[str, ...]
    """What each group of `pattern` is: a word of the tables above, `field:NAME`, `answer:NAME`."""
    pattern: re.Pattern[bytes]

    @classmethod
    def parse(cls, text: str) -> Format:
        """From nginx's or Apache's own text, with or without the directive around it, or the name of one that everybody has.

        Raises:
            FormatError: it has none of either's variables, not enough of them, or two without anything between them.
        """
        given = text
        text = _bare(text.strip())
        text = NAMED.get(text, text)
        if len(text) > 8192:
            raise FormatError("it is longer than 8 KiB")
        parts = _nginx(text) if _NGINX_PART.search(text) else _apache(text)
        kinds = [kind for kind, _ in parts if kind]
        if not kinds:
            raise FormatError(f"{given!r} has no variable of nginx ($request) or Apache (%r), and is none of {', '.join(NAMED)}")
        if len(kinds) > _MOST:
            raise FormatError(f"it has more than {_MOST} variables")
        if not {"request", "target", "path"} & set(kinds):
            raise FormatError("it does not say what was asked for: it needs $request or $request_uri (Apache: %r or %U)")
        return cls(text, *_compiled(parts))


def _bare(text: str) -> str:
    """Without `log_format NAME [escape=…]` and `LogFormat`, and the quotes that the configuration has around the pieces."""
    directive = re.match(r"log_format\s+\S+\s+(?:escape=\w+\s+)?", text)
    if directive is not None:
        found = ""
        for piece in re.finditer(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^\s;'\"]+)|(;)", text[directive.end() :]):
            if piece[4]:
                break
            found += piece[1] or piece[2] or piece[3] or ""
        return found
    directive = re.match(r"LogFormat\s+\"((?:[^\"\\]|\\.)*)\"", text)
    if directive is not None:
        return directive[1].replace('\\"', '"').replace("\\t", "\t")
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    return text


type _Part = tuple[str, str]
"""Its kind, or "" and a literal text."""


def _nginx(text: str) -> list[_Part]:
    parts: list[_Part] = []
    end = 0
    for found in _NGINX_PART.finditer(text):
        parts.append(("", text[end : found.start()]))
        end = found.end()
        parts.append((_nginx_kind(found[1] or found[2]), found[0]))
    parts.append(("", text[end:]))
    return parts


def _nginx_kind(name: str) -> str:
    for prefix, kind in (("http_", "field"), ("sent_http_", "answer"), ("upstream_http_", "answer")):
        if name.startswith(prefix):
            return _named(kind, name.removeprefix(prefix).replace("_", "-"))
    return _NGINX.get(name, "skip")


def _apache(text: str) -> list[_Part]:
    text = text.replace('\\"', '"').replace("\\t", "\t")
    parts: list[_Part] = []
    end = 0
    for found in _APACHE_PART.finditer(text):
        before = text[end : found.start()]
        end = found.end()
        if found[2] is None:
            parts.append(("", before + "%"))
            continue
        kind = _apache_kind(found[2], found[1] or "")
        if kind == "time":  # its brackets are its own
            parts += [("", before + "["), (kind, found[0]), ("", "]")]
        else:
            parts += [("", before), (kind, found[0])]
    parts.append(("", text[end:]))
    return parts


def _apache_kind(letter: str, argument: str) -> str:
    if letter == "i":
        return _named("field", argument)
    if letter == "o":
        return _named("answer", argument)
    if letter == "t" and argument:
        return _EPOCHS.get(argument.removeprefix("begin:").removeprefix("end:"), "skip")
    if letter == "T" and argument:
        return _UNITS.get(argument, "skip")
    return _APACHE.get(letter, "skip")


def _named(kind: str, name: str) -> str:
    return "skip" if _PRIVATE.search(name) else f"{kind}:{name.lower()}"


def _compiled(parts: list[_Part]) -> tuple[tuple[str, ...], re.Pattern[bytes]]:
    joined: list[_Part] = []
    for kind, text in parts:
        if not kind and joined and not joined[-1][0]:
            joined[-1] = ("", joined[-1][1] + text)
        elif kind or text:
            joined.append((kind, text))
    pattern = ""
    kinds = []
    for index, (kind, text) in enumerate(joined):
        if not kind:
            pattern += re.escape(text)
            continue
        before = joined[index - 1][1] if index and not joined[index - 1][0] else ""
        after = joined[index + 1] if index + 1 < len(joined) else ("", "")
        if after[0] and {kind, after[0]} != {"path", "query"}:
            raise FormatError(f"nothing stands between {text} and {after[1]}: where the one ends cannot be told")
        kinds.append(kind)
        pattern += _value(kind, before, after)
    return tuple(kinds), re.compile(pattern.encode(), re.DOTALL)


def _value(kind: str, before: str, after: _Part) -> str:
    """The pattern of one value, between these."""
    if after[0]:  # Apache's %U%q
        return r"([^?\s\"]*+)"
    if not after[1]:
        return "(.*+)"
    quote = after[1][0]
    if quote in "\"'" and before.endswith(quote):
        return rf"([^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+)"
    if kind == "request":  # spaces are in it
        return rf"(?>(\S++ \S++ HTTP/\d(?:\.\d)?|.*?)(?={re.escape(after[1])}))"
    if len(after[1]) == 1:
        return f"([^{re.escape(after[1])}]*+)"
    return f"(?>(.*?)(?={re.escape(after[1])}))"
