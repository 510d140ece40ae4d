"""Flags as Unleash writes them, some of each kind there is, and people to ask about."""

from __future__ import annotations

from typing import Any, Final

import orjson
from hypothesis import strategies as st

from flags.features import revision
from flags.snapshot import Context, Flags, Snapshot

Json = dict[str, Any]


def snapshot(*features: Json, segments: list[Json] | None = None) -> Snapshot:
    data = orjson.dumps({"version": 2, "features": list(features), "segments": segments or []})
    return Snapshot(revision=revision(data), features=data, source="file", fetched_at=0.0)


def flag(*strategies: Json, name: str = "f", enabled: bool = True, **more: Any) -> Json:
    return {"name": name, "enabled": enabled, "strategies": list(strategies), **more}


def rollout(percent: int, stickiness: str = "default", **more: Any) -> Json:
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": str(percent), "stickiness": stickiness, "groupId": "f"},
        **more,
    }


def only_if(name: str, *values: str, operator: str = "IN") -> Json:
    return {"contextName": name, "operator": operator, "values": list(values), "inverted": False}


class Stumbling(Flags):
    """Flags whose first questions raise, as many as `times` (None: all): a defect of ours, or what nobody has thought of."""

    revision = ""

    def __init__(self, times: int | None = None) -> None:
        self._left = times

    def enabled(self, flag: str, context: Context) -> bool:
        if self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        raise ZeroDivisionError

    def overridden(self, flag: str) -> bool:
        return False

    def by_session(self, flag: str) -> bool:
        return False

    def weights(self, flag: str) -> dict[str, int] | None:
        return None

    def chose(self, flag: str, variant: str) -> None:
        pass


# Values are few, so that constraints often hold, and every context meets every flag, so that two contexts often differ in one field alone.
_NAMES = st.sampled_from(["userId", "sessionId", "remoteAddress", "country", "plan", "appName", "environment"])
_DATES = ["2020-01-01T00:00:00Z", "2021-06-01T12:00:00.000Z", "not a date"]
_MANY = {
    "IN": ["a", "b", "1", "10.0.0.1", "banyan", "default"],
    "NOT_IN": ["a", "b", "1", "10.0.0.1", "banyan", "default"],
    "STR_CONTAINS": ["a", "A", "0.", "AN"],
    "STR_STARTS_WITH": ["a", "A", "1", "ba"],
    "STR_ENDS_WITH": ["a", "A", "1", "AN"],
    "IN_CIDR": ["10.0.0.0/8", "10.0.0.1", "not an address", "2001:db8::/32"],
}
_ONE = {
    "NUM_EQ": ["1", "1.0", "x"],
    "NUM_GT": ["0", "1"],
    "NUM_GTE": ["1", "2"],
    "NUM_LT": ["2", "1"],
    "NUM_LTE": ["1", "0.5"],
    "SEMVER_EQ": ["1.0.0", "1.0.1"],
    "SEMVER_GT": ["1.0.0", "1.0.0-beta"],
    "SEMVER_GTE": ["1.0.1"],
    "SEMVER_LT": ["1.0.1", "2.0.0"],
    "SEMVER_LTE": ["1.0.0"],
    "REGEX": ["^[a-z]$", "^A", r"\d", "(never", "0$"],
    "NO_SUCH_OPERATOR": ["1"],
}
_CLOCK = {"DATE_AFTER": _DATES, "DATE_BEFORE": _DATES}
OPERATORS: Final = frozenset(_MANY) | frozenset(_ONE) | frozenset(_CLOCK)
_FLAGGED = {"inverted": st.booleans(), "caseInsensitive": st.booleans()}

constraints: st.SearchStrategy[Json] = st.one_of(
    *(
        st.fixed_dictionaries(
            {"contextName": _NAMES, "operator": st.just(operator), "values": st.lists(st.sampled_from(values), min_size=1, max_size=3)}
            | _FLAGGED
        )
        for operator, values in _MANY.items()
    ),
    *(
        st.fixed_dictionaries({"contextName": _NAMES, "operator": st.just(operator), "value": st.sampled_from(values)} | _FLAGGED)
        for operator, values in _ONE.items()
    ),
    *(
        st.fixed_dictionaries(
            {
                "contextName": st.sampled_from(["currentTime", "currentTime", "born"]),
                "operator": st.just(operator),
                "value": st.sampled_from(values),
            }
            | _FLAGGED
        )
        for operator, values in _CLOCK.items()
    ),
)

