"""Envoy's configuration, read as Envoy reads it, gives a request to whom the gateway's policy does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.snapshot import Context
from gateway import build
from gateway.export import envoy
from gateway.export.losses import GIVEN_UP
from gateway.export.plan import plan
from gateway.policy.decision import Claim
from gateway.settings import Config
from tests.support.exporting import ALL, ROUTE, SPLIT, UPSTREAMS, around, config, flags

ROUTES = """
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
rewrite = "/reviews/*"
[[routes]]
name = "summary"
match = "/api/v1/reviews/summary"
candidate = "reviews"
[[routes]]
name = "write"
match = "/api/v1/reviews/{id}"
methods = ["POST", "PUT"]
candidate = "reviews"
[[routes]]
name = "photos"
match = "/api/v1/items/{id}/photos/*"
methods = ["GET", "HEAD"]
candidate = "reviews"
[[routes]]
name = "item"
match = "/api/v1/items/{id}"
candidate = "reviews"
host = "items.internal"
"""
STICKY = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "g"}}
STATES = {"reviews": True, "write": True, "photos": True, "item": True}


def document(loaded: Config, state: Any, *, rest: str = "gateway", only: tuple[str, ...] = ()) -> dict[str, Any]:
    surroundings = around(rest=rest)
    found = plan(loaded, state, lambda handing: envoy.unsayable(loaded, surroundings, handing), only=only, give_up=GIVEN_UP)
    return envoy.document(loaded, found, surroundings, ("127.0.0.1", 10000))


def routes(made: dict[str, Any]) -> list[dict[str, Any]]:
    (listener,) = made["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


def met(tried: list[dict[str, Any]], method: str, target: str) -> tuple[dict[str, Any], str]:
    """As the router does: the first route whose path, without its query, and whose headers match; and the path that it makes of it."""
    path, mark, query = target.partition("?")
    for route in tried:
        match = route["match"]
        assert set(match) <= {"safe_regex", "headers"}, "what this test does not know"
        if not re.fullmatch(match["safe_regex"]["regex"], path):
            continue
        for header in match.get("headers", ()):
            assert header["name"] == ":method"
            how = header["string_match"]
            if not (how.get("exact") == method or ("safe_regex" in how and re.fullmatch(how["safe_regex"]["regex"], method))):
                break
        else:
            rewrite = route.get("route", {}).get("regex_rewrite")
            if rewrite is not None:
                path = re.sub(rewrite["pattern"]["regex"], rewrite["substitution"], path, count=1)
            return route, path + mark + query
    raise AssertionError("nobody answers")


PARTS = ["api", "v1", "reviews", "summary", "items", "photos", "3", "x.y", "", "~", "reviewsx", "API", "a:b", "'", "$1"]
ODD = ["..", ".", "%2e", "%2f", "a;b", "\\", "%20", "%C3%A9", ".hidden"]
LIKELY = st.sampled_from([["api", "v1", "reviews"], ["api", "v1", "items", "3"], ["api", "v1", "items", "3", "photos"], ["api"], []])
PATH = st.builds(lambda before, parts: "/" + "/".join([*before, *parts]), LIKELY, st.lists(st.sampled_from(PARTS), max_size=3))
ANY = st.builds(lambda before, parts: "/" + "/".join([*before, *parts]), LIKELY, st.lists(st.sampled_from(PARTS + ODD), max_size=3))
METHOD = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"])
QUERY = st.sampled_from(["", "?", "?page=2", "?x=/api/v1/reviews/summary", "?a=%2f.."])
ONLY = st.sampled_from([(), ("reviews",), ("write", "item"), ("photos",), ("reviews", "summary")])

LOADED = config(ROUTES)


class _Everything:
    """Every flag but that of one route is on."""

    revision = "1"

    def enabled(self, flag: str, context: Context) -> bool:
        return STATES.get(flag, False)

    def overridden(self, flag: str) -> bool:
        return False

    def both(self, serve: str, shadow: str, context: Context) -> int:
        return int(self.enabled(serve, context))

    def by_session(self, flag: str) -> bool:
        return False

    def weights(self, flag: str) -> None:
        return None

    def chose(self, flag: str, variant: str) -> None:
        pass


POLICY = build.policy(LOADED, _Everything())


@given(ONLY, METHOD, st.one_of(PATH, ANY), QUERY)
def test_a_request_is_given_to_whom_the_gateway_gives_it(only: tuple[str, ...], method: str, path: str, query: str) -> None:
    made = routes(document(LOADED, flags(summary=STICKY, **STATES), only=only))
    route, target = met(made, method, path + query)
    found = POLICY.find(method, (path + query).encode())
    handed = [name for name in STATES if not only or name in only]
    if route["name"] in ("rest", "summary (gateway)") or route["name"].endswith("(gateway)"):
        assert route["route"]["cluster"] == envoy.REST
        assert target == path + query
        tidy = not re.search(r"[%;\\]|/[/.]", path)
        if tidy and isinstance(found, Claim):
            assert found.route not in handed, "the gateway gets what was handed over"
        return
    assert isinstance(found, Claim)
    assert found.route == route["name"] in handed
    decision = POLICY.decide(found, Context())
    assert decision.serve.upstream == route["route"]["cluster"]
    rewrite = decision.serve.rewrite
    assert target == (path + query if rewrite is None else rewrite((path + query).encode()).decode())
    host = decision.serve.host
    assert route["route"].get("host_rewrite_literal") == (None if host is None else host.decode())


def test_a_share_is_the_first_that_is_tried() -> None:
    first, second = [route for route in routes(document(config(ROUTE), flags(reviews=25))) if route["name"] == "reviews"]
    assert first["match"]["runtime_fraction"] == {"default_value": {"numerator": 25, "denominator": "HUNDRED"}}
    assert (first["route"]["cluster"], second["route"]["cluster"]) == ("reviews", "legacy")
    assert "runtime_fraction" not in second["match"]


def test_providers_are_weighted() -> None:
    (found,) = [route for route in routes(document(config(SPLIT), flags())) if route["name"] == "payments"]
    assert found["route"]["weighted_clusters"] == {"clusters": [{"name": "psp-a", "weight": 70}, {"name": "psp-b", "weight": 30}]}


def test_only_reading_requests_are_copied() -> None:
    made = [route for route in routes(document(config(ROUTE), flags(reviews__shadow=30))) if route["name"] == "reviews"]
    copied, other = made
    assert copied["match"]["headers"][0]["string_match"] == {"safe_regex": {"regex": "GET|HEAD"}}
    (mirror,) = copied["route"]["request_mirror_policies"]
    assert mirror["cluster"] == "reviews"
    assert mirror["runtime_fraction"]["default_value"] == {"numerator": 300_000, "denominator": "MILLION"}
    assert "request_mirror_policies" not in other["route"]
    assert "headers" not in other["match"]
    assert met(made, "POST", "/api/v1/reviews/3")[0] is other
    assert met(made, "HEAD", "/api/v1/reviews/3")[0] is copied


def test_every_cluster_that_is_named_exists_once() -> None:
    made = document(config(ROUTES + SPLIT), flags(**STATES, summary=STICKY))
    names = [cluster["name"] for cluster in made["static_resources"]["clusters"]]
    assert sorted(names) == sorted({"reviews", "psp-a", "psp-b", envoy.REST})
    named = set()
    for route in routes(made):
        action = route.get("route", {})
        named |= {action["cluster"]} if "cluster" in action else set()
        named |= {each["name"] for each in action.get("weighted_clusters", {}).get("clusters", ())}
    assert named == set(names)


def test_without_a_gateway_legacy_gets_the_rest() -> None:
    made = document(config(ROUTE), flags(reviews=True), rest="legacy")
    assert routes(made)[-1]["route"]["cluster"] == "legacy"
    assert [cluster["name"] for cluster in made["static_resources"]["clusters"]] == ["reviews", "legacy"]


def test_tls_health_and_times_are_the_configurations() -> None:
    secure = UPSTREAMS.replace('reviews = "http://reviews.shop:8101"\n', "")
    more = """
