"""Path patterns and signatures."""

from __future__ import annotations

import pytest

from shadow.compare import Difference, Kind
from shadow.paths import Path, Pattern, PatternError, render
from shadow.signature import MAX_PATH, generalise, signature, signatures


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("$", (), True),
        ("$", ("a",), False),
        ("$.a", ("a",), True),
        ("$.a", ("ab",), False),
        ("$.a.b", ("a", "b"), True),
        ("$.a", ("a", "b"), False),
        ("$.items[*].id", ("items", 7, "id"), True),
        ("$.items[*].id", ("items", "7", "identity"), False),
        ("$.items[0]", ("items", 0), True),
        ("$.items[0]", ("items", 1), False),
        ("$..password", ("password",), True),
        ("$..password", ("a", 3, "b", "password"), True),
        ("$..password", ("a", "password", "b"), False),
        ("$..a.b", ("a", "a", "b"), True),
        ("$..a..b", ("x", "a", "y", "b"), True),
        ("$..*", ("x", "y"), True),
        ("$.a.*", ("a", "anything"), True),
        ('$["a.b"]', ("a.b",), True),
        ("$['a b'].c", ("a b", "c"), True),
        ('$["a\\"b"]', ('a"b',), True),
        ("$.with-dash", ("with-dash",), True),
    ],
)
def test_patterns(pattern: str, path: Path, expected: bool) -> None:
    assert Pattern.parse(pattern).matches(path) is expected


@pytest.mark.parametrize("text", ["", "a", ".a", "$a", "$.", "$..", "$.a.", "$[", "$[a]", "$[-1]", "$.a b", "$...a", '$["a]', "$.a\n"])
def test_what_is_no_pattern_says_so(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern.parse(text)
    assert repr(text) in str(caught.value)


def test_a_long_path_is_matched_in_linear_time() -> None:
    assert not Pattern.parse("$" + "..a" * 12).matches(("a",) * 90 + ("b",))


@pytest.mark.parametrize("path", ["$", "$.a[0].b", '$["a b"][1]', '$["a\\"b"]', '$["1"]'])
def test_a_rendered_path_is_its_own_pattern(path: str) -> None:
    segments = tuple(step for step in Pattern.parse(path).steps if isinstance(step, str | int))
    assert render(segments) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.items[3].price", "$.items[*].price"),
        ("$[0][1]", "$[*][*]"),
        ('$.prices["42"].net', "$.prices.{id}.net"),
        ("$.by_hash.deadbeefdeadbeefdeadbeef", "$.by_hash.{id}"),
        ('$["550e8400-e29b-41d4-a716-446655440000"].y', "$.{id}.y"),
        ("$.a550e8400.facade", "$.a550e8400.facade"),
        ("$.f50e8400-e29b-41d4-a716-446655440000", "$.{id}"),
        ("$.deadbeefdeadbeefdeadbeef_count", "$.deadbeefdeadbeefdeadbeef_count"),
    ],
)
def test_signatures_leave_out_what_changes_with_every_request(path: str, expected: str) -> None:
    assert generalise(path) == expected


def test_a_list_full_of_one_fault_is_one_signature() -> None:
    many = [Difference(Kind.TYPE, f"$.items[{index}].id", index, str(index)) for index in range(30)]
    assert list(signatures(many)) == [(Kind.TYPE, "$.items[*].id")]
    assert signature(Difference(Kind.STATUS, "404->200")) == (Kind.STATUS, "404->200")
    assert len(signature(Difference(Kind.EXTRA, "$." + "x" * 5000))[1]) == MAX_PATH
