"""All looks side by side, each within its time. What cannot be looked at in time is a finding, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from gateway.doctor.findings import Finding
from gateway.masking import MASK

type Look = Callable[[], Sequence[Finding]]

_GRACE: Final = 0.5
"""Seconds beyond its own limits that a look has, to say itself what took so long."""
_SHORTEST: Final = 4
"""Characters. What is shorter is nobody's secret, and part of every other word."""


def all_of(looks: Mapping[str, Look], within: float, secrets: Sequence[str] = ()) -> list[Finding]:
    """What they find, in their order. Each has `within` seconds: they run beside each other, so that is also how long all of them take.

    A look that hangs (a name server, a file system that is away) cannot be ended; it is left behind in a thread that the process does not
    wait for.
    """
    found: dict[str, Sequence[Finding]] = {}

    def run(name: str, look: Look) -> None:
        try:
            found[name] = look()
        except Exception as error:  # one look that fails says so, and the others stand; its words may repeat what it was given
            found[name] = [Finding(name, "wrong", f"could not be looked at ({type(error).__name__})", "this is a mistake of Banyan's own")]

    threads = [threading.Thread(target=run, args=each, name=f"doctor {each[0]}", daemon=True) for each in looks.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within + _GRACE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = "something that it waits for does not answer; --within gives it longer"
    every: list[Finding] = []
    for name in looks:
        every += found.get(name) or [Finding(name, "wrong", f"nothing came of it within {within:g} s", late)]
    return [replace(each, said=hidden(each.said, secrets), todo=hidden(each.todo, secrets)) for each in every]


def hidden(text: str, secrets: Sequence[str]) -> str:
    """`text` without any of them: no look shows one, and this is so that none ever does by mistake."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def secrets_of(value: object) -> list[str]:
    """Every secret of a configuration, and the passwords of its addresses; the longest first, since one may be part of another."""
    return sorted({secret for secret in _secrets(value) if len(secret) >= _SHORTEST}, key=len, reverse=True)


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item)
    elif isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str) and "://" in value:
        try:
            password = urlsplit(value).password or ""
        except ValueError:
            return
        yield password
        yield unquote(password)
