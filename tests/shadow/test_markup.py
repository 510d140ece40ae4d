"""HTML as a document: what means nothing is gone, what means something stays, and nothing makes it slow or fail."""

from __future__ import annotations

import json
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.markup import MAX_DEPTH, MarkupError, Node, parse

SAME = [
    ("<p>a<p>b", "<p>a</p><p>b</p>"),
    ("<ul><li>a<li>b</ul>", "<ul> <li>a</li> <li>b</li> </ul>"),
    ("<table><tr><td>1<td>2<tr><td>3</table>", "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>"),
    ("<br>", "<br/>"),
    ("<INPUT DISABLED value=a>", "<input value='a' disabled=''>"),
    ("<a title='&lt;'>&amp;</a>", '<a title="<">&#38;</a>'),
    ("<p>a<!-- b -->c", "<p>ac"),
    ("<p>a   b</p>", "<p>\n a\n b </p>"),
    ("<p class='x y'>", "<p class='y  x y'>"),
    ("<a b=1 b=2>", "<a b=1>"),
    ("<script>a</b</script >x", "<script>a</b</SCRIPT>x"),
    ("<!---->a", "a"),
]
OTHER = [
    ("<p>a", "<p>b"),
    ("<p>a", "<div>a"),
    ("<p>a", "a"),
    ("<p id=a>", "<p id=A>"),
    ("<p id=a>", "<p>"),
    ("<b>a</b> <b>b</b>", "<b>a</b><b>b</b>"),
    ("<pre>a  b</pre>", "<pre>a b</pre>"),
    ("<p>ab</p>", "<p>a b</p>"),
    ("<!doctype html>", ""),
    ("<script>if (a < b) {}</script>", "<script>if (a < c) {}</script>"),
    ("<script>&lt;</script>", "<script><</script>"),
    ("<textarea><b></textarea>", "<textarea></textarea>"),
    ("<p>a</p>b", "<p>a b</p>"),
    ("</p>", ""),
    ("<p", ""),
    ("a <b", "a <c"),
    ("<![CDATA[a]]>", "<![CDATA[b]]>"),
    ("1 < 2", "1 < 3"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_what_means_nothing(left: str, right: str) -> None:
    assert parse(left) == parse(right)


@pytest.mark.parametrize(("left", "right"), OTHER)
def test_what_means_something(left: str, right: str) -> None:
    assert parse(left) != parse(right)


def test_a_tree() -> None:
    assert parse("<!DOCTYPE html><p a=1>x <b>y</b>") == [
        "<!doctype html>",
        {"p": {"attributes": {"a": "1"}, "content": ["x ", {"b": {"attributes": {}, "content": ["y"]}}]}},
    ]


def test_too_deep_and_too_many() -> None:
    assert parse("<b>" * MAX_DEPTH)
    with pytest.raises(MarkupError, match="too_deep"):
        parse("<b>" * (MAX_DEPTH + 1))
    with pytest.raises(MarkupError, match="over_limit"):
        parse("<br>" * 100_001)


HOSTILE = [
    "<",
    "<a",
    "</",
    "</a",
    "<!",
    "<!--",
    "<?",
    "&",
    "&#",
    "<a b",
    "<a b='",
    "<a b=\"'",
    "<a \n",
    "<![CDATA[",
    "<a/",
    "<a =",
    "</a <",
]


@pytest.mark.parametrize("piece", [*HOSTILE, "<script></", "<textarea><", "<p></x>", "</p>", "<a '"])
def test_what_never_ends_is_read_once(piece: str) -> None:
    # The standard library's parser would take minutes for several of these, and the suite's own timeout would end it.
    assert parse(piece * (64 * 1024 // len(piece)) + "last") != []


@given(st.text(alphabet="<>/!-a b='\"&;p[]?", max_size=60))
def test_anything_is_read(text: str) -> None:
    json.dumps(parse(text))


names = st.sampled_from(["div", "span", "b", "section"])
texts = st.text(alphabet="abc<&>\"'", min_size=1, max_size=5)
nodes: st.SearchStrategy[Node] = st.recursive(
    texts,
    lambda inner: st.builds(
        lambda name, attributes, content: {name: {"attributes": attributes, "content": content}},
        names,
        st.dictionaries(st.sampled_from(["id", "title"]), st.text(alphabet="ab '\"<&", max_size=4), max_size=2),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


def written(node: Node) -> str:
    if isinstance(node, str):
        return escape(node)
    ((name, parts),) = node.items()
    attributes = "".join(f' {key}="{escape(str(value))}"' for key, value in dict(parts["attributes"]).items())
    return f"<{name}{attributes}>{''.join(map(written, list(parts['content'])))}</{name}>"  # type: ignore[arg-type]  # content, by its key


def joined(node: Node) -> Node:
    """Texts side by side are one text."""
    if isinstance(node, str):
        return node
    ((name, parts),) = node.items()
    content: list[Node] = []
    for each in map(joined, list(parts["content"])):  # type: ignore[arg-type]  # content, by its key
        if isinstance(each, str) and content and isinstance(content[-1], str):
            content[-1] += each
        else:
            content.append(each)
    return {name: {"attributes": dict(parts["attributes"]), "content": content}}  # type: ignore[dict-item]  # attributes, by their key


@given(nodes)
def test_what_is_written_is_read_back(node: Node) -> None:
    assert parse(written(node)) == [joined(node)]
