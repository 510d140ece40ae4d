"""What flags are told of a request, and what not."""

from __future__ import annotations

import pytest

from gateway.policy.properties import LONGEST, Headers, context

FIELDS = b"\r\nHost: a\r\nX-App-Version:  4.2 \t\r\nX-Country: de\r\nx-country: AT\r\nX-App-Version-Code: 7"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["x-app-version"], {"x-app-version": "4.2"}),
        (["X-Country"], {"x-country": "de, AT"}),
        (["x-app-version", "x-missing"], {"x-app-version": "4.2"}),
        (["app-version", "version", "ost"], {}),
        ([], {}),
    ],
)
def test_the_named_fields_are_told(names: list[str], told: dict[str, str]) -> None:
    assert Headers(names).read(FIELDS) == told


def test_values_stand_in_the_order_of_the_configuration() -> None:
    headers = Headers(["x-missing", "X-COUNTRY", "x-app-version"])
    assert headers.values(FIELDS) == (None, "de, AT", "4.2")
    assert headers.named(headers.values(FIELDS)) == {"x-country": "de, AT", "x-app-version": "4.2"}
    assert headers.values(b"\r\nX-Country:") == (None, "", None)


@pytest.mark.parametrize(("length", "told"), [(LONGEST, True), (LONGEST + 1, False)])
def test_what_is_long_is_not_told(length: int, told: bool) -> None:
    assert ("x-app" in Headers(["x-app"]).read(b"\r\nX-App: " + b"v" * length)) is told


def test_route_and_method_are_told_in_any_case() -> None:
    asked = context("reviews", "GET", "127.0.0.1", "7", None, {"plan": "pro"}, {"x-app": "1"})
    assert asked.properties == {"route": "reviews", "method": "GET", "plan": "pro", "x-app": "1"}
    assert (asked.user_id, asked.session_id, asked.remote_address) == ("7", None, "127.0.0.1")
