"""The first of the sorted expressions that matches a request is the route that the gateway's table finds."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.export import paths
from gateway.policy.routing import AmbiguousPathError, Pattern, Rewrite, Table

SEGMENTS = st.sampled_from(["a", "b", "ab", "a.b", "A", "{x}", "{y}", "(", "[a]", "a+b", "~", '"', "$^", "a|b", "!"])
METHODS = st.sampled_from([(), (), ("GET",), ("GET", "HEAD"), ("POST",)])
ENDS = st.sampled_from([[], ["*"], [""]])
MATCH = st.builds(lambda segments, end: "/" + "/".join([*segments, *end]), st.lists(SEGMENTS, max_size=3), ENDS)
TIDY = ["a", "b", "ab", "a.b", "A", "axb", "(", "[a]", "a+b", "aab", "~", '"', "$^", "a|b", "!", "c", "", "~user", "a:b", "x=1", "a.", "'"]
UNTIDY = [".", "..", ".a", "%61", "%2f", "a%2Fb", "a;b", ";", "%zz", "%C3%A9", "\\"]
PATH = st.builds(lambda parts: "/" + "/".join(parts), st.lists(st.sampled_from(TIDY), max_size=5))
ODD = st.builds(lambda parts: "/" + "/".join(parts), st.lists(st.sampled_from(TIDY + UNTIDY), max_size=5))
REQUEST = st.sampled_from(["GET", "HEAD", "POST", "DELETE"])


def table(routes: list[tuple[str, tuple[str, ...]]]) -> tuple[Table, list[tuple[str, str, tuple[str, ...]]]]:
    """The gateway's, and what a proxy tries: (name, expression, methods)."""
    known: dict[tuple[str, str], int] = {}
    patterns = []
    for number, (match, methods) in enumerate(routes):
        keys = [(method, re.sub(r"\{\w+\}", "{}", match)) for method in methods or ("*",)]
        if any(key in known for key in keys):
            continue  # the configuration refuses it
        known |= dict.fromkeys(keys, number)
        patterns.append(Pattern(str(number), match, frozenset(methods)))
    ordered = sorted(patterns, key=lambda pattern: paths.order(pattern.match, pattern.methods))
    return Table(patterns), [(each.name, paths.expression(each.match), tuple(each.methods)) for each in ordered]


def first(tried: list[tuple[str, str, tuple[str, ...]]], method: str, path: str) -> str | None:
    for name, expression, methods in tried:
        if re.fullmatch(expression, path) and (not methods or re.fullmatch(paths.either(methods), method)):
            return name
    return None


ROUTES = st.lists(st.tuples(MATCH, METHODS), max_size=6)


@given(ROUTES, REQUEST, PATH)
def test_a_tidy_path_meets_the_same_route(routes: list[tuple[str, tuple[str, ...]]], method: str, path: str) -> None:
    assume("//" not in path and "/." not in path)
    gateway, proxy = table(routes)
    assert first(proxy, method, path) == gateway.match(method, path.encode())


@given(ROUTES, REQUEST, ODD)
def test_what_is_not_tidy_meets_the_same_route_or_none(routes: list[tuple[str, tuple[str, ...]]], method: str, path: str) -> None:
    gateway, proxy = table(routes)
    found = first(proxy, method, path)
    if found is not None:
        assert gateway.match(method, path.encode()) == found


@given(ROUTES.filter(bool), REQUEST, st.data())
def test_nor_does_what_fits_a_route_as_it_stands(routes: list[tuple[str, tuple[str, ...]]], method: str, data: st.DataObject) -> None:
    gateway, proxy = table(routes)
    any_of = st.sampled_from(TIDY + UNTIDY)
    filled = re.sub(r"\{\w+\}", lambda _: data.draw(any_of), data.draw(st.sampled_from(routes))[0])
    path = filled.removesuffix("*") + ("/".join(data.draw(st.lists(any_of, max_size=4))) if filled.endswith("*") else "")
    found = first(proxy, method, path)
    if found is not None:
        assert not re.search(r"[%;\\]|/[/.]", path), "what is not tidy may be another's, by how often it is decoded"
        assert gateway.match(method, path.encode()) == found
    elif not re.search(r"[%;\\]|/[/.]", path):
        assert gateway.match(method, path.encode()) is None


