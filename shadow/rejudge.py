"""A stored sample, judged again: what counts can't tell of a rule that depends on values, the samples can, each for itself.

A sample holds what redaction left. Values that became hashes still compare as equal or not, and are no numbers or times any more; so what
is said here never claims too much. A body that was cut, or withheld, can't be judged again. And it is done while somebody waits for it: a
sample takes a second at worst, as bodies are cut at 256 KiB, and all of them together have a budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shadow.compare import LongWorkError, Rules, Verdict, compare
from shadow.normalise import Body, Form, Message, read_body
from shadow.signature import Signature, signatures

SECONDS = 5.0
"""For all samples together, on the clock. The one that is being judged then is still judged."""
_UNPACKED = frozenset(("content-encoding", "transfer-encoding"))


@dataclass(frozen=True, slots=True)
class Stored:
    """What is needed of a sample."""

    id: int
    method: str
    target: str
    legacy: dict[str, Any]
    candidate: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What samples came to under some rules."""

    judged: int = 0
    unread: int = 0
    """Samples that can't be judged again: a body was cut or withheld, or there was no time for them."""
    matching: tuple[int, ...] = ()
    """The samples, by id, that are matches under the rules."""
    left: tuple[tuple[int, frozenset[Signature]], ...] = ()
    """(sample, what it still shows) of each that was judged."""


def rejudge(samples: Iterable[Stored], *rules: Rules, seconds: float = SECONDS, hurried: bool = False) -> tuple[Rejudged, ...]:
    """Each sample's verdict under each of `rules`. A sample for which there is no time is judged under none of them, so that what they come
    to can be held against each other. `hurried`: one whose comparison takes long is not judged at all."""
    judged: list[list[tuple[int, frozenset[Signature]]]] = [[] for _ in rules]
    matching: list[list[int]] = [[] for _ in rules]
    unread = 0
    until = time.monotonic() + seconds
    for sample in samples:
        verdicts = again(sample, rules, hurried=hurried) if time.monotonic() < until else None
        if verdicts is None:
            unread += 1
            continue
        for at, verdict in enumerate(verdicts):
            judged[at].append((sample.id, frozenset(signatures(verdict.differences))))
            if verdict.outcome == "match":
                matching[at].append(sample.id)
    return tuple(Rejudged(len(left), unread, tuple(same), tuple(left)) for left, same in zip(judged, matching, strict=True))


def again(sample: Stored, rules: Sequence[Rules], *, hurried: bool = False) -> list[Verdict] | None:
    """The verdicts on a sample under each of `rules`; None where its bodies are not there, or it is `hurried` and comparing takes long."""
    try:
        legacy, candidate = (_message(side) for side in (sample.legacy, sample.candidate))
        if legacy is None or candidate is None:
            return None
        verdicts = [compare(legacy, candidate, each, hurried=hurried) for each in rules]
    except (LongWorkError, RecursionError):  # as in a process with a budget: no verdict on its fields
        return None
    return None if any(verdict.outcome == "skipped" for verdict in verdicts) else verdicts


def _message(side: dict[str, Any]) -> Message | None:
    headers: Sequence[tuple[str, str]] = [(str(name), str(value)) for name, value in side["headers"]]
    body = _body(side, tuple(headers))
    if body is None:
        return None
    return Message(side["status"], tuple(headers), body, side["elapsed"], side["error"], side["skipped"], side["upstream"])


def _body(side: dict[str, Any], headers: tuple[tuple[str, str], ...]) -> Body | None:
    text = side["text"]
    if side["form"] == Form.EMPTY or not side["size"]:
        return Body(Form.EMPTY, b"")
    if text is None:
        # Of bytes without an inner form the digest is all that is ever compared.
        return Body(Form.OPAQUE, b"", note=side["note"], size=side["size"], digest=side["digest"]) if side["form"] == Form.OPAQUE else None
    if side["cut"]:
        return None
    # It is text now, without its packing, and in UTF-8 whatever its charset was.
    plain = [(name, value) for name, value in headers if name not in _UNPACKED and name != "content-type"]
    media = next((value for name, value in headers if name == "content-type"), "")
    body = read_body((*plain, ("content-type", _in_utf8(media))), text.encode("utf-8", "surrogatepass"))
    return body if body.form == side["form"] else None


def _in_utf8(content_type: str) -> str:
    parts = [part for part in content_type.split(";") if not part.strip().lower().startswith("charset")]
    return ";".join([*parts, " charset=utf-8"])