[upstreams.reviews]
urls = ["https://192.0.2.1:443", "https://192.0.2.2:443"]
connect_timeout = "250ms"
response_timeout = "1500ms"
tls = { ca = "/etc/ca.pem", server_name = "reviews.shop", certificate = "/etc/own.pem", key = "/etc/own.key" }
health = { path = "/healthz", interval = "3s", timeout = "500ms", rise = 3, fall = 4, host = "reviews.shop" }
"""
    made = document(config(more + ROUTE, secure), flags(reviews=ALL))
    cluster = next(each for each in made["static_resources"]["clusters"] if each["name"] == "reviews")
    assert (cluster["type"], cluster["connect_timeout"]) == ("STATIC", "0.25s")
    assert len(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2
    tls = cluster["transport_socket"]["typed_config"]
    assert tls["sni"] == "reviews.shop"
    common = tls["common_tls_context"]
    assert common["validation_context"]["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "reviews.shop"}}]
    assert common["tls_certificates"][0]["private_key"] == {"filename": "/etc/own.key"}
    (health,) = cluster["health_checks"]
    assert (health["interval"], health["timeout"], health["healthy_threshold"], health["unhealthy_threshold"]) == ("3s", "0.5s", 3, 4)
    route = next(route for route in routes(made) if route["name"] == "reviews")
    assert route["route"]["timeout"] == "1.5s"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_trace_ends_there(method: str) -> None:
    made = routes(document(config(ROUTE), flags(reviews=True)))
    assert met(made, "TRACE", "/api/v1/reviews/3")[0]["direct_response"] == {"status": 405}
    assert met(made, method, "/api/v1/reviews/3")[0]["name"] == "reviews"
