"""What is configured is gone, and what was equal is equal still."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.exchange import Answer
from shadow.normalise import Form, Message, joined, read
from shadow.paths import PatternError
from shadow.redact import MAX_SOUNDING, Redactor, load_key

KEY = bytes(range(32))
RULES = ["authorization", "Set-Cookie", "$..password", "$.user.email", "$.cards[*]"]


def redacted(body: bytes, head: bytes = b"Content-Type: application/json\r\n", rules: list[str] = RULES, key: bytes = KEY) -> Message:
    return Redactor(rules, key).message(read(Answer("legacy", "legacy", 200, head, body, 0.0)))


def value(document: Any, **more: Any) -> Any:
    return redacted(json.dumps(document).encode(), **more).body.value


def test_named_places_are_hashed_and_nothing_else() -> None:
    document = {
        "password": "hunter2",
        "user": {"email": "a@b.c", "name": "A"},
        "deep": [{"Password": {"old": "x"}}],
        "email": "stays",
        "cards": ["4111", "4222"],
    }
    message = redacted(json.dumps(document).encode())
    result: Any = message.body.value
    assert result["user"]["name"] == "A"
    assert result["email"] == "stays"
    hashed = [result["password"], result["user"]["email"], result["deep"][0]["Password"], *result["cards"]]
    assert all(item.startswith("redacted:") and len(item) == 25 for item in hashed)
    assert len(set(hashed)) == len(hashed)
    for stored in (message.body.text, message.body.data.decode()):
        assert stored is not None
        assert not any(secret in stored for secret in ("hunter2", "a@b.c", "4111", "4222", '"x"'))


def test_equal_still_means_equal() -> None:
    assert value({"password": 1}) == value({"password": 1.0})
    assert value({"password": {"a": 1, "b": 2}}) == value({"password": {"b": 2, "a": 1}})
    assert value({"password": "1"}) != value({"password": 1})
    assert value({"password": None}) == {"password": None}
    assert value({"password": "x"}) != value({"password": "x"}, key=bytes(32))


def test_an_untouched_body_keeps_its_bytes() -> None:
    body = b'{ "a" : 1.50 }'
    assert (redacted(body).body.data, redacted(body).body.text) == (body, body.decode())


def test_a_name_cannot_hide_behind_escapes() -> None:
    assert "secret" not in repr(redacted(rb'{"\u0070assword": "secret"}'))
    assert "secret" not in repr(redacted(rb'{"PASS\u0057ORD": ["secret"]}'))
    assert redacted(b'{"a": 1}', rules=["$"]).body.value != {"a": 1}


def test_headers() -> None:
    message = redacted(
        b"", b"Set-Cookie: a=secret\r\nAUTHORIZATION: Basic secret\r\nX-Other: fine\r\nLocation: /next?password=secret&a=1\r\n"
    )
    assert "secret" not in repr(message)
    assert joined(message.headers, "set-cookie") == f"a={Redactor(RULES, KEY).hash('secret')}"
    assert joined(message.headers, "x-other") == "fine"
    assert joined(message.headers, "location") == f"/next?password={Redactor(RULES, KEY).hash('secret')}&a=1"


@pytest.mark.parametrize("line", [b"secret", b"secret; Path=/", b"a=secret; Path=/; HttpOnly", b"a = secret"])
def test_a_cookie_loses_its_value_and_keeps_its_attributes(line: bytes) -> None:
    value = joined(redacted(b"", b"Set-Cookie: " + line + b"\r\n").headers, "set-cookie") or ""
    assert "secret" not in value
    assert "redacted:" in value
    assert value.partition(";")[2] == (line.decode().partition(";")[2] if b"=secret" in line else "")


def test_query_strings() -> None:
    redactor = Redactor(RULES, KEY)
    assert redactor.target("/a?b=%2F&c") == "/a?b=%2F&c"
    assert redactor.target("/password") == "/password"
    target = redactor.target("/a?email=me%40x&b=1&PASSWORD=p")
    assert "me" not in target
    assert target.count("redacted:") == 2
    assert target.endswith(f"&b=1&PASSWORD={redactor.hash('p')}")


def test_forms() -> None:
    message = redacted(b"name=x&password=secret&email=", b"Content-Type: application/x-www-form-urlencoded\r\n")
    assert message.body.form is Form.FORM
    assert "secret" not in repr(message)
    assert "name=x" in (message.body.text or "")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Type: application/json\r\n", b'{"password": "secret"'),
        (b"Content-Type: application/json\r\n", b'{"password": "secret", "password": "secret"}'),
        (b"Content-Type: application/json\r\n", b'{"password": "secret", "a": NaN}'),
        (b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b'{"password": "secret"}'),
        (b"Content-Type: text/html\r\n", b"<input name=password value=secret>"),
        (b"Content-Type: application/octet-stream\r\n", b"password secret"),
        (b"Content-Type: application/x-www-form-urlencoded\r\n", b"password=secret\xff"),
        (b"", b"password: secret"),
    ],
)
def test_a_body_without_fields_leaves_only_its_digest(head: bytes, body: bytes) -> None:
    message = redacted(body, head)
    assert message.body.text is None
    assert message.body.veiled
    assert message.body.data == b""
    assert "secret" not in repr(message)
    assert message.body.size == len(body)
    assert message.body.digest == redacted(body, head).body.digest
    assert message.body.digest != redacted(body + b" ", head).body.digest
    assert redacted(body, head, rules=["authorization"]).body.digest == ""


def test_a_rule_that_is_neither_is_refused() -> None:
    with pytest.raises(PatternError, match="neither a header's name"):
        Redactor(["not a header"], KEY)
    with pytest.raises(PatternError):
        Redactor(["$.a b"], KEY)


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "var" / "redact.key"
    with ThreadPoolExecutor(8) as threads:
        (key,) = set(threads.map(load_key, [path] * 32))
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert len(key) == 32
    assert load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("no key")
    with pytest.raises(ValueError, match="remove the file"):
        load_key(path)


def test_what_is_a_secret_anywhere_is_not_stored_either() -> None:
    redactor = Redactor(["$..password"], KEY)
    kept = redactor.target("/a?token=one&page=2&PASSWORD=two&%63ode=three&%2574oken=four")
    assert not [word for word in ("one", "two", "three", "four") if word in kept]
    assert "page=2" in kept
    assert redactor.target("/a?page=2&tokens=kept+") == "/a?page=2&tokens=kept+"
    assert Redactor([], KEY).target("/a?token=one") == redactor.target("/a?token=one") != "/a?token=one"


documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["password", "PassWord", "pa\u017f\u017fword", "email", "passwords", "a"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(documents)
def test_names_at_any_depth_are_found_the_quick_way_as_by_their_places(document: Any) -> None:
    quick = ["$..password", "$..email"]
    assert value(document, rules=quick) == value(document, rules=[*quick, "$.none.such"])


@given(documents)
def test_so_they_are_where_patterns_are_looked_for_too(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False).encode()
    message = read(Answer("legacy", "legacy", 200, b"Content-Type: application/json\r\n", text, 0.0))
    quick, slow = (Redactor(["$..password", *more], KEY, ("cards", "tokens")).message(message) for more in ([], ["$.none.such"]))
    assert quick.body.value == slow.body.value


@pytest.mark.parametrize(
    "text", ['{"password": "secret"}', "{password: secret}", ' ["password", {"password": "secret"}]', '"{\\"password\\": \\"secret\\"}"']
)
def test_json_in_a_string_is_looked_into(text: str) -> None:
    for rules in (["$..password"], ["$..password", "$.none.such"]):
        assert "secret" not in repr(redacted(json.dumps({"a": text, "password": 1}).encode(), rules=rules))


@pytest.mark.parametrize("name", ["X-Auth-Token", "X-Api-Key", "X-CSRFToken", "X-Session", "X-Password"])
def test_a_field_of_an_answer_that_sounds_like_a_credential_is_hashed(name: str) -> None:
    begin = f"Content-Type: application/json\r\n{name}: "
    heads = [f"{begin}{value}\r\nX-Kind: tea\r\n".encode() for value in ("hunter2", "hunter2", "hunter3")]
    first, same, other = (joined(redacted(b"{}", head).headers, name.lower()) for head in heads)
    assert first is not None
    assert first.startswith("redacted:")
    assert first == same != other
    assert joined(redacted(b"{}", heads[0]).headers, "x-kind") == "tea"


def test_names_of_headers_are_remembered_within_bounds_and_mean_the_same_each_time() -> None:
    redactor = Redactor(["x-own", "$..email"], KEY)
    fields = (("x-api-key", "a"), ("x-user-email", "b"), ("x-own", "c"), ("x-free", "d"))
    first = redactor._fields(fields)
    assert [value.startswith("redacted:") for _, value in first] == [True, True, True, False]
    flood = tuple((f"x-{number}-token" if number % 2 else f"x-{number}", "v") for number in range(MAX_SOUNDING + 500))
    for _ in range(2):
        assert [value.startswith("redacted:") for _, value in redactor._fields(flood)] == [number % 2 == 1 for number in range(len(flood))]
        assert redactor._fields((("x" * 500 + "-token", "v"),))[0][1].startswith("redacted:")
    assert len(redactor._sounding) == MAX_SOUNDING
    assert redactor._fields(fields) == first
