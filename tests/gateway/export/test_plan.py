"""Which routes are handed over, and of each other one every reason why not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.export import envoy, istio, losses
from gateway.export.plan import Handing, Mirror, Plan, Share, plan
from gateway.settings import Config
from tests.support.exporting import ALL, ROUTE, SPLIT, UPSTREAMS, around, config, dice, flags


def planned(loaded: Config, state: Any, *, mesh: Any = envoy, rest: str = "gateway", only: tuple[str, ...] = (), give_up: Any = ()) -> Plan:
    surroundings = around(rest=rest)
    return plan(loaded, state, lambda handing: mesh.unsayable(loaded, surroundings, handing), only=only, give_up=give_up)


def codes(found: Plan, route: str = "reviews") -> list[str]:
    """Why it is not handed over."""
    assert all(loss.why and loss.lost for reasons in found.refused.values() for loss in reasons)
    return [loss.code for loss in found.refused.get(route, ())]


SETTLED = [
    (True, False, (Share("reviews", 100),)),
    (25, False, (Share("reviews", 25), Share("legacy", 75))),
    (False, True, (Share("legacy", 100, mirror=Mirror("reviews", 1.0, frozenset({"GET", "HEAD"}))),)),
    (False, 30, (Share("legacy", 100, mirror=Mirror("reviews", 0.3, frozenset({"GET", "HEAD"}))),)),
    (True, 10, (Share("reviews", 100, mirror=Mirror("legacy", 0.1, frozenset({"GET", "HEAD"}))),)),
    (
        25,
        True,
        (
            Share("reviews", 25, mirror=Mirror("legacy", 1.0, frozenset({"GET", "HEAD"}))),
            Share("legacy", 75, mirror=Mirror("reviews", 1.0, frozenset({"GET", "HEAD"}))),
        ),
    ),
]


@pytest.mark.parametrize(("serve", "shadow", "shares"), SETTLED)
def test_what_is_settled_is_handed_over(serve: Any, shadow: Any, shares: tuple[Share, ...]) -> None:
    found = planned(config(ROUTE), flags(reviews=serve, reviews__shadow=shadow))
    assert not found.refused
    assert found.handed == [Handing("reviews", "/api/v1/reviews/*", (), shares)]


def test_sample_and_methods_bound_the_copies() -> None:
    route = ROUTE + 'methods = ["GET", "POST"]\n[routes.shadow]\nsample = 0.5\n'
    (handing,) = planned(config(route), flags(reviews=True, reviews__shadow=10)).handed
    assert handing.methods == ("GET", "POST")
    assert handing.shares == (Share("reviews", 100, mirror=Mirror("legacy", 0.05, frozenset({"GET"}))),)


def test_rewrite_and_host_are_the_candidates_alone() -> None:
    route = ROUTE + 'rewrite = "/reviews/*"\nhost = "reviews.internal"\n'
    (handing,) = planned(config(route), flags(reviews=25)).handed
    assert handing.shares == (Share("reviews", 25, "/reviews/*", "reviews.internal"), Share("legacy", 75))


CONSTRAINED = {**ALL, "constraints": [{"contextName": "plan", "operator": "IN", "values": ["gold"]}]}
STICKY = {"name": "flexibleRollout", "parameters": {"rollout": "25", "stickiness": "userId", "groupId": "g"}}
BY_DEFAULT = {"name": "flexibleRollout", "parameters": {"rollout": "25", "stickiness": "default", "groupId": "g"}}
IDENTITY = '[identity]\nsource = "introspection"\n'
STAMP = IDENTITY + f'stamp = {{ key = "{"k" * 40}" }}\n'
SHADOW = {"reviews": True, "reviews__shadow": True}
FALLBACK = ROUTE.replace("fallback = false\n", "")


@pytest.mark.parametrize(
    ("toml", "state", "expected"),
    [
        (ROUTE, {}, ["flag-off"]),
        (ROUTE, {"reviews": False}, ["flag-off"]),
        (ROUTE + 'methods = ["POST"]\n', {"reviews__shadow": True}, ["flag-off"]),
        (ROUTE + "[routes.shadow]\nsample = 0.0\n", {"reviews__shadow": True}, ["flag-off"]),
        (ROUTE, {"reviews": CONSTRAINED}, ["flag-constraints"]),
        (ROUTE, {"reviews": {**ALL, "segments": [1]}}, ["flag-segments"]),
        (ROUTE, {"reviews": STICKY}, ["flag-stickiness"]),
        (ROUTE, {"reviews": {"name": "remoteAddress", "parameters": {"IPs": "192.0.2.7"}}}, ["flag-strategies"]),
        (ROUTE, {"reviews": True, "reviews__shadow": STICKY}, ["flag-stickiness"]),
        (ROUTE, {"reviews": CONSTRAINED, "reviews__shadow": STICKY}, ["flag-constraints", "flag-stickiness"]),
        (ROUTE, {"reviews": {"enabled": True, "strategies": [], "dependencies": [{"feature": "x"}]}}, ["flag-parents"]),
        (ROUTE, {"reviews": 25, "reviews__shadow": 25}, ["dice-twice"]),
        (ROUTE, {"reviews": BY_DEFAULT}, []),
        (ROUTE + IDENTITY, {"reviews": BY_DEFAULT}, ["flag-stickiness"]),
        (ROUTE + 'identity = "ignored"\n' + STAMP, {"reviews": BY_DEFAULT}, []),
        (ROUTE + f'[identity]\nvisitor = {{ key = "{"v" * 20}" }}\n', {"reviews": BY_DEFAULT}, ["flag-stickiness"]),
        (ROUTE + IDENTITY, {"reviews": True}, []),
        (ROUTE + STAMP, {"reviews": True}, ["stamp"]),
        (ROUTE + 'identity = "required"\n' + IDENTITY, {"reviews": True}, ["identity"]),
        (FALLBACK, {"reviews": True}, ["fallback"]),
        (FALLBACK, {"reviews": 25}, ["fallback"]),
        (FALLBACK, {"reviews__shadow": True}, []),
        (ROUTE + 'rate_limit = { per = "route", rate = 50 }\n', {"reviews": True}, ["rate-limit"]),
        (ROUTE + 'rate_limit = { per = "user", rate = 50 }\n' + IDENTITY, {"reviews": True}, ["rate-limit"]),
        (ROUTE + "[routes.guard]\n", {"reviews": True}, ["guard"]),
        (ROUTE, SHADOW, []),
        (ROUTE + '[routes.shadow.compare]\nignore = ["$.at"]\n', SHADOW, ["comparison"]),
        (ROUTE + '[routes.shadow.compare]\nignore = ["$.at"]\n', {"reviews": True}, []),
        (ROUTE + "[routes.shadow]\nnoise = 0.1\n", SHADOW, ["comparison"]),
        (ROUTE + "[routes.gate]\nminimum = 10\n", SHADOW, ["comparison"]),
        (ROUTE + '[routes.shadow]\nmethods = ["GET", "POST"]\nsandbox = true\n', SHADOW, ["mirror-writes"]),
        (ROUTE + 'rewrite = "/reviews/*"\n', SHADOW, ["mirror-rewrite"]),
        (ROUTE + 'host = "reviews.internal"\n', SHADOW, ["mirror-rewrite"]),
        (ROUTE.replace("/api/v1/reviews/*", "/api/v1/caf\u00e9/*"), {"reviews": True}, ["path"]),
        (ROUTE + "[upstreams.reviews.concurrency]\n", {"reviews": True}, ["concurrency"]),
        (ROUTE + "[upstreams.reviews.breaker]\nerrors = 0.1\n", {"reviews": True}, ["breaker"]),
        (ROUTE + "[upstreams.reviews.health]\npath = '/healthz'\n", {"reviews": True}, []),
        (ROUTE + '[domains]\norder = ["user", "item"]\n' + STAMP, {"reviews": True}, ["stamp", "domain-report"]),
        (ROUTE + '[domains]\norder = ["user", "item"]\nenforce = "block"\n' + STAMP, {"reviews": True}, ["stamp", "domains"]),
    ],
)
def test_of_every_other_each_reason_is_named(toml: str, state: dict[str, Any], expected: list[str]) -> None:
    upstreams = UPSTREAMS.replace('reviews = "http://reviews.shop:8101"\n', "") if "[upstreams.reviews." in toml else UPSTREAMS
    if upstreams is not UPSTREAMS:
        toml = '[upstreams.reviews]\nurl = "http://reviews.shop:8101"\n' + toml
    found = planned(config(toml, upstreams), flags(**state))
    assert codes(found) == expected
    assert bool(found.handed) is not bool(expected)


def test_an_override_is_for_a_while() -> None:
    assert codes(planned(config(ROUTE), flags(["reviews"], reviews=True))) == ["flag-override"]
    assert codes(planned(config(ROUTE), flags(["another"], reviews=True))) == []


def test_a_malformed_flag_is_not_simply_off() -> None:
    state = flags(reviews__shadow=True)
    state = type(state)(state.features, (), {"reviews": "it is nested too deeply"})
    assert codes(planned(config(ROUTE), state)) == ["flag-malformed"]


def test_impressions_are_written_by_nobody_else() -> None:
    watched = {"enabled": True, "strategies": [], "impressionData": True}
    assert codes(planned(config(ROUTE), flags(reviews=watched))) == []
    assert codes(planned(config(ROUTE + '[flags]\nimpressions = "-"\n'), flags(reviews=watched))) == ["impressions"]


VARIANTS = [{"name": "psp-a", "weight": 100}, {"name": "psp-b", "weight": 900}]


@pytest.mark.parametrize(
    ("toml", "state", "shares"),
    [
        (SPLIT, {}, (Share("psp-a", 70), Share("psp-b", 30))),
        (SPLIT, {"payments__split": {"enabled": False, "strategies": [], "variants": VARIANTS}}, (Share("psp-a", 70), Share("psp-b", 30))),
        (SPLIT, {"payments__split": {"enabled": True, "strategies": [], "variants": VARIANTS}}, (Share("psp-a", 100), Share("psp-b", 900))),
        (
            SPLIT,
            {"payments__split": {"enabled": True, "strategies": [], "variants": [{"name": "psp-x", "weight": 1}]}},
            (Share("psp-a", 70), Share("psp-b", 30)),
        ),
        (SPLIT.replace("psp-a = 70, psp-b = 30", "psp-a = 1").replace('sticky = "random"\n', ""), {}, (Share("psp-a", 1),)),
    ],
)
def test_providers_get_the_weights_in_force(toml: str, state: dict[str, Any], shares: tuple[Share, ...]) -> None:
    found = planned(config(toml), flags(**state))
    assert not found.refused
    assert [handing.shares for handing in found.handed] == [shares]


@pytest.mark.parametrize(
    ("toml", "state", "expected"),
    [
        (SPLIT.replace("random", "user"), {}, ["split-sticky"]),
        (SPLIT.replace("random", "header:X-Shop"), {}, ["split-sticky"]),
        (SPLIT.replace("random", "idempotency-key"), {}, ["split-sticky", "ledger"]),
        (SPLIT.replace("psp-a = 70, psp-b = 30", "psp-a = 1").replace("random", "idempotency-key"), {}, ["ledger"]),
        (SPLIT + 'failover = "safe"\n', {}, ["failover"]),
        (SPLIT, {"payments__split": dice(50)}, ["split-flag"]),
        (SPLIT, {"payments__split": STICKY}, ["flag-stickiness"]),
    ],
)
def test_split_routes_that_stay(toml: str, state: dict[str, Any], expected: list[str]) -> None:
    found = planned(config(toml), flags(**state))
    assert codes(found, "payments") == expected
    assert not found.handed


def test_some_of_it_may_be_given_up_and_is_told() -> None:
    loaded = config(FALLBACK + "[routes.guard]\n")
    some = planned(loaded, flags(reviews=True), give_up=["guard"])
    assert codes(some) == ["fallback"]
    assert not some.handed
    every = planned(loaded, flags(reviews=True), give_up=["guard", "fallback"])
    assert [loss.code for loss in every.given_up["reviews"]] == ["guard", "fallback"]
    assert len(every.handed) == 1


@pytest.mark.parametrize("code", ["stamp", "identity", "ledger", "split-sticky", "flag-constraints", "mirror-writes", "domains", "path"])
def test_but_never_what_keeps_anybody_out_or_anything_from_being_done_twice(code: str) -> None:
    assert code not in losses.GIVEN_UP
    loaded = config(ROUTE + STAMP)
    assert codes(planned(loaded, flags(reviews=True), give_up=["stamp", *losses.GIVEN_UP])) == ["stamp"]


def test_a_more_specific_route_that_stays_is_not_swallowed() -> None:
    summary = '[[routes]]\nname = "summary"\nmatch = "/api/v1/reviews/summary"\ncandidate = "reviews"\nfallback = false\n'
    wide = '[[routes]]\nname = "wide"\nmatch = "/api/*"\ncandidate = "reviews"\nfallback = false\n'
    found = planned(config(wide + ROUTE + summary), flags(reviews=True, summary=STICKY, wide=True), only=("reviews", "summary"))
    assert [(entry.route, entry.handing is not None) for entry in found.entries] == [("summary", False), ("reviews", True)]
    assert list(found.refused) == ["summary"]  # of wide nobody asked


def test_without_a_gateway_there_is_nobody_to_tell_paths_apart() -> None:
    loaded = config(ROUTE)
    assert codes(planned(loaded, flags(reviews=True), rest="legacy")) == ["encoded-paths"]
    exact = config(ROUTE.replace("/reviews/*", "/reviews/summary"))
    assert codes(planned(exact, flags(reviews=True), rest="legacy")) == []


def test_envoy_wants_authorities_to_verify_by() -> None:
    secure = UPSTREAMS.replace("http://reviews", "https://reviews")
    assert codes(planned(config(ROUTE, secure), flags(reviews=True))) == ["tls"]
    named = secure.replace('reviews = "https://reviews.shop:8101"\n', "")
    more = '[upstreams.reviews]\nurl = "https://reviews.shop:8101"\ntls = { verify = false }\n'
    assert codes(planned(config(more + ROUTE, named), flags(reviews=True))) == []


ISTIO = ["untidy-paths"]


@pytest.mark.parametrize(
    ("toml", "state", "expected"),
    [
        (ROUTE, {"reviews": True}, []),
        (ROUTE + 'rewrite = "/reviews/*"\n', {"reviews": True}, []),
        (ROUTE + 'rewrite = "/reviews/*"\n', {"reviews": 25}, ["share-rewrite"]),
        (ROUTE, {"reviews": 25, "reviews__shadow": True}, ["share-mirror"]),
        (ROUTE, {"reviews__shadow": 25}, []),
        (ROUTE + 'methods = ["BREW"]\n', {"reviews": True}, ["method"]),
        (ROUTE.replace("/api/v1/reviews/*", "/" + "{x}/" * 30 + "*"), {"reviews": True}, ["path"]),
        (SPLIT, {}, []),
    ],
)
def test_what_istio_cannot_say(toml: str, state: dict[str, Any], expected: list[str]) -> None:
    found = planned(config(toml), flags(**state), mesh=istio, give_up=ISTIO)
    assert [loss.code for reasons in found.refused.values() for loss in reasons] == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8101", ["service"]),
        ("http://[::1]:8101", ["service"]),
        ("http://localhost:8101", ["service"]),
        ("unix:/run/reviews.sock", ["service"]),
        ("http://legacy.shop:8101", ["one-service"]),
        ("https://reviews.shop:8101", ["tls"]),
        ("http://reviews.shop:8101", []),
    ],
)
def test_istio_routes_to_services(url: str, expected: list[str]) -> None:
    loaded = config(ROUTE, UPSTREAMS.replace("http://reviews.shop:8101", url))
    assert codes(planned(loaded, flags(reviews=True), mesh=istio, give_up=ISTIO)) == expected
    named = around(reviews=("reviews.elsewhere", 80))
    told = plan(loaded, flags(reviews=True), lambda handing: istio.unsayable(loaded, named, handing), give_up=ISTIO)
    assert len(told.handed) == 1


def test_istio_tidies_paths_and_asks_nobody_how_he_is() -> None:
    assert codes(planned(config(ROUTE), flags(reviews=True), mesh=istio)) == ["untidy-paths"]
    asked = UPSTREAMS.replace('reviews = "http://reviews.shop:8101"\n', "")
    more = '[upstreams.reviews]\nurl = "http://reviews.shop:8101"\nhealth = { path = "/healthz" }\n'
    assert codes(planned(config(more + ROUTE, asked), flags(reviews=True), mesh=istio, give_up=ISTIO)) == ["health"]
