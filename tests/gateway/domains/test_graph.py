"""The graph of calls: circles are found, however they lie, and a route says where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import parse
from gateway.domains import drawing
from gateway.domains.graph import Graph, cycles, graph, lint, of_log
from gateway.policy.domains import Order

ORDER = Order(["user", "item", ["search", "review"]])


def reach(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(edges.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += edges.get(node, ())
    return seen


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh"))))
def test_circles_are_who_reaches_one_another(edges: dict[str, set[str]]) -> None:
    found = {frozenset(circle) for circle in cycles(edges)}
    nodes = set(edges) | {node for others in edges.values() for node in others}
    wanted = {frozenset(other for other in nodes if other in reach(edges, node) and node in reach(edges, other)) | {node} for node in nodes}
    assert found == {circle for circle in wanted if len(circle) > 1}


def test_a_long_path_is_no_recursion() -> None:
    edges = {str(number): [str(number + 1)] for number in range(20_000)}
    assert cycles(edges) == []
    edges["20000"] = ["0"]
    (circle,) = cycles(edges)
    assert len(circle) == 20_001


def seen(**calls: int) -> Graph:
    return graph(ORDER, {(caller, domain): count for (caller, _, domain), count in ((name.partition("_"), n) for name, n in calls.items())})


def test_a_call_against_the_order_is_not_right_and_a_circle_neither() -> None:
    assert seen(review_item=5, item_user=2, review_review=9).ok
    against = seen(review_item=5, item_review=1)
    assert [(call.caller, call.domain, call.calls) for call in against.against] == [("item", "review", 1)]
    assert against.cycles == [["item", "review"]]
    assert not against.ok
    strangers = seen(a_b=1, b_a=1)
    assert (strangers.against, strangers.cycles, strangers.ok) == ([], [["a", "b"]], False)


def test_what_is_not_listed_closes_no_circle() -> None:
    """Who was called of it may be another than who calls."""
    assert seen(review_other=2, other_review=3).ok
    assert seen(review_other=2, other_item=3, search_other=1, other_search=1).cycles == []
    assert seen(review_other=2, other_item=3, review_item=5, item_review=1).cycles == [["item", "review"]]


def test_the_drawings_show_every_call() -> None:
    found = seen(review_item=1204, item_review=3, review_other=1, search_search=2)
    text = "\n".join(drawing.text(found))
    assert "AGAINST THE ORDER" in text
    assert "circle: item -> review -> item" in text
    assert text.index("search, review") < text.index("user"), "what everybody may call stands lowest"
    dot = drawing.dot(found)
    assert dot.count("label=") == len(found.calls)
    assert '"item" -> "review" [label="3", color="#c2410c", style=dashed' in dot
    root = ET.fromstring(drawing.svg(found))  # noqa: S314 - our own
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"user", "item", "search", "review", "other", "1,204", "3"} <= set(words)
    assert [node.get("stroke-dasharray") for node in root.iter("{http://www.w3.org/2000/svg}path")].count("6 4") == 1


def test_names_are_no_markup() -> None:
    odd = graph(ORDER, {('<b>"x"\\', "user"): 1})
    ET.fromstring(drawing.svg(odd))  # noqa: S314 - our own
    assert '"<b>\\"x\\"\\\\" -> "user"' in drawing.dot(odd)


ROUTES = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[domains]
order = ["user", "item", ["search", "review"]]
enforce = "off"
"""


def route(name: str, match: str, domain: str = "") -> str:
    return f'[[routes]]\nname = "{name}"\nmatch = "{match}"\ncandidate = "new"\n' + (f'domain = "{domain}"\n' if domain else "")


def test_a_route_says_where_it_belongs() -> None:
    good = route("a", "/api/v1/item/*") + route("b", "/reviews/*", "review") + route("c", "/api/v2/review/{id}", "review")
    good += route("i", "/api/{version}/review/*")
    bad = route("d", "/reviews/{id}") + route("e", "/api/v1/orders/*") + route("f", "/api/v1/user/*", "item") + route("g", "/api/v1/*")
    config = parse(Path("banyan.toml"), ROUTES + good + bad + route("h", "/api/v1/orders/{id}/lines", "item"))
    assert {fault.route: fault.why.partition(",")[0] for fault in lint(config, ORDER)} == {
        "d": "its path is not /api/{version}/{domain}/…",
        "e": "orders is not in the order",
        "f": "its path says user",
        "g": "its path is not /api/{version}/{domain}/…",
    }


def test_an_access_log_has_the_calls_of_services_alone() -> None:
    lines = [json.dumps({"route": "items", **more}).encode() for more in ({}, {"caller_domain": "review", "domain": "item"})]
    assert of_log([*lines, *lines, b'{"caller_domain": 3', b""]) == ({("review", "item"): 2}, 1)
