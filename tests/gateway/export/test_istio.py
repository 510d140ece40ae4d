"""Istio's documents, held against the field names and types that networking.istio.io/v1 publishes.

No cluster and no webhook has seen them: kubernetes-validate knows Kubernetes' own kinds and no others. The shapes below are written from
the reference of VirtualService and DestinationRule, as far as these documents use them, and anything else is an error.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.export.meshes import istio as command
from gateway.export import istio
from gateway.export.istio import Mesh
from gateway.export.losses import GIVEN_UP
from gateway.export.plan import plan
from gateway.policy.routing import Pattern, Table
from gateway.settings import Config
from tests.support.exporting import ROUTE, SPLIT, UPSTREAMS, around, config, flags

DURATION = re.compile(r"[0-9]+(?:\.[0-9]{1,9})?s")
LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
FQDN = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")


def documents(loaded: Config, state: Any, mesh: Mesh | None = None, *, rest: str = "gateway") -> list[dict[str, Any]]:
    surroundings = around(rest=rest)
    found = plan(loaded, state, lambda handing: istio.unsayable(loaded, surroundings, handing), give_up=GIVEN_UP)
    assert not found.refused
    return istio.documents(loaded, found, surroundings, mesh or Mesh(hosts=("shop.example.com",)))


def only(found: dict[str, Any], required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]  # an empty one
    assert required <= set(found) <= required | optional, found


def regex(text: str) -> None:
    assert 0 < len(text) <= 1024
    re.compile(text)


def string_match(found: dict[str, Any]) -> None:
    assert len(found) == 1
    (how,) = found
    assert how in ("exact", "regex")
    assert isinstance(found[how], str)
    if how == "regex":
        regex(found[how])


def destination(found: dict[str, Any]) -> None:
    only(found, {"host", "port"})
    assert FQDN.fullmatch(found["host"])
    only(found["port"], {"number"})
    assert 0 < found["port"]["number"] < 65536


def http_route(found: dict[str, Any]) -> None:
    """HTTPRoute: https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRoute."""
    only(found, {"name"}, {"match", "route", "rewrite", "timeout", "retries", "mirrors", "headers", "directResponse"})
    assert len({"route", "directResponse"} & set(found)) == 1  # one of route, redirect and directResponse
    for match in found.get("match", []):
        only(match, set(), {"uri", "method"})
        for each in match.values():
            string_match(each)
    for each in found.get("route", []):
        only(each, {"destination"}, {"weight"})
        destination(each["destination"])
    weights = [each["weight"] for each in found.get("route", []) if "weight" in each]
    assert all(isinstance(weight, int) and weight > 0 for weight in weights)
    assert not weights or len(weights) == len(found["route"]) > 1
    if "rewrite" in found:
        only(found["rewrite"], set(), {"authority", "uriRegexRewrite"})
        if "uriRegexRewrite" in found["rewrite"]:
            only(found["rewrite"]["uriRegexRewrite"], {"match", "rewrite"})
            regex(found["rewrite"]["uriRegexRewrite"]["match"])
    if "timeout" in found:
        assert DURATION.fullmatch(found["timeout"])
    assert found.get("retries", {"attempts": 0}) == {"attempts": 0}
    for mirror in found.get("mirrors", []):
        only(mirror, {"destination", "percentage"})
        destination(mirror["destination"])
        only(mirror["percentage"], {"value"})
        assert 0 < mirror["percentage"]["value"] <= 100
    if "headers" in found:
        only(found["headers"], {"request"})
        only(found["headers"]["request"], {"remove"})
    if "directResponse" in found:
        only(found["directResponse"], {"status"})


def tls(found: dict[str, Any]) -> None:
    """ClientTLSSettings."""
    only(found, {"mode", "sni"}, {"caCertificates", "subjectAltNames", "clientCertificate", "privateKey", "insecureSkipVerify"})
    assert found["mode"] in ("SIMPLE", "MUTUAL")
    assert (found["mode"] == "MUTUAL") is ("clientCertificate" in found) is ("privateKey" in found)
    assert ("caCertificates" in found) is not ("insecureSkipVerify" in found)


def document(found: dict[str, Any]) -> None:
    only(found, {"apiVersion", "kind", "metadata", "spec"})
    assert found["apiVersion"] == "networking.istio.io/v1"
    only(found["metadata"], {"name"}, {"namespace"})
    assert LABEL.fullmatch(found["metadata"]["name"])
    spec = found["spec"]
    if found["kind"] == "VirtualService":
        only(spec, {"hosts", "http"}, {"gateways"})
        assert spec["hosts"]
        for each in spec["http"]:
            http_route(each)
        names = [each["name"] for each in spec["http"]]
        assert len(set(names)) == len(names)
        assert "match" not in spec["http"][-1]  # and of none before it, or nothing behind it would be reached
        assert all("match" in each for each in spec["http"][:-1])
        return
    assert found["kind"] == "DestinationRule"
    only(spec, {"host", "trafficPolicy"})
    assert FQDN.fullmatch(spec["host"])
    only(spec["trafficPolicy"], {"connectionPool", "loadBalancer"}, {"tls"})
    only(spec["trafficPolicy"]["connectionPool"], {"tcp"})
    only(spec["trafficPolicy"]["connectionPool"]["tcp"], {"connectTimeout"})
    assert DURATION.fullmatch(spec["trafficPolicy"]["connectionPool"]["tcp"]["connectTimeout"])
    assert spec["trafficPolicy"]["loadBalancer"] == {"simple": "LEAST_REQUEST"}
    if "tls" in spec["trafficPolicy"]:
        tls(spec["trafficPolicy"]["tls"])


SECURE = UPSTREAMS.replace('reviews = "http://reviews.shop:8101"\n', "")
TLS = """
[upstreams.reviews]
url = "https://reviews.shop:8443"
connect_timeout = "250ms"
"""
CASES: list[tuple[str, str, dict[str, Any]]] = [
    (ROUTE, UPSTREAMS, {"reviews": True}),
    (ROUTE + 'rewrite = "/reviews/*"\nhost = "reviews.internal"\n', UPSTREAMS, {"reviews": True}),
    (ROUTE + 'methods = ["GET", "HEAD", "POST"]\n', UPSTREAMS, {"reviews": 25}),
    (ROUTE + 'methods = ["GET"]\n', UPSTREAMS, {"reviews__shadow": 12}),
    (ROUTE + SPLIT, UPSTREAMS, {"reviews": True, "reviews__shadow": True}),
    (TLS + 'tls = { ca = "/etc/ca.pem" }\n' + ROUTE, SECURE, {"reviews": True}),
    (TLS + 'tls = { verify = false, certificate = "/etc/own.pem", key = "/etc/own.key" }\n' + ROUTE, SECURE, {"reviews": True}),
]


@pytest.mark.parametrize(("toml", "upstreams", "state"), CASES)
@pytest.mark.parametrize("rest", ["gateway", "legacy"])
def test_every_field_is_one_that_istio_publishes(toml: str, upstreams: str, state: dict[str, Any], rest: str) -> None:
    mesh = Mesh("shop", "shop", ("shop.example.com", "*.example.com"), ("istio-system/public",))
    made = documents(config(toml, upstreams), flags(**state), mesh, rest=rest)
    for each in made:
        document(each)
    assert [each["kind"] for each in made].count("VirtualService") == 1
    http = made[0]["spec"]["http"]
    sent = {each["destination"]["host"] for route in http for each in [*route.get("route", []), *route.get("mirrors", [])]}
    assert {each["spec"]["host"] for each in made[1:]} == sent - {"banyan.shop"}


def test_the_schema_of_this_test_refuses_what_it_does_not_know() -> None:
    made = documents(config(ROUTE), flags(reviews=True))
    made[0]["spec"]["http"][1]["mirrorPercent"] = 5
    with pytest.raises(AssertionError):
        document(made[0])


def test_shares_and_copies() -> None:
    http = documents(config(ROUTE), flags(reviews=25))[0]["spec"]["http"]
    found = next(each for each in http if each["name"] == "reviews")
    assert [(each["destination"]["host"], each["weight"]) for each in found["route"]] == [("reviews.shop", 25), ("legacy.shop", 75)]
    http = documents(config(ROUTE), flags(reviews__shadow=12))[0]["spec"]["http"]
    copied = next(each for each in http if each["name"] == "reviews-mirrored")
    assert copied["match"][0]["method"] == {"regex": "GET|HEAD"}
    assert [(each["destination"]["host"], each["percentage"]) for each in copied["mirrors"]] == [("reviews.shop", {"value": 12.0})]
    plain = next(each for each in http if each["name"] == "reviews")
    assert "mirrors" not in plain


def test_what_a_client_says_in_banyans_name_is_cut_everywhere() -> None:
    for each in documents(config(ROUTE), flags(reviews=True))[0]["spec"]["http"]:
        if "route" in each:
            assert {"banyan-identity", "banyan-shadow"} <= set(each["headers"]["request"]["remove"])


PARTS = st.lists(st.sampled_from(["api", "v1", "reviews", "3", "x.y", "", "..", "%2e", ";", "a"]), max_size=5)


@given(PARTS, st.sampled_from(["GET", "POST"]))
def test_a_request_meets_the_route_that_the_gateway_finds_or_the_rest(parts: list[str], method: str) -> None:
    loaded = config(ROUTE + 'methods = ["GET"]\n')
    path = "/" + "/".join(parts)
    table = Table([Pattern("reviews", "/api/v1/reviews/*", frozenset({"GET"}))])
    for each in documents(loaded, flags(reviews=True))[0]["spec"]["http"]:
        (match,) = each.get("match", [{}])
        said = {"uri": path, "method": method}
        if all(said[key] == how.get("exact") or re.fullmatch(how.get("regex", "(?!)"), said[key]) for key, how in match.items()):
            if each["name"] == "reviews":
                assert table.match(method, path.encode()) == "reviews"
            elif not re.search(r"[%;]|/[/.]", path):
                assert table.match(method, path.encode()) is None
            return
    pytest.fail("nobody answers")


@pytest.mark.parametrize(
    ("mesh", "wrong"),
    [
        (Mesh(hosts=("shop.example.com",)), ""),
        (Mesh(gateways=("istio-system/public",)), ""),
        (Mesh(), "--host"),
        (Mesh("Shop", hosts=("a",)), "--name"),
        (Mesh(namespace="a b", hosts=("a",)), "--namespace"),
        (Mesh(hosts=("a/b",)), "--host"),
        (Mesh(hosts=("a",), gateways=("a b",)), "--ingress"),
    ],
)
def test_names_that_cannot_be(mesh: Mesh, wrong: str) -> None:
    found = istio.impossible(mesh)
    assert wrong in found
    assert bool(wrong) is bool(found)


def test_no_two_rules_have_one_name() -> None:
    loaded = config(
        ROUTE.replace('"reviews"\nfall', '"R.a"\nfall') + SPLIT.replace("psp-a", "r_a"),
        UPSTREAMS + 'r_a = "http://r-a:1"\n"R.a" = "http://r-b:1"\n',
    )
    names = [each["metadata"]["name"] for each in documents(loaded, flags(reviews=True))]
    assert len(set(names)) == len(names) == 4
    assert all(LABEL.fullmatch(name) for name in names)


def test_the_command_has_an_example() -> None:
    assert "Example: banyan export istio" in (command.__doc__ or "")
