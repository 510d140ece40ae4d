"""What one difference has in common with all of its kind: the kind, and the path with what changes from request to request generalised.

A signature is what a person reviews, so it must neither lump different faults together nor come anew with every id (twitter/diffy#30, #49).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from shadow.compare import Difference, Kind
from shadow.paths import ANY_INDEX, Path, Segment

MAX_PATH = 300
"""Characters. Longer paths come from field names that are data; what they share at the front still tells them apart."""

_INDEX = re.compile(r"\[\d+\]")
_ID = re.compile(
    r"\.?(?P<plain>(?<=\.)[0-9a-fA-F]{16,})(?![\w-])"  # long hex as a plain name
    r'|\["[^"]*redacted:(?:card:|token:)?[0-9a-f]{16}[^"]*"\]'  # a name that was a secret
    r'|\["(?:-?\d+|[0-9a-fA-F]{16,})"\]'  # numbers and long hex
    r'|(?:\.|\[")[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?:"\])?(?![\w-])'  # UUIDs
)

type Signature = tuple[Kind, str]

ANY_ID = "\0{id}"
"""Stands for an id in a path that was generalised. No rule can name it: it holds what no rule may hold."""
_PART = re.compile(r"""\[(?P<star>\*)\]|\.(?P<id>\{id\})|\.(?P<name>[A-Za-z_][\w-]*)|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]""")


def generalise(path: str) -> str:
    """`$.items[3].prices["42"]` → `$.items[*].prices.{id}`."""
    return _ID.sub(".{id}", _INDEX.sub("[*]", path))[:MAX_PATH]


def signature(difference: Difference) -> Signature:
    """What `difference` is counted under."""
    return difference.kind, generalise(difference.path) if difference.path.startswith("$") else difference.path[:MAX_PATH]


def signatures(differences: Iterable[Difference]) -> dict[Signature, Difference]:
    """Each signature once, with the first difference that has it: an exchange counts once however many elements of a list differ."""
    first: dict[Signature, Difference] = {}
    for difference in differences:
        first.setdefault(signature(difference), difference)
    return first


def place(path: str) -> tuple[Path, bool]:
    """The generalised `path` as a place, and whether that is all of it: of one that was too long, or holds a name in which something was
    generalised, only the beginning is known."""
    segments: list[Segment] = []
    position = 1
    whole = path.startswith("$") and len(path) < MAX_PATH
    while position < len(path):
        found = _PART.match(path, position)
        if found is None or (found["quoted"] and "[*]" in found["quoted"]):
            return tuple(segments), False
        if found["star"]:
            segments.append(ANY_INDEX)
        elif found["quoted"]:
            segments.append(str(json.loads(found["quoted"])))
        else:
            segments.append(ANY_ID if found["id"] else found["name"])
        position = found.end()
    return tuple(segments if whole else segments[:-1]), whole
