"""What `banyan init` asks on a terminal. An empty answer is the default that stands in brackets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.cli.init import CANDIDATE, LEGACY
from gateway.cli.init.chosen import Found, Wanted

SHOWN: Final = 15
"""Endpoints. Whoever wants another writes its path."""
_TRIES: Final = 5
"""Answers that cannot be used before the default is taken."""


def possible() -> bool:
    """Somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def completed(wanted: Wanted, found: Sequence[Found]) -> Wanted:
    """`wanted` with what nobody had said. End of input: the defaults."""
    try:
        if not wanted.legacy:
            wanted = replace(wanted, legacy=_ask("Where is your monolith?", LEGACY, _address))
        if not wanted.routes and found:
            print(f"\nYour URLconf has {len(found)} endpoints to begin with:")
            for number, one in enumerate(found[:SHOWN], 1):
                login = "  (needs a login)" if one.login else ""
                print(f"  {number:2}  {_printable(one.template)}{login}")
            answer = _ask("Which one? A number, or a path", "1", lambda text: _endpoint(text, found))
            wanted = replace(wanted, routes=(_template(answer, found),))
        if not wanted.candidate and wanted.routes:
            wanted = replace(wanted, candidate=_ask("Where is, or will be, the new service?", CANDIDATE, _address))
    except EOFError:
        print()
    return wanted


def _ask(question: str, default: str, wrong: Callable[[str], str]) -> str:
    for _ in range(_TRIES):
        answer = input(f"{question} [{default}] ").strip() or default
        reason = wrong(answer)
        if not reason:
            return answer
        print(f"  {reason}")
    return default


def _address(text: str) -> str:
    from pydantic import ValidationError

    from gateway.settings import Upstream

    try:
        Upstream(url=text)
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return ""


def _endpoint(text: str, found: Sequence[Found]) -> str:
    if text.startswith("/") or (text.isascii() and text.isdigit() and 1 <= int(text) <= min(SHOWN, len(found))):
        return ""
    return f"a number from 1 to {min(SHOWN, len(found))}, or a path such as /api/v1/reviews/*"


def _template(answer: str, found: Sequence[Found]) -> str:
    return found[int(answer) - 1].template if answer.isdigit() else answer


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
