"""A head's field lines as bytes, each with its CRLF before it: what is left without some, and what one says. These walk all lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.set_cookie import NAME, without_value

if TYPE_CHECKING:
    from gateway.net.head import RequestHead, ResponseHead

_SET_COOKIE: Final = NAME + b":"


def captured(head: RequestHead | ResponseHead) -> bytes:
    """The fields as an exchange carries them: without secrets, and of Set-Cookie without values; each line ended by CRLF."""
    if not head.fields:
        return b""
    if head.secrets is None:
        return head.fields[2:] + b"\r\n"
    fields = head.fields + b"\r\n"
    for line in head.secrets:
        left = b"\r\n"
        if line[0] in (0x53, 0x73) and line[: len(_SET_COOKIE)].lower() == _SET_COOKIE:  # S or s, which is cheaper to see
            name, _, value = line.partition(b":")
            left += name + b": " + without_value(value) + b"\r\n"
        # Whole lines only. Of equal lines side by side one pass leaves every other, but each of them is in the list.
        fields = fields.replace(b"\r\n%b\r\n" % line, left)
    return fields[2:]


def without(fields: bytes, names: frozenset[bytes]) -> bytes:
    """`fields` without the lines of these lower-case names."""
    return b"".join(b"\r\n" + line for line in fields.split(b"\r\n")[1:] if line.partition(b":")[0].lower() not in names)


def field(fields: bytes, name: bytes) -> bytes | None:
    """The first value of the field with this lower-case name."""
    for line in fields.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip(b" \t")
    return None


def values(fields: bytes, name: bytes) -> list[bytes]:
    """The values of all fields with this lower-case name."""
    pairs = [line.partition(b":") for line in fields.split(b"\r\n")]
    return [value.strip(b" \t") for key, _, value in pairs if key.lower() == name]
