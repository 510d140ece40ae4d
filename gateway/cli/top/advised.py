"""Endpoints with what is thought of migrating them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.endpoints.claims import Claims
from gateway.endpoints.ranking import Advice, advise
from gateway.endpoints.traits import caching

if TYPE_CHECKING:
    from gateway.config import Config


def advised(found: dict[str, Any], config: Config | None, sort: str) -> dict[str, Any]:
    """`found`: a listing of gateway.endpoints. Each endpoint gets its route, its advice and what speaks for a cache; all of them their
    order; and the whole the best ones to migrate next."""
    claims = Claims(config)
    for one in found["endpoints"]:
        one["route"] = claims.of(one["method"], one["template"]) or one["route"]
        one["caching"] = caching(one)
        one["next"] = _plain(advise(one))
    if sort == "next":
        found["endpoints"].sort(key=lambda one: -one["next"]["score"])
    elif sort == "requests":
        found["endpoints"].sort(key=lambda one: -one["requests"])
    best = [one for one in found["endpoints"] if one["next"]["verdict"] in ("good", "fair") and one["next"]["score"] > 0]
    best.sort(key=lambda one: -one["next"]["score"])
    found["order"] = sort
    found["migrate_next"] = [{"method": one["method"], "template": one["template"], **one["next"]} for one in best]
    return found


def _plain(advice: Advice) -> dict[str, Any]:
    reasons = [{"code": reason.code, "good": reason.good, "text": str(reason)} for reason in advice.reasons]
    return {"verdict": advice.verdict, "score": advice.score, "reasons": reasons}
