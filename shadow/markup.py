"""HTML as a document that can be compared: elements, attributes and text, without what means nothing.

An element is `{name: {"attributes": {…}, "content": […]}}`, so a place reads `$[1].html.content[0].body.content[2].form.attributes.action`
and a rule `$..input.attributes.value`. What means nothing: comments, the order of attributes and of classes, how an attribute is quoted,
the case of names, end tags that may be left out, and white space beyond one space (none at all beside blocks). White space in <pre>,
<textarea>, <script> and <style> stays.

This is not the tree that a browser builds (HTML Living Standard, section 13.2.6), which repairs far more: what it would repair is compared
about as it is written.
"""

from __future__ import annotations

import html
import re

type Node = str | dict[str, dict[str, dict[str, str] | list[Node]]]

MAX_NODES = 100_000
MAX_DEPTH = 60
"""Elements inside one another. Each costs the walk three levels of the 300 that Python's stack allows it."""

_VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"))
_RAW = frozenset(("script", "style", "xmp", "iframe", "noembed", "noframes"))
"""What they hold is text up to their end tag, without references."""
_ESCAPABLE = frozenset(("textarea", "title"))
"""The same, with references."""
_VERBATIM = frozenset(("pre", "textarea", "script", "style"))
_INLINE = frozenset((
    "a", "abbr", "b", "bdi", "bdo", "button", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "input", "ins", "kbd",
    "label", "mark", "meter", "output", "progress", "q", "s", "samp", "select", "small", "span", "strong", "sub", "sup", "textarea",
    "time", "tt", "u", "var",
))  # fmt: skip
"""Beside these, white space is seen. Everything else is taken for a block."""
_ENDS_P = frozenset((
    "address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
))  # fmt: skip
_CLOSED_BY = {
    "li": frozenset(("li",)),
    "dt": frozenset(("dt", "dd")),
    "dd": frozenset(("dt", "dd")),
    "option": frozenset(("option", "optgroup")),
    "tr": frozenset(("tr", "tbody", "tfoot")),
    "td": frozenset(("td", "th", "tr", "tbody", "tfoot")),
    "th": frozenset(("td", "th", "tr", "tbody", "tfoot")),
    "tbody": frozenset(("tbody", "tfoot")),
    "thead": frozenset(("tbody", "tfoot")),
    "p": _ENDS_P,
}
"""Elements whose end tag may be left out, and the start tags that end them (section 13.1.2.4)."""
_SPACE = re.compile(r"[ \t\n\f\r]+")
_TAG = re.compile(r"</?([A-Za-z][^ \t\n\f\r/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[ \t\n\f\r/]*+(?:(?P<end>>)|(?P<name>[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)"""
    r"""(?:[ \t\n\f\r]*+=[ \t\n\f\r]*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>(?!["'])[^ \t\n\f\r>]*+)))?)"""
)
"""The next attribute, or the end of the tag. Possessive throughout: what it does not take, it does not try again."""


class MarkupError(ValueError):
    """It can't be read as a tree. The argument is the note."""


def parse(text: str) -> list[Node]:
    """The nodes of an HTML document, or of a part of one.

    Raises:
        MarkupError: too many nodes, or too deep.
    """
    tree = _Tree()
    at = 0
    while (mark := text.find("<", at)) >= 0:
        tree.text(html.unescape(text[at:mark]))
        at = _tag(text, mark, tree)
    tree.text(html.unescape(text[at:]))
    return tree.finish()


def _tag(text: str, mark: int, tree: _Tree) -> int:
    """Takes what begins with the < at `mark`. Where it ends.

    The standard library's parser begins again at every < of a tag that never ends: 128 KiB of them take it minutes. Here what has no end
    takes all that is left, as it does in a browser, so no character is looked at more than a few times.
    """
    found = _TAG.match(text, mark)
    if found is not None:
        return _named(text, found, tree)
    if text.startswith("<!--", mark):
        end = text.find("-->", mark + 2)  # <!--> is a whole one
        if end < 0:
            tree.text(text[mark:])
        return end + 3 if end >= 0 else len(text)
    if text.startswith("<![CDATA[", mark):
        end = text.find("]]>", mark)
        tree.text(text[mark + 9 : end if end >= 0 else len(text)])
        return end + 3 if end >= 0 else len(text)
    if text.startswith(("<!", "<?", "</"), mark):
        end = text.find(">", mark)
        end = end + 1 if end >= 0 else len(text)
        tree.node(_SPACE.sub(" ", text[mark:end]).lower())
        return end
    tree.text("<")
    return mark + 1


