"""Which rules fit a signature, the narrowest first; and the ways in which requests are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from console.breakdown import MOST, Asked, breakdown, names, template
from console.fits import Fit, fits, unfit, whole
from console.statement import cut
from console.templatetags.review import linked, short, span, until
from shadow.batch import OTHER


def sample(*differences: tuple[str, str, Any, Any]) -> list[dict[str, Any]]:
    return [{"kind": kind, "path": path, "legacy": legacy, "candidate": candidate} for kind, path, legacy, candidate in differences]


def told(found: list[Fit]) -> list[str]:
    return [f"{each.kind} {each.path} {each.value}".rstrip() for each in found]


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([("2026-11-30T10:00:00Z", "2026-11-30T11:00:00+01:00")], "time $.a"),
        ([(10, 10.01), (20, 20.1)], "tolerance $.a 1 %"),
        ([(10, 10.01), (20, 40)], "ignore $.a"),  # too far apart to be called close
        ([("0f" * 16, "1e" * 16)], "pattern $.a [0-9a-f]{32}"),
        ([("0f" * 16, "no")], "ignore $.a"),
        ([("2026-11-30T10:00:00Z", "2026-11-30T10:00:01Z")], "ignore $.a"),
        ([(True, False)], "ignore $.a"),
        ([(1, 10**400)], "ignore $.a"),
        ([], "ignore $.a"),
    ],
)
def test_by_the_values_of_the_samples(values: list[tuple[Any, Any]], first: str) -> None:
    found = fits("value", "$.a", [sample(("value", "$.a", *pair), ("value", "$.b", 1, 2)) for pair in values])
    assert told(found)[0] == first
    assert told(found)[-1] == "ignore $.a", "it is always among them"


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("header", "cache-control", ["header cache-control"]),
        ("header", "set-cookie: theme", ["header set-cookie: theme"]),
        ("order", "$.tags", ["unordered $.tags", "key $.tags id", "ignore $.tags"]),
        ("missing", "$.a", ["ignore $.a"]),
        ("extra", "$.items[*]", ["ignore $.items[*]", "unordered $.items", "key $.items id"]),
        ("value", "$.by.{id}.n", ["ignore $.by.*.n"]),
        ("drift", "$.at text->null", ["drift $.at"]),
        ("null-rate", "$.at", ["drift $.at"]),
        ("status", "200->500", []),
        ("authorization", "200->403", []),
        ("unanswered", "timeout", []),
        ("inconclusive", "over_budget", []),
        ("body", "$", []),
        ("value", OTHER, []),
        ("value", "$." + "x" * 299, []),
        ("value", "$.by[*]." + "x" * 299, ["ignore $.by[*]"]),
        ("of-a-later-version", "$.a", []),
    ],
)
def test_by_the_kind(kind: str, path: str, expected: list[str]) -> None:
    found = fits(kind, path, [])
    assert told(found) == expected
    assert found or unfit(kind, path), "what fits nothing is told why"
    first = whole(kind, path)
    assert (first is not None) == bool(expected)
    assert first is None or (first.counted and first.rule is not None)


def test_requests_are_told_apart_by_what_they_have_in_common() -> None:
    found = breakdown(
        [
            Asked("GET", "/a/1?page=2&sort=x", 200, 200, "user"),
            Asked("GET", "/a/2?page=3", 200, 500, "nobody"),
            Asked("POST", "/a/3/b", 200, 0),
        ]
    )
    told = {each.title: [(part.label, part.count) for part in each.parts] for each in found}
    assert told["Method"] == [("GET", 2), ("POST", 1)]
    assert told["Path"] == [("/a/{id}", 2), ("/a/{id}/b", 1)]
    assert told["Statuses, legacy and candidate"] == [("200 → 200", 1), ("200 → 500", 1), ("200 → no answer", 1)]
    assert told["Query parameters"] == [("?page", 2), ("?sort", 1)]
    assert told["Caller"] == [("a known user", 1), ("nobody known", 1), ("not kept", 1)]
    assert breakdown([]) == []


def test_a_dimension_has_few_parts() -> None:
    (method, *_) = breakdown(Asked(f"M{number}", "/", 200, 200) for number in range(20))
    assert len(method.parts) == MOST + 1
    assert (method.parts[-1].label, method.parts[-1].count) == ("others", 20 - MOST)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/v1/reviews/7", "/api/v1/reviews/{id}"),
        ("/u/6f9619ff-8b86-d011-b42d-00c04fc964ff/x", "/u/{id}/x"),
        ("/t/redacted:0123456789abcdef", "/t/{id}"),
        ("/" + "x" * 100, "/{id}"),
        ("*", "*"),
        ("/a" * 40, "/a" * 11),
    ],
)
def test_templates(target: str, expected: str) -> None:
    assert template(target) == expected


def test_names_of_parameters() -> None:
    assert names("/a?x=1&y&%3Cb%3E=2") == {"?x", "?y", "?<b>"}
    assert names("/a") == set()


def test_a_cut_says_how_much_is_gone() -> None:
    assert (cut("abc", 3).text, cut("abc", 3).more) == ("abc", 0)
    assert (cut("abcd", 3).text, cut("abcd", 3).more) == ("abc", 1)
    hidden = cut("\u202e" * 10, 13)
    assert (hidden.text, hidden.more) == ("\\u202e" * 2, 8), "an escape is longer than what it stands for"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://t.test/a?b=1&c=2.", 'see <a href="https://t.test/a?b=1&amp;c=2" rel="noreferrer nofollow noopener">https://t.test/a?b=1&amp;c=2</a>.'),
        ("(http://t.test)", '(<a href="http://t.test" rel="noreferrer nofollow noopener">http://t.test</a>)'),
        ("javascript:alert(1) data:text/html,x", "javascript:alert(1) data:text/html,x"),
        ('https://t.test/"onclick=x', '<a href="https://t.test/" rel="noreferrer nofollow noopener">https://t.test/</a>&quot;onclick=x'),
        ("https://a@b.test/ https://", "https://a@b.test/ https://"),
        ("<b>https://t.test</b>", '&lt;b&gt;<a href="https://t.test" rel="noreferrer nofollow noopener">https://t.test</a>&lt;/b&gt;'),
        ("https://t.test\u202e/x", '<a href="https://t.test" rel="noreferrer nofollow noopener">https://t.test</a>\\u202e/x'),
    ],
)  # fmt: skip
def test_links(text: str, expected: str) -> None:
    assert linked(text) == expected


def test_lengths_of_time_and_of_text() -> None:
    assert [span(seconds) for seconds in (30, 90, 3600, 86400, 604800)] == ["30 s", "1.5 min", "1 h", "24 h", "7 d"]
    assert [until(seconds, 0.0) for seconds in (-5, 60, 7300, 300000)] == ["0 s", "60 s", "2 h", "3 d"]
    assert short("x" * 400) == "x" * 300 + " …"
