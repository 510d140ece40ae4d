"""What JSON can say, as YAML that people read: blocks, and every text that is more than a plain word in JSON's quotes.

A package would bring a parser, its tags and its guesses about what `no` and `1.20` mean; this writes a dozen lines' worth of YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS: Final = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


def written(documents: list[Any], head: list[str]) -> str:
    """`documents`, each with its `---` where there are several, below `head` as comments."""
    lines = [f"# {line}" for line in head]
    for document in documents:
        if len(documents) > 1:
            lines.append("---")
        lines += _block(document)
    return "\n".join(lines) + "\n"


def _block(value: Any) -> Iterator[str]:
    """The lines of it, not indented."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _entry(f"{_scalar(key)}:", item, dash=False)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _entry("-", item, dash=True)
    else:
        yield _scalar(value)


def _entry(mark: str, item: Any, *, dash: bool) -> Iterator[str]:
    if not isinstance(item, dict | list) or not item:
        yield f"{mark} {_scalar(item)}"
        return
    lines = _block(item)
    if dash:
        yield f"{mark} {next(lines)}"
    else:
        yield mark
    for line in lines:
        yield f"  {line}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
