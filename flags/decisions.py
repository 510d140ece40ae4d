"""Answers `is this flag on for this request?` in about a microsecond, exactly as Unleash's engine would.

The engine takes 10 to 80 µs a question, as much as relaying the whole request. But an answer can only change when something changes that
the flag reads: its definition, or certain fields of the context. So each flag gets a plan: a constant when it reads nothing, a memo keyed
by exactly the fields that it reads, or, where chance or the time of day has a say, the engine every time.

`build` and `discard` may run in any thread and let the event loop run meanwhile: `python -m bench.flagload` measures by how much it is held
up. Everything else belongs to the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

from flags.features import EMPTY, FeaturesError
from flags.loading import SLICE, in_slices, read
from flags.plans import ATTRIBUTES, Choice, Plan, lacks, plan_for, weights_of
from flags.snapshot import Context, Snapshot
from flags.variants import NONE, OFF, Variant
from flags.verdict import Verdict

_log = logging.getLogger("banyan.flags")

MEMO_LIMIT: Final = 10_000
"""Entries for one flag; then its memo starts afresh. Ten thousand active users are some 2 MB a flag."""
UNKNOWN_LIMIT: Final = 1_000
"""Names asked for that no document knows. They come from the configuration, so a thousand is already a mistake somewhere."""

_RESERVED: Final = frozenset({*ATTRIBUTES, "appName", "environment", "currentTime"})


class Decisions:
    """`flags.snapshot.Flags` over one snapshot at a time. Unknown flags are off, and `enabled` never raises."""

    def __init__(self, *, app_name: str = "banyan", environment: str = "default") -> None:
        self.revision = ""
        self.memo_limit = MEMO_LIMIT
        self.unknown_limit = UNKNOWN_LIMIT
        self.on_impression: Callable[[str, Context, bool], None] | None = None
        """Called at each decision of a flag whose impressionData is true, remembered or not, with the flag, the context and the answer."""
        self._fixed = {"appName": app_name, "environment": environment}
        self._engine: UnleashEngine | None = None
        self._plans: dict[str, Plan] = {}
        self._carried: dict[str, tuple[int, int]] = {}
        self._carried_variants: dict[str, dict[str, int]] = {}
        self._weights: dict[str, dict[str, int]] = {}
        self._overrides: dict[str, bool] = {}
        self._unknowns = 0

    @classmethod
    def build(cls, snapshot: Snapshot, *, app_name: str = "banyan", environment: str = "default") -> Self:
        """Decisions over `snapshot`, with no counts. Safe in any thread.

        Raises:
            FeaturesError: the snapshot's features are malformed. Sources check them, so this is a fault of ours.
        """
        self = cls(app_name=app_name, environment=environment)
        data = snapshot.features or EMPTY
        features, segments = read(data)
        verdict = Verdict(data)
        known = len(verdict.flags())
        if known != len(features):
            raise FeaturesError(f"the engine took {known} of {len(features)} flags")
        self._plans = {name: plan_for(name, features, segments) for name in in_slices(features)}
        self._weights = {name: found for name, feature in features.items() if (found := weights_of(feature))}
        self._engine = verdict.engine
        self.revision = snapshot.revision
        return self

    def load(self, snapshot: Snapshot) -> None:
        """`install(build(snapshot))`, here and now: 40 ms for 1,000 flags."""
        self.install(self.build(snapshot, app_name=self._fixed["appName"], environment=self._fixed["environment"]))

    def install(self, built: Decisions) -> None:
        """Decides by what `built` knows from now on. The usage counts and the overrides stay.

        `built` holds what was in force until now, which takes 10 ms to free for 1,000 flags, and more the more was remembered: `discard` it
        in a thread.
        """
        for name, (yes, no) in self._counts().items():
            before = self._carried.get(name, (0, 0))
            self._carried[name] = (before[0] + yes, before[1] + no)
        self._carried_variants = self.take_variants()
        self._plans, built._plans = built._plans, self._plans
        self._engine, built._engine = built._engine, self._engine
        self._weights = built._weights
        self._unknowns = 0
        self.revision = built.revision
        self._force()

    def discard(self) -> None:
        """Frees what it holds, bit by bit. It knows no flags from then on. Safe in any thread, where nobody else uses it."""
        self._engine = None
        plans = self._plans
        while plans:
            for _ in in_slices(range(min(SLICE, len(plans)))):
                plans.popitem()

    def override(self, answers: Mapping[str, bool]) -> None:
        """Puts `answers` in the place of the overrides in force: each of these flags, known or not, answers that to everybody."""
        for name in self._overrides:
            plan = self._plans[name].decider
            plan.answer = plan.own
        self._overrides = dict(answers)
        self._force()

    def overridden(self, flag: str) -> bool:
        """Whether an override answers for `flag`."""
        return flag in self._overrides

    def both(self, serve: str, shadow: str, context: Context) -> int:
        """As flags.snapshot.Flags has it."""
        answers = 4 if serve in self._overrides else 0
        if self.enabled(serve, context):
            answers += 1
        if self.enabled(shadow, context):
            answers += 2
        return answers

    def by_session(self, flag: str) -> bool:
        """Whether it matters to `flag` which session, or visitor, is asking."""
        plan = self._plans.get(flag)
        return plan is not None and plan.decider.answer is None and plan.decider.session

    def enabled(self, flag: str, context: Context) -> bool:
        """Whether `flag` is on for `context`."""
        plan = self._plans.get(flag)
        if plan is None:
            plan = self._unknown(flag)
        answer = plan.answer
        if answer is None:
            try:
                answer = self._decide(plan, context)
            except Exception:
                # The contract of Flags: whatever is wrong with a flag or a context, legacy answers, and the operator hears of it.
                _log.exception("flag %r could not be decided; it counts as off", flag)
                answer = False
        if answer:
            plan.yes += 1
        else:
            plan.no += 1
        return answer

    def variant(self, flag: str, context: Context) -> Variant:
        """Which of its variants `flag` is for `context`. A flag that is off, by an override too, has none; and so has one that only an
        override turned on.
        """
        plan = self._plans.get(flag)
        if plan is None:
            plan = self._unknown(flag)
        try:
            found = self._choose(plan, context)
        except Exception:
            _log.exception("the variant of flag %r could not be chosen; it counts as off", flag)
            found = OFF
        if found.feature_enabled:
            plan.yes += 1
        else:
            plan.no += 1
        _count(plan, found.name)
        if plan.watched is not None:
            self._impress(flag, context, enabled=found.feature_enabled)
        return found

    def weights(self, flag: str) -> dict[str, int] | None:
        """How much each variant of `flag` weighs, beside the others; people whom an override of a variant names do not matter here.

        None where the flag is off (for everybody where it lives, or by an override), unknown, or without variants, or where its strategies
        have different ones.
        """
        return None if self._overrides.get(flag) is False else self._weights.get(flag)

    def chose(self, flag: str, variant: str) -> None:
        """Counts a variant that was given by its weight, to somebody of whom `enabled` was asked; "": none was."""
        plan = self._plans.get(flag)
        if plan is not None:
            _count(plan, variant or OFF.name)

    def take_usage(self) -> dict[str, tuple[int, int]]:
        """How often each flag said (yes, no) since the last call, remembered answers included."""
        usage, self._carried = self._carried, {}
        for name, (yes, no) in self._counts().items():
            before = usage.get(name, (0, 0))
            usage[name] = (before[0] + yes, before[1] + no)
        for plan in self._plans.values():
            plan.yes = plan.no = 0
        return usage

    def take_variants(self) -> dict[str, dict[str, int]]:
        """How often each variant of each flag was the answer since the last call, "disabled" included. To be taken beside `take_usage`."""
        taken, self._carried_variants = self._carried_variants, {}
        for plan in self._plans.values():
            counts = plan.variants
            if counts is not None:
                plan.variants = None
                total = taken.setdefault(plan.name, {})
                for name, count in counts.items():
                    total[name] = total.get(name, 0) + count
        return taken

    def evaluate(self, flag: str, context: Context) -> bool:
        """What the engine says, neither remembered nor counted."""
        if self._engine is None:
            return False
        return bool(self._engine.check_enabled(flag, engine_context(context, self._fixed)).is_enabled)

    def evaluate_variant(self, flag: str, context: Context) -> Variant:
        """Which variant the engine says, neither remembered nor counted."""
        if self._engine is None:
            return OFF
        found = self._engine.check_variant(flag, engine_context(context, self._fixed)).variant
        payload = found.payload
        return Variant(
            str(found.name),
            enabled=bool(found.enabled),
            feature_enabled=bool(found.feature_enabled),
            payload=(str(payload["type"]), str(payload["value"])) if payload else None,
        )

    def _decide(self, plan: Plan, context: Context) -> bool:
        key = plan.key
        if plan.constant:
            constant = plan.answer = plan.own = self.evaluate(plan.name, context)
            return constant
        if key is None:
            return self._undecided(plan, context)
        if plan.identity and context.user_id is None and context.session_id is None:
            return self.evaluate(plan.name, context)
        remembered = key(context)
        memo = plan.memo
        answer = memo.get(remembered)
        if answer is None:
            answer = self.evaluate(plan.name, context)
            if not (context.fleeting and plan.session):
                if len(memo) >= self.memo_limit:
                    memo.clear()
                memo[remembered] = answer
        return answer

    def _undecided(self, plan: Plan, context: Context) -> bool:
        watched = plan.watched
        if watched is None:
            return self.evaluate(plan.name, context)
        answer = watched.answer
        if answer is None:
            try:
                answer = self._decide(watched, context)
            except Exception:
                self._impress(plan.name, context, enabled=False)  # which is what our caller will say
                raise
        self._impress(plan.name, context, enabled=answer)
        return answer

    def _impress(self, flag: str, context: Context, *, enabled: bool) -> None:
        if self.on_impression is None:
            return
        try:
            self.on_impression(flag, context, enabled)
        except Exception:
            _log.exception("the impression of flag %r could not be told; its answer stands", flag)

    def _choose(self, plan: Plan, context: Context) -> Variant:
        decider = plan.decider
        choice = decider.choice
        if choice is None or decider.answer is False:
            answer = decider.answer
            if answer is None:
                answer = self._decide(decider, context)
            return NONE if answer else OFF
        found = self._chosen(decider.name, choice, context)
        if not found.feature_enabled and decider.answer:  # by an override, or the engine would say so
            return NONE
        return found

    def _chosen(self, flag: str, choice: Choice, context: Context) -> Variant:
        key = choice.key
        if (
            key is None
            or (choice.identity and context.user_id is None and context.session_id is None)
            or (choice.without and lacks(context, choice.without))
        ):
            return self.evaluate_variant(flag, context)
        remembered = key(context)
        memo = choice.memo
        found = memo.get(remembered)
        if found is None:
            found = self.evaluate_variant(flag, context)
            found = choice.found.setdefault(found, found)
            if not (context.fleeting and choice.session):
                if len(memo) >= self.memo_limit:
                    memo.clear()
                memo[remembered] = found
        return found

    def _unknown(self, flag: str) -> Plan:
        plan = Plan(flag, answer=False)
        if self._unknowns < self.unknown_limit:
            self._unknowns += 1
            self._plans[flag] = plan
        return plan

    def _force(self) -> None:
        for name, answer in self._overrides.items():
            plan = self._plans.get(name)
            if plan is None:
                plan = self._plans[name] = Plan(name, answer=False)  # as many as there are overrides: no matter of `unknown_limit`
            plan.decider.answer = answer

    def _counts(self) -> dict[str, tuple[int, int]]:
        return {plan.name: (plan.yes, plan.no) for plan in self._plans.values() if plan.yes or plan.no}


def _count(plan: Plan, variant: str) -> None:
    counts = plan.variants
    if counts is None:
        counts = plan.variants = {}
    counts[variant] = counts.get(variant, 0) + 1


def engine_context(context: Context, fixed: Mapping[str, str]) -> dict[str, Any]:
    """`context` as the engine takes it, in the gateway that `fixed` names: its appName and environment."""
    given: dict[str, Any] = dict(fixed)
    if context.user_id is not None:
        given["userId"] = context.user_id
    if context.session_id is not None:
        given["sessionId"] = context.session_id
    if context.remote_address is not None:
        given["remoteAddress"] = context.remote_address
    if context.current_time is not None:
        given["currentTime"] = context.current_time
    # The engine would take a property named userId for a missing user: what a header says must never pass for an identity.
    given["properties"] = {name: value for name, value in context.properties.items() if name not in _RESERVED}
    return given
