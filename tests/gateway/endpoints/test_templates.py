"""What is learned of paths: names, parameters, and how little of it is kept."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.endpoints.templates import FORGET_SECONDS, NODES, PENDING, SEEN, Templates, _below, _Node, _size


def taught(*paths: str, templates: Templates | None = None, times: int = SEEN) -> Templates:
    templates = templates or Templates()
    for _ in range(times):
        for path in paths:
            templates.learn(path.encode(), True, 0.0)
    return templates


def held(templates: Templates) -> set[str]:
    """Every literal that is in memory."""
    found: set[str] = set()
    todo = [templates._root]
    while todo:
        node = todo.pop()
        found |= {word.decode() for word in node.children}
        todo += _below(node)
    return found


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/v1/reviews/381", "/api/v1/reviews/{id}"),
        ("/api/v1/items/381/reviews/", "/api/v1/items/{id}/reviews/"),
        ("/", "/"),
        ("/users/ana@example.org/orders/2026-05-06", "/users/{email}/orders/{date}"),
        ("*", "*"),
        ("http://other.example/x", "*"),
        ("/" + "/".join("abcdefghijklmnop"), "/a/b/c/d/e/f/g/h/i/j/k/l/*"),
        ("/api//x", "/api//x"),
    ],
)
def test_templates_are_named_once_they_were_met_often_enough(path: str, template: str) -> None:
    templates = Templates()
    found = [templates.learn(path.encode(), True, 0.0) for _ in range(SEEN)]
    assert found[-1] == template
    if "api" in path:
        assert "api" not in found[0], "a word that was met once is kept by nobody"


def test_a_long_path_is_looked_into_as_far_as_it_is_short() -> None:
    templates = Templates()
    for _ in range(SEEN):
        found = templates.learn(b"/api/" + b"x/" * 3000, True, 0.0)
    assert found.endswith("/*")
    assert len(found) < 40


def test_a_place_with_many_words_is_a_parameter() -> None:
    templates = Templates(most=10)
    slugs = [
        f"/products/{word}/reviews" for word in ("red", "blue", "green", "pink", "black", "white", "grey", "brown", "gold", "teal", "lime")
    ]
    before = [taught(slug, templates=templates).learn(slug.encode(), True, 0.0) for slug in slugs[:10]]
    assert before == slugs[:10]
    version = templates.version
    taught(slugs[10], templates=templates)
    assert templates.version > version
    assert {templates.learn(slug.encode(), True, 0.0) for slug in slugs} == {"/products/{…}/reviews"}
    assert {templates.generalised(slug) for slug in before} == {"/products/{…}/reviews"}
    assert held(templates) == {"products", "reviews"}


def test_what_a_route_names_stays_a_word() -> None:
    templates = Templates(["/products/search/*", "/products/{slug}/reviews"], most=3)
    taught("/products/search/shoes", templates=templates)
    for slug in ("red", "blue", "green", "pink", "black"):
        taught(f"/products/{slug}", templates=templates)
    assert templates.learn(b"/products/search/shoes", True, 0.0) == "/products/search/shoes"
    assert templates.learn(b"/products/pink", True, 0.0) == "/products/{…}"
    assert templates.generalised("/products/search/shoes") == "/products/search/shoes"


def test_words_that_each_come_once_are_no_words() -> None:
    templates = taught("/blog/archive", "/blog/one/comments")
    chance = random.Random(1)  # the same ones each time
    for _ in range(2000):
        slug = "-".join(chance.choices(["rain", "snow", "wind", "fog", "sun", "storm", "hail", "heat", "frost", "cloud"], k=4))
        assert templates.learn(f"/blog/{slug}/comments".encode(), True, 0.0) in (
            "/blog/{…}/comments",
            "/blog/{…}/{…}",
            f"/blog/{slug}/comments",
        )
    assert templates.learn(b"/blog/archive", True, 0.0) == "/blog/archive"


def test_what_answers_404_teaches_nothing() -> None:
    templates = taught("/api/v1/reviews/1")
    size = templates.size
    for word in ("wp-login.php", "phpmyadmin", "admin", "backup"):
        for _ in range(50):
            assert templates.learn(f"/{word}/setup".encode(), False, 0.0) == "/*"
            assert templates.learn(f"/api/{word}".encode(), False, 0.0) == "/api/*"
    assert templates.learn(b"/api/v1/reviews/999", False, 0.0) == "/api/v1/reviews/{id}"
    assert templates.size == size
    assert not held(templates) & {"phpmyadmin", "admin", "backup"}


SECRETS = [
    "/reset/sunflower",
    "/reset/MQ/moonlight",
    "/webhooks/T024BE7LD/sunrise",
    "/reset/MTIz-c5x9h2-0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "/invite/k3j9x2pq",
    "/share/AbCdEfGhIjKlMnOpQrSt",
    "/u/ana@example.org/photos",
    "/hooks/T024BE7LD/B0F3KSW2R/Xk3jQ9dGhpc2lzYXNlY3JldA",
    "/files/sk_live_abcdefghijkl/x.pdf",
    "/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/x",
    "/api;jsessionid=0a1b2c3d/items",
    "/users/alice/orders",
]


def test_secrets_are_never_kept_however_often_they_come() -> None:
    templates = taught(*SECRETS, times=50)
    words = held(templates)
    assert words <= {
        "reset",
        "invite",
        "share",
        "u",
        "photos",
        "hooks",
        "files",
        "x.pdf",
        "t",
        "x",
        "items",
        "users",
        "orders",
        "webhooks",
        "",
    }
    for path in SECRETS:
        assert "{" in templates.learn(path.encode(), True, 0.0)


def test_what_was_not_met_for_a_day_makes_room() -> None:
    templates = Templates(most=5, nodes=30)
    old = [f"/old/{word}" for word in ("red", "blue", "green", "pink", "black")]
    taught(*old, templates=templates)
    later = FORGET_SECONDS + 1.0
    for _ in range(SEEN):
        templates.learn(b"/old/pink", True, later)
    for _ in range(SEEN):
        templates.learn(b"/old/white", True, later + 1)
    assert templates.learn(b"/old/white", True, later + 1) == "/old/white", "no parameter: the others are gone"
    assert held(templates) == {"old", "pink", "white"}


def test_a_million_paths_take_no_more_room_than_some() -> None:
    templates = taught("/api/v1/items/1")
    chance = random.Random(3)  # the same ones each time
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(1_000_000 // 8):  # each eighth of what a million would try; the bound does not depend on how many
        word = "".join(chance.choices(letters, k=4))
        other = "".join(chance.choices(letters, k=3))
        templates.learn(f"/{word}/{other}/{number}/{word}".encode(), True, number * 0.001)
    assert templates.size == _size(templates._root) <= NODES
    assert len(templates._pending) <= PENDING
    assert templates.learn(b"/api/v1/items/2", True, 1000.0) in ("/api/v1/items/{id}", "/{…}/v1/items/{id}")
    nodes = list(walk(templates))
    assert sum(sys.getsizeof(part) for node in nodes for part in (node, node.children, node.values)) < 8 * 1024 * 1024


def walk(templates: Templates) -> Iterable[_Node]:
    todo = [templates._root]
    while todo:
        node = todo.pop()
        yield node
        todo += _below(node)


PATHS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["api", "red", "blue", "7", "381", "x@y.org", "", "tea", "sky"]), max_size=4).map("/".join), st.booleans()
    ),
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(PATHS, st.integers(1, 4), st.integers(2, 30))
def test_a_literal_is_counted_too_rarely_at_most_and_by_no_more_than_is_said(seen: list[tuple[str, bool]], most: int, nodes: int) -> None:
    templates = Templates(most=most, nodes=nodes)
    found: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for path, known in seen:
        found[templates.learn(f"/{path}".encode(), known, 0.0)] += 1
        true[f"/{path}"] += 1
    assert sum(found.values()) == len(seen)
    assert templates.size == _size(templates._root) <= nodes + 1  # the node with which a place becomes a parameter
    for template, count in found.items():
        if "{" not in template and "*" not in template:
            assert count <= true[template]
    ample = Templates()
    named = Counter(ample.learn(f"/{path}".encode(), True, 0.0) for path, _ in seen)
    for path, count in true.items():
        if not any(part in ("7", "381", "x@y.org") for part in path.split("/")):
            assert named[path] >= count - (SEEN - 1), "with room for all, all that is missing is what it was learned by"


@settings(max_examples=100, deadline=None)
@given(PATHS, PATHS, st.integers(1, 4))
def test_what_two_have_learned_is_what_one_would_know(one: list[tuple[str, bool]], two: list[tuple[str, bool]], most: int) -> None:
    first, second = Templates(most=most), Templates(most=most)
    for templates, seen in ((first, one), (second, two)):
        for path, known in seen:
            templates.learn(f"/{path}".encode(), known, 0.0)
    words = held(first) | held(second)
    first.merge(second)
    assert first.size == _size(first._root)
    assert held(first) <= words
    for node in walk(first):
        assert len(node.children) <= most
    for path, _ in (*one, *two):
        template = first.learn(f"/{path}".encode(), False, 0.0)
        assert first.generalised(template) == template
