"""`banyan top` of a running gateway: asked through its admin port, once, or again and again on a screen of its own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.admin import AdminPort, AdminPortError
from gateway.cli.shared import RefusalError
from gateway.cli.top.advised import advised
from gateway.endpoints import traits

if TYPE_CHECKING:
    from types import FrameType

    from gateway.config import Config
    from gateway.endpoints.declared import Declared

ASKED: Final = 500
"""Endpoints that are asked for: advice is given of all of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    admin: str
    minutes: int
    sort: str
    known: Declared | None
    config: Config | None


def address(config: Path) -> str:
    """Of the admin port that is configured."""
    from gateway.cli.flags.steering import admin_address

    return admin_address(config)


def watched() -> bool:
    """Whether somebody sees a screen."""
    return sys.stdout.isatty()


def listing(question: Question) -> dict[str, Any]:
    """What the gateway says now, with advice.

    Raises:
        RefusalError: it does not answer.
    """
    try:
        return _asked(question)
    except AdminPortError as error:
        raise RefusalError(f"{error}. Start it with `banyan run`, or name an access log: banyan top access.log") from None


def _asked(question: Question) -> dict[str, Any]:
    from gateway.cli.shapes import Top
    from gateway.endpoints.declared import sample

    order = "time" if question.sort == "next" else question.sort
    path = f"/top?minutes={question.minutes}&limit={ASKED}&sort={order}"
    found: dict[str, Any] = AdminPort(question.admin).get(path, kind=Top)
    known = question.known
    for one in found["endpoints"]:
        one.setdefault("p99", None)  # a gateway of the version before does not say
        template = None if known is None else known.template(sample(one["template"]))
        one["declared"] = template is not None
        declared = None if known is None or template is None else known.login(one["method"], template)
        one["login"], one["login_why"] = traits.login(one, declared)
    return advised(found | {"source": "gateway", "admin": question.admin}, question.config, question.sort)


def watch(question: Question, every: float, rows: int) -> int:
    """Shows it until Ctrl-C, which is how it ends well. Meanwhile the gateway may go and come back.

    Raises:
        RefusalError: at first it does not answer.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    found = listing(question)
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    trouble = ""
    try:
        console = Console()
        with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as screen:
            while True:
                text = Text("\n".join(_page(found, rows, console.size.height, trouble, every)), no_wrap=True, overflow="ellipsis")
                screen.update(text, refresh=True)
                if ending.wait(every):
                    return 0
                try:
                    found, trouble = _asked(question), ""
                except AdminPortError as error:
                    trouble = str(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _page(found: dict[str, Any], rows: int, height: int, trouble: str, every: float) -> list[str]:
    """As many lines as the screen has."""
    from gateway.cli.flags.shown import plain
    from gateway.cli.top.shown import lines

    state = f"{plain(trouble)}; asked again in {every:g} s. What is shown is of before" if trouble else time.strftime("%H:%M:%S")
    head = f"{state}   (Ctrl-C ends)"
    # Advice takes a few lines, and is not to push the table away.
    fitting = max(3, min(rows, height - 14))
    return [head, *lines(found, fitting)][: max(1, height - 1)]