@given(ROUTES, REQUEST, st.text(st.characters(max_codepoint=255), max_size=12))
def test_nor_does_any_other_text(routes: list[tuple[str, tuple[str, ...]]], method: str, text: str) -> None:
    gateway, proxy = table(routes)
    found = first(proxy, method, "/" + text)
    try:
        known = gateway.match(method, ("/" + text).encode("latin-1"))
    except AmbiguousPathError:
        known = None
    assert found in (None, known)


@pytest.mark.parametrize("byte", range(256))
def test_a_segment_may_hold_what_a_target_may(byte: int) -> None:
    path = f"/a/x{chr(byte)}y"
    found = re.fullmatch(paths.expression("/a/{x}"), path) is not None
    target = re.fullmatch(rb"[\x21\x22\x24-\x5b\x5d-\x7e]", bytes([byte])) is not None
    assert found is (target and chr(byte) not in "%;?/")


@given(MATCH, st.data())
def test_rewritten_paths_are_the_gateways(match: str, data: st.DataObject) -> None:
    names = re.findall(r"\{\w+\}", match)
    parts = data.draw(st.lists(st.sampled_from([*names, "new", "a.b", "$1"]), max_size=3))
    rewrite = "/" + "/".join([*parts, *(["*"] if match.endswith("*") and data.draw(st.booleans()) else [])])
    filled = re.sub(r"\{\w+\}", lambda _: data.draw(st.sampled_from(["1", "x.y", "~u"])), match)
    path = filled.removesuffix("*") + (data.draw(st.sampled_from(["", "z", "z/9/"])) if match.endswith("*") else "")
    groups = re.compile(paths.expression(match, groups=True))
    assert re.fullmatch(paths.expression(match), path)
    substitution = paths.substitution(match, rewrite)
    assert groups.sub(substitution, path) == Rewrite(match, rewrite)(path.encode()).decode()


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("/api/v1/reviews/*", ""),
        ("/", ""),
        ("/a/{x}/", ""),
        ("/.well-known/security.txt", ""),
        ("/.well-known/*", "begins with a dot"),
        ("/a//b", "//"),
        ("/a;b/*", "holds what never comes"),
        ("/caf\u00e9", "holds what never comes"),
        ("/a b", "holds what never comes"),
        ("/a\\b", "holds what never comes"),
    ],
)
def test_what_no_expression_means(match: str, why: str) -> None:
    found = paths.unsayable(match)
    assert why in found
    assert bool(why) is bool(found)


def test_a_dotted_text_is_matched_as_the_gateway_does() -> None:
    gateway, proxy = table([("/.well-known/security.txt", ())])
    for path in ("/.well-known/security.txt", "/.well-known/securityXtxt", "/.well-known/", "/x/../.well-known/security.txt"):
        try:
            known = gateway.match("GET", path.encode())
        except AmbiguousPathError:
            known = None
        assert first(proxy, "GET", path) == known
    assert first(proxy, "GET", "/.well-known/security.txt") == "0"


@given(MATCH, PATH)
def test_of_tidy_paths_a_route_that_stays_keeps_its_own(match: str, path: str) -> None:
    assume("//" not in path and "/." not in path)
    assert bool(re.fullmatch(paths.loosely(match), path)) is bool(re.fullmatch(paths.expression(match), path))


UNTIDY_PATHS = ["/a//", "/a//b", "/a/b//c", "/a/b//", "/a/.", "/a/..", "/a/b/..", "/a/b/../..", "/a/.b", "/a/b/.c", "/a/b;c", "/a/%62"]


@pytest.mark.parametrize("path", UNTIDY_PATHS)
def test_no_expression_matches_what_is_not_tidy(path: str) -> None:
    for match in ("/a/*", "/a/{x}", "/a/{x}/*", "/a/b/*", "/{x}/*", "/*"):
        assert not re.fullmatch(paths.expression(match), path)
        assert not re.fullmatch(paths.expression(match, groups=True), path)


@pytest.mark.parametrize(("path", "met"), [("/a/", True), ("/a/b", True), ("/a/b/", True), ("/a/b/c", True), ("/a", False), ("/ab", False)])
def test_a_star_stands_for_nothing_or_whole_segments(path: str, met: bool) -> None:
    assert bool(re.fullmatch(paths.expression("/a/*"), path)) is met
