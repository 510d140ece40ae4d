"""What every reader asks of what it finds, before it makes an Entry of it: whatever is in a file is a value here, or one short sentence."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from recorded.entry import Fields

MAX_ENTRY: Final = 32 * 1024 * 1024
"""Bytes of one line, or of one entry. A longer one is told and passed over: no file may take more memory than a few of these."""
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x5b\x5d-\x7e]*|\*")
MAX_TARGET: Final = 64 * 1024
MAX_FIELDS: Final = 500
BOM: Final = b"\xef\xbb\xbf"
_NO_STATUS: Final = (0, -1)
"""What HAR and browsers write where there was no answer."""


class EntryError(ValueError):
    """It is no request that could be told of. The message says why, for a person, in a few words."""


def method(value: object) -> str:
    """
    Raises:
        EntryError: it is none (RFC 9110, 9.1).
    """
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        raise EntryError("it has no method" if value is None else "its method is none")
    return value


def target(value: object) -> str:
    """Path and query. Of a whole URL what stands before them is left out, and the fragment of any.

    Raises:
        EntryError: it is none, or belongs to another protocol than HTTP.
    """
    if not isinstance(value, str) or not value:
        raise EntryError("it has no target")
    if len(value) > MAX_TARGET:
        raise EntryError(f"its target is longer than {MAX_TARGET} characters")
    if not value.startswith(("/", "*")):
        try:
            parts = urlsplit(value)
        except ValueError:
            raise EntryError("its URL is none") from None
        if parts.scheme not in ("http", "https", "ws", "wss"):
            raise EntryError("its URL is none of HTTP's")
        value = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    value = value.partition("#")[0]
    if not _TARGET.fullmatch(value):
        raise EntryError("its target has characters that no request may have")
    return value


def fields(pairs: Iterable[tuple[object, object]]) -> Fields:
    """Header fields as they are sent; HTTP/2's own, which begin with a colon, are left out. Browsers write several fields of one name as
    lines of one value.

    Raises:
        EntryError: one of them is none (RFC 9110, 5.1).
    """
    found: list[tuple[bytes, bytes]] = []
    for key, value in pairs:
        name = _bytes(key)
        if name.startswith(b":"):
            continue
        for line in _bytes(value).split(b"\n"):
            content = line.strip(b" \t\r")
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(content):
                raise EntryError("a header field of it is none")
            found.append((name, content))
        if len(found) > MAX_FIELDS:
            raise EntryError(f"it has more than {MAX_FIELDS} header fields")
    return tuple(found)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise EntryError("a header field of it is none")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")


def status(value: object) -> int | None:
    """None: there was no answer.

    Raises:
        EntryError: it is none (RFC 9110, 15).
    """
    if value is None or value in _NO_STATUS:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 999:
        raise EntryError("its status is none")
    return value


def number(value: object) -> float | None:
    """A time or a duration in its own unit; None where it is not there, or is less than nothing, as browsers write what they do not know.

    Raises:
        EntryError: it is no number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EntryError("a time of it is none")
    try:
        found = float(value)
    except OverflowError:
        raise EntryError("a time of it is none") from None
    if not math.isfinite(found):
        raise EntryError("a time of it is none")
    return found if found >= 0 else None


def size(value: object) -> int | None:
    """Bytes; None where it is not there, or is less than nothing.

    Raises:
        EntryError: it is no number.
    """
    found = number(value)
    return None if found is None else int(found)


def moment(value: object) -> float | None:
    """Unix seconds of a time as ISO 8601 writes it; None where there is none. One without a zone is UTC's.

    Raises:
        EntryError: it is none.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise EntryError("its time is none")
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo is not None else datetime.fromisoformat(f"{value}+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise EntryError("its time is none") from None


def body(text: object, encoded: object) -> bytes | None:
    """`text`, or what `encoded` holds in base64; None where both are missing.

    Raises:
        EntryError: it is no text, or no base64.
    """
    if encoded is not None:
        if not isinstance(encoded, str):
            raise EntryError("a body of it is no base64")
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise EntryError("a body of it is no base64") from None
    if text is None:
        return None
    if not isinstance(text, str):
        raise EntryError("a body of it is no text")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise EntryError("a body of it is no text") from None


def text_or_none(value: object) -> str | None:
    """A text of up to 300 characters; what is longer, or none, is left out."""
    return value if isinstance(value, str) and len(value) <= 300 else None


def mapping(value: object, what: str) -> dict[str, Any]:
    """
    Raises:
        EntryError: it is no object; `what` says which.
    """
    if not isinstance(value, dict):
        raise EntryError(f"it has no {what}")
    return value


def lines(file: BinaryIO) -> Iterable[bytes | None]:
    """Each line, with its end; None for one that is longer than MAX_ENTRY, of which nothing is kept. A byte order mark is no part of the
    first."""
    mark = BOM
    while line := file.readline(MAX_ENTRY + 1):
        if len(line) <= MAX_ENTRY:
            yield line.removeprefix(mark)
            mark = b""
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(64 * 1024)
        yield None
        mark = b""
