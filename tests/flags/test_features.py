"""What is taken, what is rewritten, and what is refused with a reason."""

from __future__ import annotations

import orjson
import pytest

from flags.features import FeaturesError, normalised, revision


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "expected"),
        (b'{"features": {}}', "expected"),
        (b'{"features": [1]}', r"features\[0\]"),
        (b'{"features": [{"enabled": true, "strategies": []}]}', r"features\[0\]"),
        (b'{"features": [{"name": "f", "strategies": []}]}', "flag 'f'.*enabled"),
        (b'{"features": [{"name": "f", "enabled": "yes", "strategies": []}]}', "flag 'f'.*enabled"),
        (b'{"features": [{"name": "f", "enabled": true}]}', "flag 'f'.*strategies"),
        (b'{"features": [{"name": "f", "enabled": true, "strategies": [{}]}]}', "flag 'f'.*name"),
        (b'{"features": [{"name": "f", "enabled": true, "strategies": [{"name": "default", "parameters": 1}]}]}', "parameters"),
        (
            b'{"features": [{"name": "f", "enabled": true, "strategies": []}, {"name": "f", "enabled": true, "strategies": []}]}',
            "twice",
        ),
        (b'{"features": [], "segments": 1}', "segments"),
        (b'{"version": "1", "features": []}', "\"version\" is a whole number such as 1, not '1'"),
        (b'{"version": null, "features": []}', '"version" is a whole number such as 1, not None'),
        (
            b'{"version": 1, "features": [{"name": "good", "enabled": true, "strategies": []},'
            b'{"name": "bad", "enabled": true, "strategies": [{"name": "default", "constraints": [{"operator": "IN"}]}]}]}',
            "flag 'bad'.*constraints",
        ),
        (
            b'{"version": 1, "features": [{"name": "good", "enabled": true, "strategies": []},'
            b'{"name": "bad", "enabled": true, "strategies": [{"name": "default", "segments": ["7"]}]}]}',
            "flag 'bad'.*engine refuses",
        ),
        (b'{"version": 1, "features": [{"name": "f", "enabled": true, "enabled": false, "strategies": []}]}', "no key is there twice"),
        (b'{"version": 1, "features": [], "x": %b%b}' % (b"[" * 500, b"]" * 500), "nested too deeply"),
        (
            b'{"version": 1, "features": [{"name": "good", "enabled": true, "strategies": []},'
            b'{"name": "bad", "enabled": true, "strategies": [], "x": %b%b}]}' % (b"[" * 500, b"]" * 500),
            "flag 'bad': it is nested too deeply",
        ),
    ],
)
def test_refused_with_a_reason(data: bytes, says: str) -> None:
    with pytest.raises(FeaturesError, match=says):
        normalised(data)


@pytest.mark.parametrize(("number", "written"), [(b"50", "50"), (b"50.0", "50"), (b"0", "0"), (b"1000000", "1000000"), (b"true", "true")])
def test_numbers_are_written_as_unleash_writes_them(number: bytes, written: str) -> None:
    data = b'{"version": 1, "features": [{"name": "f", "enabled": true, "strategies": [{"name": "default", "parameters": {"x": %s}}]}]}'
    (feature,) = orjson.loads(normalised(data % number))["features"]
    assert feature["strategies"][0]["parameters"]["x"] == written


def test_a_document_without_its_version_is_read_as_any_other() -> None:
    document = orjson.loads(normalised(b'{"features": [{"name": "f", "enabled": true, "strategies": []}]}'))
    assert (document["version"], document["features"][0]["name"]) == (1, "f")


@pytest.mark.parametrize("rollout", [b'"abc"', b'"150"', b"150", b"-1", b"12.5", b'""', b'"%s"' % (b"9" * 5000)])
def test_a_rollout_that_a_person_wrote_wrong_is_an_error_and_unleashs_is_not(rollout: bytes) -> None:
    data = (
        b'{"version": 1, "features": [{"name": "f", "enabled": true, "strategies": '
        b'[{"name": "flexibleRollout", "parameters": {"rollout": %b, "stickiness": "default", "groupId": "f"}}]}]}' % rollout
    )
    with pytest.raises(FeaturesError, match=r"flag 'f': \"rollout\" '.{0,20}' is not a whole number from 0 to 100"):
        normalised(data, strict=True)
    assert orjson.loads(normalised(data))["features"][0]["name"] == "f"


@pytest.mark.parametrize("parameters", [b"null", b"{}", b'{"stickiness": "default"}'])
def test_a_person_who_forgot_the_rollout_is_told(parameters: bytes) -> None:
    data = (
        b'{"version": 1, "features": [{"name": "f", "enabled": true, "strategies": '
        b'[{"name": "flexibleRollout", "parameters": %s}]}]}' % parameters
    )
    with pytest.raises(FeaturesError, match="flag 'f': \"rollout\" is missing: it is a whole number from 0 to 100"):
        normalised(data, strict=True)
    assert normalised(data) == data


def test_what_a_strategy_of_somebodys_own_calls_rollout_is_his() -> None:
    data = (
        b'{"version": 1, "features": [{"name": "f", "enabled": true, "strategies": [{"name": "own", "parameters": {"rollout": "blue"}}]}]}'
    )
    assert normalised(data, strict=True) == data


def test_what_is_fine_is_not_touched() -> None:
    data = b'{"version": 1,  "features": [], "extra": {"kept": true}}'
    assert normalised(data) is data
    assert revision(data) == revision(bytes(data))
    assert revision(data) != revision(data + b" ")
