"""A request as a line for a shell. The gateway's address is a placeholder, and what redaction took out is missing."""

from __future__ import annotations

import shlex

GATEWAY = "http://GATEWAY"


def line(method: str, target: str) -> str:
    """Safe to be pasted, whatever the target holds: every word is quoted, and control characters are percent-encoded."""
    safe = "".join(character if character.isprintable() else f"%{ord(character) & 0xFF:02X}" for character in target)
    words = ["curl", "--globoff", "--include"] + (["--head"] if method == "HEAD" else ["--request", method] if method != "GET" else [])
    return shlex.join([*words, GATEWAY + safe])
