"""Answers `is this flag on for this request?` in about a microsecond, exactly as Unleash's engine would.

The engine takes 10 to 80 µs a question, as much as relaying the whole request. But an answer can only change when something changes that
the flag reads: its definition, or certain fields of the context. So each flag gets a plan: a constant when it reads nothing, a memo keyed
by exactly the fields that it reads, or, where chance or the time of day has a say, the engine every time.

`build` may run in any thread (the engine releases the GIL while it compiles; for 1,000 flags the event loop is held up for some 5 ms of
the 40); everything else belongs to the event loop's thread.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Self

from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

from flags.features import EMPTY, FeaturesError, parse
from flags.reads import reads
from flags.snapshot import Context, Snapshot

_log = logging.getLogger("banyan.flags")

MEMO_LIMIT: Final = 10_000
"""Entries for one flag; then its memo starts afresh. Ten thousand active users are some 2 MB a flag."""
UNKNOWN_LIMIT: Final = 1_000
"""Names asked for that no document knows. They come from the configuration, so a thousand is already a mistake somewhere."""

_ATTRIBUTES: Final = {"userId": "user_id", "sessionId": "session_id", "remoteAddress": "remote_address"}
_RESERVED: Final = frozenset({*_ATTRIBUTES, "appName", "environment", "currentTime"})

Key = Callable[[Context], Hashable]


class _Plan:
    """How one flag is decided, and how often it said yes and no since usage was last taken."""

    __slots__ = ("answer", "constant", "identity", "key", "memo", "name", "no", "own", "session", "yes")

    def __init__(
        self, name: str, *, answer: bool | None = None, constant: bool = False, key: Key | None = None, identity: bool = False
    ) -> None:
        self.name = name
        self.answer = answer
        """Set: the answer to everybody, by an override or by the flag itself."""
        self.own = answer
        """What `answer` is without an override."""
        self.constant = constant
        """Reads nothing: the engine's first answer becomes `answer`."""
        self.key = key
        """None: nothing may be remembered, ask the engine every time."""
        self.identity = identity
        """Without a user and a session this is a dice roll, and dice are not remembered."""
        self.session = False
        """It reads who is asking by the session."""
        self.memo: dict[Hashable, bool] = {}
        self.yes = 0
        self.no = 0


