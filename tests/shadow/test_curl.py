"""A request can be asked again from a shell, and nothing in it is the shell's."""

import shlex

from shadow.curl import line


def test_a_line_is_what_was_asked() -> None:
    assert line("GET", "/a") == "curl --globoff --include http://GATEWAY/a"
    assert shlex.split(line("POST", "/a?b='$(x)`&c=\n"))[1:] == [
        "--globoff",
        "--include",
        "--request",
        "POST",
        "http://GATEWAY/a?b='$(x)`&c=%0A",
    ]
    assert "--head" in line("HEAD", "/a")
