"""The page: what is wrong first, and what to do below it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from flags.admin.states import plain
from gateway.doctor.findings import Finding, Level

_ORDER: Final[tuple[Level, ...]] = ("wrong", "warning", "note", "fine")
_COLOUR: Final[dict[Level, str]] = {"wrong": "31", "warning": "33", "note": "36", "fine": "32"}


def show(found: Sequence[Finding], as_json: bool) -> None:
    """On standard output."""
    counts = {level: sum(each.level == level for each in found) for level in _ORDER}
    if as_json:
        print(json.dumps({"ok": not counts["wrong"], "counts": counts, "findings": [asdict(each) for each in found]}, indent=2))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max(len(each.about) for each in found)
    for each in sorted(found, key=lambda each: _ORDER.index(each.level)):
        word = f"{each.level:7}"
        if coloured:
            word = f"\033[{_COLOUR[each.level]}m{word}\033[0m"
        print(f"{word}  {plain(each.about):{width}}  {plain(each.said)}")
        if each.todo and each.level != "fine":
            print(f"{'':7}  {'':{width}}  → {plain(each.todo)}")
    print("\n" + ", ".join(f"{counts[level]} {level}" for level in _ORDER if counts[level]))
