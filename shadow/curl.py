"""A request as a line for a shell (bash, zsh). The gateway's address is a placeholder, and what redaction took out is shown as that.

Whatever the request holds, nothing in it is the shell's or curl's: words are quoted, what does not show is written as bytes ($'\\x1b'), and
no value is one of curl's options or the name of a file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from shadow.normalise import Form, media_type

GATEWAY = "http://GATEWAY"
BODY_FILE = "BODY"
"""The name of a file that has to be made first, where the body was not kept."""
LONGEST = 100_000
"""Bytes of one argument; Linux takes 128 KiB. A longer body comes by way of standard input."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULTS = ("user-agent", "accept")
"""What curl says of itself where nobody says otherwise."""
_ESCAPES = {0x27: "\\'", 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


def line(method: str, target: str, request: dict[str, Any] | None = None) -> str:
    """The line. `request`: what shadow.request.kept kept; without it, method and target alone."""
    words = ["curl", "--globoff", "--include"]
    if "/." in target:
        words.append("--path-as-is")
    with_body = request is not None and request["size"] > 0 and method != "HEAD"
    if method == "HEAD":
        words.append("--head")
    elif method != "GET" or with_body:
        words += ["--request", method]
    url = GATEWAY + _percent_encoded(target)
    if not target.startswith("/"):  # OPTIONS *
        words += ["--request-target", target]
        url = GATEWAY
    data = list(map(quote, words))
    for name, value in _headers(request, with_body):
        field = f"{name}: {value}" if value else f"{name};"
        data += ["--header", quote(field.encode("latin-1", "replace") if _is_latin(field) else field)]
    if request is not None:
        present = {name for name, _ in request["headers"]}
        if "accept-encoding" in present:
            data.append("--compressed")
        for name in (*_DEFAULTS, *(("content-type",) if with_body else ())):
            if name not in present:
                data += ["--header", f"{name}:"]
    piped = ""
    if with_body:
        body = _body(request)
        quoted = quote(body) if body is not None else ""
        if body is None:
            data += ["--data-binary", f"@{BODY_FILE}"]
        elif len(quoted) > LONGEST:
            piped = f"printf %s {quoted} | "
            data += ["--data-binary", "@-"]
        else:
            data += ["--data-raw", quoted]
    return f"{piped}{' '.join(data)} {quote(url)}"


def notes(method: str, request: dict[str, Any] | None) -> list[str]:
    """What the line does not say, one sentence each."""
    if request is None:
        return ["Headers and body of this request were not kept."]
    found = ["Who called is not in it: Authorization and Cookie are never captured."]
    text = request["text"]
    if any("redacted:" in value for _, value in request["headers"]) or (text is not None and "redacted:" in text):
        found.append("What stands there as redacted:… was something else: it was taken out before anything was stored.")
    if request["size"] and method == "HEAD":
        found.append("curl sends no body with HEAD: it is left out.")
    elif request["size"] and text is None:
        what = f"{request['size']} bytes, {request['note'] or 'no text'}, digest {request['digest']}"
        found.append(f"The body ({what}) was not kept: it is to be put into a file named {BODY_FILE}.")
    elif text is not None and request["form"] == "opaque":
        found.append("Of a form in parts, files are left out.")
    return found


def quote(word: str | bytes) -> str:
    """One word of a shell's line, which the shell gives back as it was: on one line, in characters that show."""
    data = word.encode() if isinstance(word, str) else word
    text = data.decode("utf-8", "surrogateescape")
    return shlex.quote(text) if text.isprintable() else f"$'{''.join(_pieces(text))}'"


def _pieces(text: str) -> Iterator[str]:
    for character in text:
        if character.isprintable() and character not in "'\\":
            yield character
        else:
            for byte in character.encode("utf-8", "surrogateescape"):
                yield _ESCAPES.get(byte) or f"\\x{byte:02x}"  # bytes, and not \u: what that means depends on the shell's locale


def _headers(request: dict[str, Any] | None, with_body: bool) -> list[tuple[str, str]]:
    if request is None:
        return []
    skipped = {"content-encoding"} if request["decoded"] or not with_body else set()
    return [(name, value) for name, value in request["headers"] if _TOKEN.fullmatch(name) and name not in skipped]


def _is_latin(text: str) -> bool:
    """Whether it is what a head's bytes are read as."""
    return all(ord(character) < 256 for character in text)


def _body(request: dict[str, Any] | None) -> bytes | None:
    """The body's bytes; None where they were not kept."""
    text: str | None = request["text"] if request is not None else None
    if request is None or text is None:
        return None
    if request["form"] not in (Form.TEXT, Form.HTML):
        return text.encode()  # JSON and forms are read without regard to a charset, and what it says may be anything
    _, charset = media_type(next((value for name, value in request["headers"] if name == "content-type"), ""))
    try:
        return text.encode(charset)
    except (LookupError, UnicodeError):  # redaction may have put in what the charset lacks
        return text.encode()


def _percent_encoded(target: str) -> str:
    """What does not show, or is no character of an address, as %XX. A target's bytes are read as Latin-1."""
    return "".join(
        character if "!" <= character <= "~" and character != "#" else "".join(f"%{byte:02X}" for byte in _bytes(character))
        for character in target
    )


def _bytes(character: str) -> bytes:
    return bytes((ord(character),)) if ord(character) < 256 else character.encode()