class Decisions:
    """`flags.snapshot.Flags` over one snapshot at a time. Unknown flags are off, and `enabled` never raises."""

    def __init__(self, *, app_name: str = "banyan", environment: str = "default") -> None:
        self.revision = ""
        self.memo_limit = MEMO_LIMIT
        self.unknown_limit = UNKNOWN_LIMIT
        self._fixed = {"appName": app_name, "environment": environment}
        self._engine: UnleashEngine | None = None
        self._plans: dict[str, _Plan] = {}
        self._carried: dict[str, tuple[int, int]] = {}
        self._overrides: dict[str, bool] = {}
        self._unknowns = 0

    @classmethod
    def build(cls, snapshot: Snapshot, *, app_name: str = "banyan", environment: str = "default") -> Self:
        """Decisions over `snapshot`, with no counts. Safe in any thread.

        Raises:
            FeaturesError: the snapshot's features are malformed. Sources check them, so this is a fault of ours.
        """
        self = cls(app_name=app_name, environment=environment)
        document = parse(snapshot.features or EMPTY)
        engine = UnleashEngine()
        engine.take_state((snapshot.features or EMPTY).decode())
        known = len(engine.list_known_toggles())
        if known != len(document["features"]):
            raise FeaturesError(f"the engine took {known} of {len(document['features'])} flags")
        features = {feature["name"]: feature for feature in document["features"]}
        segments = {segment["id"]: segment for segment in document.get("segments") or ()}
        self._plans = {name: _plan(name, features, segments) for name in features}
        self._engine = engine
        self.revision = snapshot.revision
        return self

    def load(self, snapshot: Snapshot) -> None:
        """`install(build(snapshot))`, here and now: 40 ms for 1,000 flags."""
        self.install(self.build(snapshot, app_name=self._fixed["appName"], environment=self._fixed["environment"]))

    def install(self, built: Decisions) -> None:
        """Decides by what `built` knows from now on. The usage counts and the overrides stay; `built` must not be used further."""
        for name, (yes, no) in self._counts().items():
            before = self._carried.get(name, (0, 0))
            self._carried[name] = (before[0] + yes, before[1] + no)
        self._plans, self._engine = built._plans, built._engine
        self._unknowns = 0
        self.revision = built.revision
        self._force()

    def override(self, answers: Mapping[str, bool]) -> None:
        """Puts `answers` in the place of the overrides in force: each of these flags, known or not, answers that to everybody."""
        for name in self._overrides:
            plan = self._plans[name]
            plan.answer = plan.own
        self._overrides = dict(answers)
        self._force()

    def overridden(self, flag: str) -> bool:
        """Whether an override answers for `flag`."""
        return flag in self._overrides

    def by_session(self, flag: str) -> bool:
        """Whether it matters to `flag` which session, or visitor, is asking."""
        plan = self._plans.get(flag)
        return plan is not None and plan.answer is None and plan.session

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

    def take_usage(self) -> dict[str, tuple[int, int]]:
        """How often each flag said (yes, no) since the last call, remembered answers included."""
        usage, self._carried = self._carried, {}
        for name, (yes, no) in self._counts().items():
            before = usage.get(name, (0, 0))
            usage[name] = (before[0] + yes, before[1] + no)
        for plan in self._plans.values():
            plan.yes = plan.no = 0
        return usage

    def evaluate(self, flag: str, context: Context) -> bool:
        """What the engine says, neither remembered nor counted."""
        if self._engine is None:
            return False
        return bool(self._engine.check_enabled(flag, self._engine_context(context)).is_enabled)

    def _decide(self, plan: _Plan, context: Context) -> bool:
        key = plan.key
        if plan.constant:
            constant = plan.answer = plan.own = self.evaluate(plan.name, context)
            return constant
        if key is None or (plan.identity and context.user_id is None and context.session_id is None):
            return self.evaluate(plan.name, context)
        remembered = key(context)
        memo = plan.memo
        answer = memo.get(remembered)
        if answer is None:
            if len(memo) >= self.memo_limit:
                memo.clear()
            answer = memo[remembered] = self.evaluate(plan.name, context)
        return answer

    def _unknown(self, flag: str) -> _Plan:
        plan = _Plan(flag, answer=False)
        if self._unknowns < self.unknown_limit:
            self._unknowns += 1
            self._plans[flag] = plan
        return plan

    def _force(self) -> None:
        for name, answer in self._overrides.items():
            plan = self._plans.get(name)
            if plan is None:
                plan = self._plans[name] = _Plan(name, answer=False)  # as many as there are overrides: no matter of `unknown_limit`
            plan.answer = answer

    def _counts(self) -> dict[str, tuple[int, int]]:
        return {plan.name: (plan.yes, plan.no) for plan in self._plans.values() if plan.yes or plan.no}

    def _engine_context(self, context: Context) -> dict[str, Any]:
        given: dict[str, Any] = dict(self._fixed)
        if context.user_id is not None:
            given["userId"] = context.user_id
        if context.session_id is not None:
            given["sessionId"] = context.session_id
        if context.remote_address is not None:
            given["remoteAddress"] = context.remote_address
        # The engine would take a property named userId for a missing user: what a header says must never pass for an identity.
        given["properties"] = {name: value for name, value in context.properties.items() if name not in _RESERVED}
        return given


def _plan(name: str, features: Mapping[str, Mapping[str, Any]], segments: Mapping[Any, Mapping[str, Any]]) -> _Plan:
    if not features[name]["enabled"]:
        return _Plan(name, answer=False)
    try:
        found = reads(name, features, segments)
    except (AttributeError, KeyError, TypeError):
        return _Plan(name)  # a shape that the engine takes and we do not know: never remembered, so never wrong
    if not found.chance and not found.fields:
        return _Plan(name, constant=True)
    plan = _Plan(name) if found.chance else _Plan(name, key=_key(sorted(found.fields)), identity=found.chance_without_identity)
    plan.session = "sessionId" in found.fields
    return plan


def _key(fields: list[str]) -> Key:
    """A function from a context to the values of `fields`; in C where no property is among them."""
    attributes = [_ATTRIBUTES[name] for name in fields if name in _ATTRIBUTES]
    properties = [name for name in fields if name not in _ATTRIBUTES]
    if not properties:
        return operator.attrgetter(*attributes)
    if not attributes and len(properties) == 1:
        (only,) = properties
        return lambda context: context.properties.get(only)
    if not attributes:
        return lambda context: tuple([context.properties.get(name) for name in properties])
    read: Key = operator.attrgetter(*attributes)  # annotated: a value for one attribute, a tuple for several, which typeshed leaves out
    return lambda context: (read(context), *[context.properties.get(name) for name in properties])
