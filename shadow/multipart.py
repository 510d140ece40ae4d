"""Forms in multipart/form-data (RFC 7578), field by field."""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_PARTS = 1000
_BOUNDARY = re.compile(r'(?i);\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))')
_NAME = re.compile(r'(?i)[;\s]name="([^"\r\n]*)"')
_FILE = re.compile(r"(?i)[;\s]filename\*?=")


def redacted(data: bytes, content_type: str, field: Callable[[str, str], str]) -> str | None:
    """A body with `field(name, value)` in place of each value, and without files and what else is no text. None: it is no such form,
    or has more than MAX_PARTS parts."""
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().lstrip().startswith("multipart/form-data"):
        return None
    boundary = found[1] or found[2]
    parts = (b"\r\n" + data).split(b"\r\n--" + boundary.encode("latin-1", "replace"), MAX_PARTS + 1)
    if len(parts) < 3 or len(parts) > MAX_PARTS + 1 or parts[0].strip() or not parts[-1].startswith(b"--"):
        return None
    lines = []
    for part in parts[1:-1]:
        head, blank, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = head.decode("utf-8", "replace")
        name = _NAME.search(fields)
        if not blank or name is None:
            return None
        try:
            text = "" if _FILE.search(fields) else field(name[1], value.decode())
        except UnicodeDecodeError:
            text = ""
        kept = field("", name[1])
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{kept}"\r\n\r\n{text}\r\n')
    return "".join(lines) + f"--{boundary}--\r\n"
