"""Which route a path meets, and which paths no candidate ever gets."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.routing import AmbiguousPathError, Pattern, Rewrite, Table, _segments

TABLE = Table(
    [
        Pattern("reviews", "/api/v1/reviews/*"),
        Pattern("one-review", "/api/v1/reviews/{id}"),
        Pattern("summary", "/api/v1/reviews/summary"),
        Pattern("write", "/api/v1/reviews/{id}", frozenset({"POST", "PUT"})),
        Pattern("items", "/api/v1/items/{id}/photos/*"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", b"/api/v1/reviews/", "reviews"),
        ("GET", b"/api/v1/reviews/3", "one-review"),
        ("POST", b"/api/v1/reviews/3", "write"),
        ("DELETE", b"/api/v1/reviews/3", "one-review"),
        ("GET", b"/api/v1/reviews/summary", "summary"),
        ("GET", b"/api/v1/reviews/summary/9", "reviews"),
        ("GET", b"/api/v1/reviews/3/photos/1", "reviews"),
        ("GET", b"/api/v1/reviews", None),
        ("GET", b"/api/v1/reviewsx/3", None),
        ("GET", b"/API/v1/reviews/3", None),
        ("GET", b"/api/v1/items/4/photos/", "items"),
        ("GET", b"/api/v1/items/4/photos", None),
        ("GET", b"/api/v1/items//photos/1", None),
        ("GET", b"/", None),
        ("OPTIONS", b"*", None),
        ("GET", b"/api/v1/reviews/caf%C3%A9", "one-review"),
        ("GET", b"/api/v1/reviews/a%20b", "one-review"),
    ],
)
def test_the_most_specific_pattern_wins(method: str, path: bytes, route: str | None) -> None:
    assert TABLE.match(method, path) == route


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/reviews/../items/4/photos/1",
        b"/api/v1/reviews/%2e%2e/items/4/photos/1",
        b"/api/v1/reviews/%252e%252e/orders",
        b"/api/v1/reviews/..%2forders",
        b"/api/v1/reviews/..%5corders",
        b"/api/v1/reviews/..\\orders",
        b"/api/v1/reviews/;..%5c..%5corders",
        b"/api/v1/reviews/..;x=1%5corders",
        b"/api/v1/reviews/%25252e%2e/orders",
        b"/api/v1/reviews/%" + b"25" * 60 + b"41",
        b"/api/v1/reviews/%41" + b"a" * 2048,
        b"/api/v1//reviews/3",
        b"//api/v1/reviews/3",
        b"/api/v1/%72eviews/3",
        b"/api/v1/./reviews/3",
        b"/api/v1/x/../reviews/3",
        b"/api/v1/reviews%2f3",
        b"/api/v1/reviews/3%2fphotos",
        b"/api/v1/reviews;x/3",
        b"/api/v1/reviews/summary;x",
        b"/api/v1/reviews/..;/orders",
        b"/api/v1/reviews/..",
    ],
)
def test_a_path_that_decodes_to_another_route_is_ambiguous(path: bytes) -> None:
    with pytest.raises(AmbiguousPathError):
        TABLE.match("GET", path)


@given(
    st.lists(
        st.sampled_from([b"api", b"v1", b"reviews", b"3", b"", b".", b"..", b"%2e", b"%2f", b"a;b", b"\\", b"%00", b"%zz"]), max_size=8
    )
)
def test_whatever_matches_stays_itself_when_decoded(segments: list[bytes]) -> None:
    from urllib.parse import unquote_to_bytes

    path = b"/" + b"/".join(segments)
    try:
        route = TABLE.match("GET", path)
    except AmbiguousPathError:
        return
    decoded = unquote_to_bytes(path)
    try:
        assert TABLE.match("GET", decoded) == route
    except AmbiguousPathError:
        pytest.fail(f"{path!r} met {route}, but {decoded!r} is ambiguous")


@pytest.mark.parametrize(
    ("match", "rewrite", "target", "expected"),
    [
        ("/api/v1/reviews/*", "/reviews/*", b"/api/v1/reviews/3?page=2", b"/reviews/3?page=2"),
        ("/api/v1/reviews/*", "/reviews/*", b"/api/v1/reviews/", b"/reviews/"),
        ("/api/{version}/items/{id}", "/{id}/of/{version}", b"/api/v2/items/9?x=/a", b"/9/of/v2?x=/a"),
        ("/api/v1/reviews/*", "/fixed", b"/api/v1/reviews/3?q", b"/fixed?q"),
        ("/a/{x}/*", "/b/*", b"/a/1/2/3", b"/b/2/3"),
        ("/a.b/*", "/c/*", b"/axb/1", b"/axb/1"),
    ],
)
def test_rewrite(match: str, rewrite: str, target: bytes, expected: bytes) -> None:
    assert Rewrite(match, rewrite)(target) == expected


@given(
    st.lists(st.sampled_from([b"/", b"/", b".", b"a", b"%", b"\\", b";", b"\xff", b"*"]), max_size=8).map(b"".join),
    st.sampled_from([b"", b"/" + b"a" * 60, b"b" * 64]),
)
def test_a_path_is_tidy_where_nothing_in_it_could_be_decoded_to_another(path: bytes, before: bytes) -> None:
    path = before + path
    assert _segments(path) == (path.split(b"/"), re.search(rb"%|//|/\.|\\|;", path) is None)
