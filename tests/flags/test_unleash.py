"""The Unleash source while Unleash is well. The real one: tests/integration/test_unleash_real.py."""

# ruff: noqa: ASYNC240 - the files are local and tiny
from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path

import pytest
from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

from flags.file import FileSource
from flags.source import FlagSourceError, create
from flags.unleash import UnleashSource
from tests.support.fake_unleash import OFF, ON, TOKEN, FakeUnleash, Seen, on, running, started


async def test_a_change_is_published_and_an_unchanged_state_is_not(server: FakeUnleash, backup: Path) -> None:
    async with running(server.url, backup) as (source, seen):
        await seen.until(on)
        assert (seen[-1].source, seen[-1].error) == ("unleash", "")
        await asyncio.sleep(0.5)
        assert len(seen) == 1
        assert source.staleness() < 1.0
        assert server.polls.count(200) == 1
        assert server.polls.count(304) >= 2
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))
        assert len(seen) == 2
    assert server.authorization == {TOKEN}
    assert backup.read_bytes() == OFF
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    (registration,) = server.registered
    assert registration["appName"] == "banyan"


async def test_the_engine_is_loaded_once_a_state(server: FakeUnleash, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    take_state = UnleashEngine.take_state

    def load(engine: UnleashEngine, state: str) -> object:
        if engine is sdk:  # there are others: whoever decides or checks has one of its own
            loads.append(state)
        return take_state(engine, state)

    seen = Seen()
    source = UnleashSource(server.url, TOKEN, refresh=0.1)
    sdk = source._client._engine
    monkeypatch.setattr(UnleashEngine, "take_state", load)
    async with started(source, seen):
        await seen.until(on)
        await server.polled(4)
        assert loads == [ON.decode()]
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))
        await server.polled(2)  # what a poll brought is loaded after it is published, and before the next poll
        assert loads == [ON.decode(), OFF.decode()]


async def test_a_refused_registration_is_said(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.refuse_registration = True
    async with running(server.url) as (_, seen):
        await seen.until(on)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["flags: Unleash answers, but did not register this gateway (answered 503)"]


async def test_refresh_looks_now_as_soon_as_there_are_flags(server: FakeUnleash) -> None:
    seen = Seen()
    source = UnleashSource(server.url, TOKEN, refresh=30)
    task = asyncio.create_task(source.run(seen.append), name="source")
    await seen.until(on)
    server.features = OFF
    await source.refresh()
    assert not on(seen[-1])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_netrc_never_replaces_the_token(server: FakeUnleash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with running(server.url) as (_, seen):
        await seen.until(on)
    assert server.authorization == {TOKEN}


def document(*features: str) -> bytes:
    return f'{{"version":2,"features":[{",".join(features)}]}}'.encode()


GOOD_ON = '{"name":"f","enabled":true,"strategies":[]}'
GOOD_OFF = '{"name":"f","enabled":false,"strategies":[]}'
BAD = '{"name":"bad","enabled":"yes","strategies":[]}'
WORSE = '{"name":"bad","enabled":true,"strategies":[{"name":"default","parameters":{"a":null}}]}'


async def test_a_malformed_flag_costs_no_flip_of_another(server: FakeUnleash, backup: Path, caplog: pytest.LogCaptureFixture) -> None:
    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    first = "flags: flag 'bad' from Unleash is malformed and left out, so legacy answers: \"enabled\" must be true or false"
    server.features = document(GOOD_ON, BAD)
    async with running(server.url, backup) as (source, seen):
        await seen.until(on)
        assert seen[-1].error == ""
        assert seen[-1].refused == (("bad", '"enabled" must be true or false'),)
        await server.polled(3)
        assert (len(seen), server.polls.count(200)) == (1, 1)  # it is confirmed by 304 as any other
        assert warnings() == [first]
        server.features = document(GOOD_OFF, BAD)
        await seen.until(lambda snapshot: not on(snapshot))
        assert warnings() == [first]  # once for a flag and a reason
        assert backup.read_bytes() == server.features
        server.features = document(GOOD_OFF, WORSE)
        await seen.until(lambda snapshot: "engine refuses" in snapshot.refused[0][1])
        assert len(warnings()) == 2
        server.features = document(GOOD_OFF)
        await seen.until(lambda snapshot: not snapshot.refused)
        server.features = document(GOOD_OFF, BAD)
        await seen.until(lambda snapshot: bool(snapshot.refused))
        assert len(warnings()) == 3  # it was mended in between
        assert source.staleness() < 1.0


async def test_many_malformed_flags_are_not_as_many_lines(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    server.features = document(GOOD_ON, *(BAD.replace("bad", f"bad-{number}") for number in range(200)))
    async with running(server.url) as (_, seen):
        await seen.until(on)
        assert len(seen[-1].refused) == 200
        lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(lines) == 11
        assert lines[-1] == "flags: 190 more flags from Unleash are malformed and left out"


async def test_an_unchanged_poll_costs_nothing(server: FakeUnleash, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is loaded, nothing is parsed, published or written."""
    engines: list[str] = []
    take_state = UnleashEngine.take_state
    init = UnleashEngine.__init__

    def load(engine: UnleashEngine, state: str) -> object:
        engines.append("loaded")
        return take_state(engine, state)

    def made(engine: UnleashEngine) -> None:
        engines.append("made")
        init(engine)

    async with running(server.url, backup) as (_, seen):
        await seen.until(on)
        await server.polled(2)
        monkeypatch.setattr(UnleashEngine, "take_state", load)
        monkeypatch.setattr(UnleashEngine, "__init__", made)
        parsed: list[bytes] = []
        monkeypatch.setattr("flags.handover.salvage", parsed.append)
        before = (len(seen), backup.stat().st_mtime_ns, backup.stat().st_ino)
        await server.polled(5)
        assert server.polls[-5:] == [304] * 5
        assert engines == []
        assert parsed == []
        assert (len(seen), backup.stat().st_mtime_ns, backup.stat().st_ino) == before


@pytest.mark.parametrize(
    ("url", "token", "says"),
    [
        ("", TOKEN, "flags.url"),
        ("unleash:4242/api", TOKEN, "flags.url"),
        ("ftp://unleash/api", TOKEN, "flags.url"),
        ("http://admin:secret@unleash/api", TOKEN, "flags.url"),
        ("http://unleash:secret/api", TOKEN, "flags.url"),
        ("http://unleash:0/api", TOKEN, "flags.url"),
        ("http://[secret/api", TOKEN, "flags.url"),
        ("http://un leash/api", TOKEN, "flags.url"),
        ("http://unleash/api\n", TOKEN, "flags.url"),
        ("http://unleash/api?token=secret", TOKEN, "flags.url"),
        ("http://unleash/api", "", "flags.token"),
        ("http://unleash/api", "secret\n", "flags.token"),
        ("http://unleash/api", "a secret", "flags.token"),
    ],
)
def test_unusable_settings_are_one_clear_error_without_the_secret(url: str, token: str, says: str) -> None:
    with pytest.raises(FlagSourceError, match=says) as caught:
        create(source="unleash", url=url, token=token)
    assert "secret" not in str(caught.value)


def test_create_and_close_without_running(tmp_path: Path) -> None:
    source = create(source="unleash", url="http://127.0.0.1:9/api", token=TOKEN, backup="backup.json", folder=tmp_path)
    assert isinstance(source, UnleashSource)
    assert source._backup is not None
    assert source._backup.path == tmp_path / "backup.json"
    source.close()
    source.close()
    assert isinstance(create(source="file"), FileSource)
