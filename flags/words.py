"""Strategies and constraints in the words of whoever flips a flag. Nothing here decides: it says what was configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SHOWN: Final = 10
"""Values of a list that are named; of more, the number is."""

OPERATORS: Final = {
    "IN": ("is one of", "is none of"),
    "NOT_IN": ("is none of", "is one of"),
    "STR_CONTAINS": ("contains one of", "contains none of"),
    "STR_STARTS_WITH": ("starts with one of", "starts with none of"),
    "STR_ENDS_WITH": ("ends with one of", "ends with none of"),
    "IN_CIDR": ("is an address of", "is no address of"),
    "REGEX": ("matches", "does not match"),
    "NUM_EQ": ("is the number", "is not the number"),
    "NUM_GT": ("is more than", "is not more than"),
    "NUM_GTE": ("is at least", "is not at least"),
    "NUM_LT": ("is less than", "is not less than"),
    "NUM_LTE": ("is at most", "is not at most"),
    "DATE_AFTER": ("is after", "is not after"),
    "DATE_BEFORE": ("is before", "is not before"),
    "SEMVER_EQ": ("is version", "is not version"),
    "SEMVER_GT": ("is a version above", "is not a version above"),
    "SEMVER_GTE": ("is at least version", "is not at least version"),
    "SEMVER_LT": ("is a version below", "is not a version below"),
    "SEMVER_LTE": ("is at most version", "is not at most version"),
}
_ANY_CASE: Final = frozenset({"STR_CONTAINS", "STR_STARTS_WITH", "STR_ENDS_WITH", "REGEX"})


def constraint(given: Mapping[str, Any]) -> str:
    """What it asks of the context, as in "country is one of kr, jp"."""
    operator = str(given.get("operator", ""))
    words = OPERATORS.get(operator)
    if words is None:
        return f"{given.get('contextName')}: the operator {operator!r}, which Unleash's engine does not know"
    asks = words[bool(given.get("inverted"))]
    values = given.get("values") or ([given["value"]] if given.get("value") is not None else [])
    case = ", in any case" if given.get("caseInsensitive") and operator in _ANY_CASE else ""
    return f"{given.get('contextName')} {asks} {_listed(values)}{case}"


def strategy(given: Mapping[str, Any]) -> str:
    """Who it is for, its constraints apart, as in "25 % by userId"."""
    name = str(given["name"])
    parameters = given.get("parameters") or {}
    if name == "default":
        return "everybody"
    if name == "flexibleRollout":
        return _share(parameters.get("rollout"), str(parameters.get("stickiness", "default")))
    if name == "gradualRolloutUserId":
        return _share(parameters.get("percentage"), "userId")
    if name == "gradualRolloutSessionId":
        return _share(parameters.get("percentage"), "sessionId")
    if name == "gradualRolloutRandom":
        return _share(parameters.get("percentage"), "random")
    if name == "userWithId":
        return f"userId is one of {_split(parameters.get('userIds'))}"
    if name == "remoteAddress":
        return f"remoteAddress is one of {_split(parameters.get('IPs'))}"
    if name == "applicationHostname":
        return f"the gateway's host is one of {_split(parameters.get('hostNames'))}"
    return f"the strategy {name!r}, which the gateway does not know: nobody"


def _share(percent: object, stickiness: str) -> str:
    by = {
        "default": "by userId, else by sessionId, else by chance",
        "random": "of all decisions, by chance",
    }.get(stickiness, f"by {stickiness}")
    return f"{percent} % {by}"


def _split(values: object) -> str:
    return _listed([value.strip() for value in str(values or "").split(",") if value.strip()])


def _listed(values: list[Any]) -> str:
    if not values:
        return "nothing"
    named = ", ".join(str(value) for value in values[:SHOWN])
    return named if len(values) <= SHOWN else f"{named} and {len(values) - SHOWN} more"
