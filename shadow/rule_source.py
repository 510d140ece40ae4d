"""The reviewed rules as a running worker has them: looked for about once a second, and told when they change.

A rule stops at its time by the worker's own clock, whether or not the database can be asked just then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shadow.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger("banyan.shadow")

SETTLE_SECONDS = 10.0
"""After which states are brought in line with the rules though none has changed (shadow.rulebook.settle)."""

type PerRoute = Mapping[str, list[Rule]]


class RuleSource:
    """Asked by one thread."""

    def __init__(self) -> None:
        self._revision: tuple[int, int] | None = None
        self._held: list[tuple[str, Rule, float | None]] = []
        self._failing = False
        self._next_settle = 0.0

    def poll(self, now: float) -> PerRoute | None:
        """The rules in force at `now` (Unix seconds), where they are others than at the last call; None where they are the same.

        Never raises: while the database can't be read, those hold that were known, each until it expires.
        """
        from shadow import rulebook, store

        changed = False
        try:
            revision = rulebook.revision()
            if revision != self._revision:
                rows = [(row, rulebook.rule_of(row)) for row in rulebook.active(None, now)]
                self._held = [(row.route, rule, row.expires) for row, rule in rows if rule is not None]
                self._revision, changed = revision, True
            self._failing = False
        except store.FAILURES as error:
            if not self._failing:
                _log.error("the rules can't be read (%s: %s); those of before hold", type(error).__name__, str(error).strip())
            self._failing = True
            store.renew_connection()
        left = [each for each in self._held if each[2] is None or each[2] > now]
        expired = len(left) < len(self._held)
        self._held = left
        if changed or expired or now >= self._next_settle:
            self._next_settle = now + SETTLE_SECONDS
            self._settle(now)
        if not changed and not expired:
            return None
        found: dict[str, list[Rule]] = {}
        for route, rule, _ in left:
            found.setdefault(route, []).append(rule)
        return found

    def _settle(self, now: float) -> None:
        from shadow import rulebook, states, store

        try:
            rulebook.settle(now)
        except (*store.FAILURES, states.StateError) as error:  # one that was purged meanwhile, for example
            _log.error("the states of signatures can't be brought in line with the rules (%s)", type(error).__name__)
            self._revision = None  # again at the next call
