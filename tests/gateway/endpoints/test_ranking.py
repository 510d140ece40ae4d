"""What to migrate next, and what to write for it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import parse
from gateway.endpoints.ranking import WORDS, advise
from gateway.endpoints.shapes import ANY, DATE, EMAIL, HASH, ID, TOKEN, UUID
from gateway.endpoints.suggest import UNKNOWN, pattern, route_name, suggest
from gateway.policy.routing import Pattern, Table

ONE: dict[str, Any] = {
    "template": "/api/v1/items/{id}",
    "route": None,
    "legacy_share": 0.4,
    "safe": True,
    "rps": 10.0,
    "requests": 9000,
    "errors_5xx": 0.0,
    "errors_4xx": 0.0,
    "cacheable": None,
}


def codes(**different: Any) -> tuple[str, set[str], set[str]]:
    advice = advise(ONE | different)
    return (
        advice.verdict,
        {reason.code for reason in advice.reasons if reason.good},
        {reason.code for reason in advice.reasons if not reason.good},
    )


def test_what_reads_and_takes_much_of_legacys_time_is_a_good_one() -> None:
    assert codes() == ("good", {"share", "safe", "soon", "clean"}, set())
    assert [str(reason) for reason in advise(ONE).reasons][:2] == [
        "it takes 40% of legacy's time",
        "it only reads: it can be compared, and fails back to legacy",
    ]


@pytest.mark.parametrize(
    ("different", "verdict", "against"),
    [
        ({"safe": False}, "poor", {"writes"}),
        ({"legacy_share": 0.02}, "fair", {"share"}),
        ({"legacy_share": 0.001}, "fair", {"small"}),
        ({"rps": 0.001}, "fair", {"rare"}),
        ({"rps": 0.0}, "fair", {"rare"}),
        ({"errors_5xx": 0.2}, "fair", {"failing"}),
        ({"errors_4xx": 0.5}, "fair", {"refused"}),
        ({"cacheable": 0.9}, "fair", {"cacheable"}),
        ({"template": "/static/{hash}.js"}, "poor", {"file"}),
        ({"template": "/*"}, "poor", {"whole"}),
        ({"template": "/x/{…}"}, "fair", {"unclear"}),
        ({"template": "/x/{…}", "declared": True, "login": "yes"}, "fair", {"login"}),
        ({"timed": False, "legacy_share": 0.0, "share": 0.001}, "fair", {"seldom"}),
        ({"template": "/static/{hash}.js", "declared": True}, "poor", {"file"}),
        ({"route": "items"}, "routed", set()),
    ],
)
def test_what_speaks_against_one_is_said_and_lowers_it(different: dict[str, Any], verdict: str, against: set[str]) -> None:
    found, _, bad = codes(**different)
    assert (found, bad) == (verdict, against)
    assert advise(ONE | different).score < advise(ONE).score
    assert all(str(reason) for reason in advise(ONE | different).reasons)
    assert against <= WORDS.keys()


def test_what_only_a_log_knows_speaks_for_it_too() -> None:
    assert codes(repeats=0.9) == ("good", {"share", "safe", "soon", "clean", "repeats"}, set())
    assert codes(repeats=0.9, login="yes") == ("fair", {"share", "safe", "soon", "clean"}, {"login"}), "whose own is nobody else's"
    assert codes(timed=False, legacy_share=0.0, share=0.4) == ("good", {"asked", "safe", "soon", "clean"}, set())
    assert codes(rps=None) == ("good", {"share", "safe", "clean"}, set()), "a log without times"


@pytest.mark.parametrize(("rps", "said"), [(1000.0, "a minute"), (1.0, "17 minutes"), (0.1, "2.8 hours")])
def test_how_long_the_gate_takes_is_said_in_a_fitting_unit(rps: float, said: str) -> None:
    (reason,) = [reason for reason in advise(ONE | {"rps": rps}).reasons if reason.code == "soon"]
    assert str(reason) == f"the gate's 1000 comparisons take {said} at this rate"


CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
items = "http://127.0.0.1:2"
[[routes]]
name = "items"
match = "/api/v1/items/*"
candidate = "items"
"""


@pytest.mark.parametrize(
    ("template", "match", "name"),
    [
        ("/api/v1/reviews/{id}", "/api/v1/reviews/{id}", "reviews-detail"),
        ("/api/v1/reviews/", "/api/v1/reviews/", "reviews"),
        ("/api/v1/items/{id}/reviews/{id}", "/api/v1/items/{id}/reviews/{id2}", "items-reviews-detail"),
        ("/api/v1/items", "/api/v1/items", "items-2"),
        ("/users/{email}/{…}/{…}/*", "/users/{email}/{value}/{value2}/*", "users-detail"),
        ("/static/{hash}.js", "/static/{file}", "static-detail"),
        ("/shop/{slug}/{item_id}", "/shop/{slug}/{item_id}", "shop-detail"),
        ("/report-{year}.pdf", "/{file}", "home"),
        ("/shop/{pk}/{pk}", "/shop/{pk}/{pk2}", "shop-detail"),
        ("/", "/", "home"),
        ("*", "/*", "home"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration", "well-known-openid-configuration"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_what_is_suggested_is_a_configuration(template: str, match: str, name: str, method: str) -> None:
    found = suggest(template, method, routes=["items"], upstreams=["legacy", "items"], methods=["GET", "POST"])
    assert (found.match, found.name) == (match, name)
    config = parse(Path("banyan.toml"), CONFIG + found.toml)
    route = next(route for route in config.routes if route.name == name)
    assert route.match == match
    assert method in route.methods
    assert config.upstreams[route.candidate].url == "http://127.0.0.1:8101"
    assert ("writes" in found.unknown) is (method == "POST")
    assert set(found.unknown) <= UNKNOWN.keys()
    assert [command for command in found.commands if "shadow" in command] == (
        [] if method == "POST" else [f"banyan flags on {name}.shadow"]
    )


SEGMENT = st.sampled_from(
    ["api", "v1", "items", "x.y", "a:b", "", ID, UUID, HASH, DATE, EMAIL, TOKEN, ANY, "{hash}.js", "{…}.min.css", "me"]
)


@given(st.lists(SEGMENT, min_size=1, max_size=8), st.booleans(), st.lists(st.sampled_from(["items", "x.y", "home", "me"])))
def test_whatever_the_template_it_loads_and_takes_what_it_is_for(segments: list[str], rest: bool, taken: list[str]) -> None:
    template = "/" + "/".join([*segments, *(["*"] if rest else [])])
    found = suggest(template, "GET", routes=taken, upstreams=["legacy", *taken])
    config = parse(Path("banyan.toml"), '[upstreams]\nlegacy = "http://127.0.0.1:1"\n' + found.toml)
    assert config.routes[0].name == found.name not in taken
    assert tomllib.loads(found.toml)["routes"][0]["match"] == pattern(template)
    path = template.replace("*", "anything/below").replace("…", "x")
    path = "/" + "/".join(part if "{" not in part else "value-1" for part in path[1:].split("/"))
    if "//" not in path:  # which no candidate ever gets
        assert Table([Pattern(found.name, found.match)]).match("GET", path.encode()) == found.name
    assert route_name(template, [*taken, found.name]) != found.name