_STICKINESS = st.sampled_from(
    ["default", "default", "userId", "sessionId", "remoteAddress", "country", "plan", "appName", "currentTime", "random"]
)
_overrides = st.lists(
    st.fixed_dictionaries({"contextName": _NAMES, "values": st.lists(st.sampled_from(["a", "1", "b", "banyan"]), max_size=2)}), max_size=1
)


@st.composite
def variants(draw: st.DrawFn, *, overrides: bool = True, most: int = 3) -> list[Json]:
    """Of one stickiness, as Unleash's UI makes them; sometimes with a payload, or weighing nothing."""
    stickiness = draw(st.one_of(st.none(), _STICKINESS))
    made = []
    for name in ["v", "w", "x"][: draw(st.integers(0, most))]:
        variant: Json = {"name": name, "weight": draw(st.sampled_from([500, 1000, 1, 0 if made else 1]))}
        if stickiness is not None:
            variant["stickiness"] = stickiness
        if draw(st.booleans()):
            variant["payload"] = {"type": "string", "value": name * 2}
        if overrides and (given := draw(_overrides)):
            variant["overrides"] = given
        made.append(variant)
    return made


strategies: st.SearchStrategy[Json] = st.builds(
    lambda strategy, constraints, segments, variants: {
        **strategy,
        "constraints": constraints,
        "segments": segments,
        **({"variants": variants} if variants else {}),
    },
    st.one_of(
        st.builds(rollout, st.sampled_from([1, 30, 50, 70, 99]), st.sampled_from(["default", "userId", "sessionId", "country", "plan"])),
        st.sampled_from(
            [
                rollout(0),
                rollout(100),
                rollout(100, "random"),
                rollout(50, "random"),
                rollout(100, "plan"),
                {"name": "default"},
                {"name": "default"},
                {"name": "made-up", "parameters": {"x": "1"}},
                {"name": "userWithId", "parameters": {"userIds": "a, 1"}},
                {"name": "remoteAddress", "parameters": {"IPs": "10.0.0.0/8"}},
                {"name": "applicationHostname", "parameters": {"hostNames": "elsewhere"}},
                {"name": "gradualRolloutUserId", "parameters": {"percentage": "50", "groupId": "g"}},
                {"name": "gradualRolloutSessionId", "parameters": {"percentage": "50", "groupId": "g"}},
            ]
        ),
    ),
    st.one_of(st.just([]), st.lists(constraints, max_size=2)),
    st.sampled_from([[], [], [], [1], [1, 2], [404]]),
    st.one_of(st.just([]), variants(overrides=False)),
)

_PARENTS = [
    [],
    [],
    [{"feature": "parent"}],
    [{"feature": "parent", "enabled": False}],
    [{"feature": "parent", "variants": ["v"]}],
    [{"feature": "parent", "variants": ["v", "x"]}],
    [{"feature": "parent"}, {"feature": "nowhere"}],
    [{"feature": "nowhere", "enabled": False}],
    [{"feature": "f"}],
]

documents: st.SearchStrategy[Snapshot] = st.builds(
    lambda mine, own, dependencies, parents, chosen, on, first, second: snapshot(
        flag(*mine, dependencies=dependencies, variants=own),
        flag(*parents, name="parent", enabled=on, variants=chosen),
        segments=[{"id": 1, "constraints": first}, {"id": 2, "constraints": second}],
    ),
    st.lists(strategies, max_size=3),
    variants(),
    st.sampled_from(_PARENTS),
    st.lists(strategies, max_size=1),
    variants(),
    st.sampled_from([True, True, False]),
    st.lists(constraints, min_size=1, max_size=2),
    st.lists(constraints, max_size=1),
)
"""The flag "f", and its parent "parent"."""

CONTEXTS: Final = [
    Context(user_id=user, session_id=session, remote_address=address, properties=properties, current_time=when)
    for user in (None, "", "a", "1")
    for session in (None, "a")
    for address, properties, when in (
        (None, {}, None),
        (None, {}, "2020-06-01T00:00:00Z"),
        ("10.0.0.1", {}, None),
        (None, {"country": "a"}, None),
        ("192.0.2.1", {"country": "1", "plan": "b"}, None),
        (None, {"plan": "a", "userId": "a", "x": "y"}, None),
        ("10.0.0.1", {"country": "a", "plan": "1.0.1", "born": "2020-06-01T00:00:00Z"}, None),
    )
]
