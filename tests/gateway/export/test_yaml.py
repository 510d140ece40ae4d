"""What is written as YAML is read as what it was, by a reader of YAML."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.export.yaml import written

ruamel = pytest.importorskip("ruamel.yaml")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.integers(0, 10**6).map(lambda number: number / 10**4),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    st.sampled_from(
        ["no", "Yes", "on", "null", "1.20", "0x1", "5s", "- a", "a: b", "#", "a #b", "~", "", "*", "&a", "@type", "1e3", "12:30", "y", "N"]
    ),
)
KEYS = st.one_of(st.from_regex(r"[a-zA-Z_@:.-]{1,8}", fullmatch=True), st.sampled_from(["no", "1", "a b", "on"]))
VALUES: Any = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=12
)


@given(st.lists(VALUES, min_size=1, max_size=3))
def test_a_reader_reads_what_was_written(documents: list[Any]) -> None:
    text = written(documents, ["made by a test", "- of it"])
    assert list(ruamel.YAML(typ="safe", pure=True).load_all(StringIO(text))) == documents
