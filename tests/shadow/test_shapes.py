"""Expressions that take linear time: they say what Python's say, and nothing makes them slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.shapes import MAX_PATTERN, MAX_TEXT, Shape, ShapeError

atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\.", "-", "[]a]", "[a\\]]"])
expressions = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=3).map("".join).map(lambda text: f"({text})")
        | st.tuples(inner, inner).map("|".join).map(lambda text: f"(?:{text})")
        | inner.map(lambda text: f"({text})*")
        | inner.map(lambda text: f"({text})+")
        | inner.map(lambda text: f"({text})?")
        | inner.map(lambda text: f"({text}){{2}}")
        | inner.map(lambda text: f"({text}){{1,3}}")
        | inner.map(lambda text: f"({text}){{2,}}")
    ),
    max_leaves=5,
)


@given(expressions.filter(lambda text: len(text) <= 60), st.lists(st.text(alphabet="ab1.-]\n", max_size=5), max_size=8))
def test_it_says_what_python_says(expression: str, texts: list[str]) -> None:
    shape = Shape(expression)
    for text in texts:
        assert shape.matches(text) == bool(re.fullmatch(expression, text)), (expression, text)


@pytest.mark.parametrize(
    ("expression", "yes", "no"),
    [
        ("^[0-9a-f]{8}$", ["0123abcd"], ["0123abc", "0123abcde", "0123ABCD", "0123abcd\n", ""]),
        ("ord_\\d{1,3}|none", ["ord_1", "ord_999", "none"], ["ord_", "ord_1000", "ord_1none"]),
        ("a\\$", ["a$"], ["a"]),
        ("", [""], ["a"]),
        ("é+", ["éé"], ["e"]),
    ],
)
def test_a_value_is_matched_as_a_whole(expression: str, yes: list[str], no: list[str]) -> None:
    shape = Shape(expression)
    assert [text for text in yes if not shape.matches(text)] == []
    assert [text for text in no if shape.matches(text)] == []


@pytest.mark.parametrize("expression", ["(a+)+b", "(a*)*b", "(a|a)*b", "(a?){60}a{60}", "a*a*a*a*a*a*a*a*b", "((a+)+)+b", "(.*)*(.*)*b"])
def test_what_would_take_python_for_ever(expression: str) -> None:
    shape = Shape(expression)
    assert not shape.matches("a" * (MAX_TEXT - 1) + "c")
    assert shape.matches("a" * 59 + "a" if "60" in expression else "a" * 200 + "b")
    assert not shape.matches("a" * MAX_TEXT + "b"), "too long to be looked at"


@pytest.mark.parametrize(
    "expression",
    ["(", ")", "a)", "[a", "[b-a]", "*", "a**", "a+?", "a{2}{3}", "a{x}", "a{5,2}", "(?=a)", "(?P<n>a)", "\\1", "\\b", "\\", "a^b", "a$b",
     "((a{99}){99}){99}", "a" * (MAX_PATTERN + 1), "(" * 100 + ")" * 99, "[[a]]"],
)  # fmt: skip
def test_what_is_no_such_expression(expression: str) -> None:
    with pytest.raises(ShapeError):
        Shape(expression)


def test_the_deepest_that_fits() -> None:
    assert Shape("(" * 99 + "a" + ")" * 99).matches("a")
