"""Set-Cookie without what it sets: for the comparison, which asks for a cookie's name and attributes, and never for its value.

Both engines leave every answer's cookies behind like this in the edge, before anything of an exchange goes to another process.
"""

from __future__ import annotations

from typing import Final

NAME: Final = b"set-cookie"
MARK: Final = b"*"
"""In place of a value. Nothing stays nothing: that is how a cookie is taken back."""
ATTRIBUTES: Final = frozenset(
    (b"domain", b"expires", b"httponly", b"max-age", b"partitioned", b"path", b"priority", b"samesite", b"secure"),
)
"""What may follow a value (RFC 6265bis, 4.1.2; the others are the browsers'). Anything else is cut: a value that has a semicolon in it, as
some servers write them in quotes, goes on where attributes begin."""
MAX_NAME: Final = 200
"""Bytes. A longer name is cut: nobody's cookie is called like that."""


def without_value(value: bytes) -> bytes:
    """What a Set-Cookie field says, but for the cookie's value. What has no `=` is all value (RFC 6265bis, 5.6)."""
    pair, *attributes = value.split(b";")
    name, equals, content = pair.partition(b"=")
    if not equals:
        name, content = b"", pair
    kept = [name.strip(b" \t")[:MAX_NAME] + b"=" + (MARK if content.strip(b" \t") else b"")]
    for attribute in attributes:
        key = attribute.partition(b"=")[0].strip(b" \t")
        if key.lower() in ATTRIBUTES:
            kept.append(attribute.strip(b" \t"))
    return b"; ".join(kept)