def _named(text: str, tag: re.Match[str], tree: _Tree) -> int:
    """Takes a start tag or an end tag, and what a raw one holds."""
    name = tag[1].lower()
    attributes: dict[str, str] = {}
    at = tag.end()
    while True:
        found = _ATTRIBUTE.match(text, at)
        if found is None:  # it never ends: a browser shows nothing of it, but something is there
            tree.text(text[tag.start() :])
            return len(text)
        at = found.end()
        if found["end"]:
            break
        value = found["double"] or found["single"] or found["bare"] or ""
        attributes.setdefault(found["name"].lower(), html.unescape(value))  # the first of a name counts (section 13.2.5.33)
    if tag[0].startswith("</"):
        tree.end(name)
        return at
    closed = text[at - 2] == "/"
    tree.start(name, attributes, closed=closed)
    if closed or name not in _RAW | _ESCAPABLE:
        return at
    last = re.compile(f"</{name}(?=[ \\t\\n\\f\\r/>])", re.IGNORECASE).search(text, at)
    end = last.start() if last is not None else len(text)
    tree.text(text[at:end] if name in _RAW else html.unescape(text[at:end]))
    return end


class _Element:
    def __init__(self, name: str, verbatim: bool) -> None:
        self.name = name
        self.verbatim = verbatim
        self.content: list[Node] = []
        self.blocks: list[bool] = []
        """Of each node whether it is a block."""
        self.text: list[str] = []


class _Tree:
    """What is open, and what has been read of it."""

    def __init__(self) -> None:
        self._open = [_Element("", verbatim=False)]
        self._nodes = 0

    def start(self, name: str, attributes: dict[str, str], *, closed: bool) -> None:
        while name in _CLOSED_BY.get(self._open[-1].name, ()):
            _close(self._open.pop())
        if len(self._open) > MAX_DEPTH:
            raise MarkupError("too_deep")
        if "class" in attributes:
            attributes["class"] = " ".join(sorted(set(attributes["class"].split())))
        element = _Element(name, self._open[-1].verbatim or name in _VERBATIM)
        self.node({name: {"attributes": attributes, "content": element.content}}, block=name not in _INLINE)
        if not closed and name not in _VOID:
            self._open.append(element)

    def end(self, name: str) -> None:
        if any(element.name == name for element in self._open):
            while self._open[-1].name != name:
                _close(self._open.pop())
            _close(self._open.pop())
        else:
            self.node(f"</{name}>")  # a browser makes something of </p> and </br>

    def text(self, text: str) -> None:
        if text:
            self._open[-1].text.append(text)

    def node(self, node: Node, *, block: bool = True) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise MarkupError("over_limit")
        parent = self._open[-1]
        _flush(parent)
        parent.content.append(node)
        parent.blocks.append(block)

    def finish(self) -> list[Node]:
        while len(self._open) > 1:
            _close(self._open.pop())
        _close(self._open[0])
        return self._open[0].content


def _flush(element: _Element) -> None:
    """Puts the text so far into its place."""
    if element.text:
        text = "".join(element.text)
        element.text.clear()
        element.content.append(text if element.verbatim else _SPACE.sub(" ", text))
        element.blocks.append(False)


def _close(element: _Element) -> None:
    """Takes away the white space that nobody sees: at a block's edges, and beside blocks."""
    _flush(element)
    if element.verbatim:
        return
    edge = element.name not in _INLINE
    nodes, last = element.content, len(element.content) - 1
    kept: list[Node] = []
    for index, node in enumerate(nodes):
        shown = node
        if isinstance(shown, str):
            if element.blocks[index - 1] if index else edge:
                shown = shown.removeprefix(" ")
            if element.blocks[index + 1] if index < last else edge:
                shown = shown.removesuffix(" ")
        if shown:
            kept.append(shown)
    nodes[:] = kept
