"""Flags switched in the file: what else is in it stays."""

from __future__ import annotations

import multiprocessing
import os
import stat
import tempfile
from multiprocessing.queues import Queue
from pathlib import Path

import orjson
import pytest

from flags.admin import AdminError, FlagState, has_flag, is_on, list_flags, set_flag, switch_off
from flags.decisions import Decisions
from flags.features import revision
from flags.snapshot import Context, Snapshot


def share(path: Path, flag: str) -> float:
    data = path.read_bytes()
    decisions = Decisions.build(Snapshot(revision=revision(data), features=data, source="file", fetched_at=0.0))
    return sum(decisions.enabled(flag, Context(user_id=str(user))) for user in range(1000)) / 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


def test_made_where_missing(path: Path) -> None:
    assert set_flag(path, "reviews", True) == FlagState("reviews", True, 100, stickiness="default")
    assert share(path, "reviews") == 1.0
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_percentages_and_off(path: Path) -> None:
    set_flag(path, "reviews", True, 10)
    assert 0.07 < share(path, "reviews") < 0.13
    assert set_flag(path, "reviews", False) == FlagState("reviews", False, 10, stickiness="default")
    assert share(path, "reviews") == 0.0
    set_flag(path, "reviews", True)
    assert 0.07 < share(path, "reviews") < 0.13
    set_flag(path, "reviews", True, 100)
    assert share(path, "reviews") == 1.0
    assert list_flags(path) == [FlagState("reviews", True, 100, stickiness="default")]


def test_written_as_unleash_would(path: Path) -> None:
    set_flag(path, "reviews", True, 10)
    (feature,) = orjson.loads(path.read_bytes())["features"]
    (strategy,) = feature["strategies"]
    assert strategy["name"] == "flexibleRollout"
    assert strategy["parameters"] == {"rollout": "10", "stickiness": "default", "groupId": "reviews"}


def test_everything_else_stays(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    real.parent.mkdir()
    constraint = {"contextName": "country", "operator": "IN", "values": ["kr"]}
    other = {"name": "other", "enabled": True, "strategies": [{"name": "default"}], "description": "kept"}
    mine = {"name": "mine", "enabled": True, "strategies": [{"name": "default", "constraints": [constraint]}], "extra": 1}
    real.write_bytes(orjson.dumps({"version": 1, "features": [other, mine], "segments": [], "note": "kept"}))
    real.chmod(0o640)
    path.symlink_to(real)
    set_flag(path, "mine", True, 30)
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    document = orjson.loads(real.read_bytes())
    assert document["note"] == "kept"
    assert document["features"][0] == other
    assert document["features"][1]["extra"] == 1
    (strategy,) = document["features"][1]["strategies"]
    assert strategy["constraints"] == [constraint]
    assert strategy["parameters"]["rollout"] == "30"
    assert [file.name for file in real.parent.iterdir()] == ["real.json"]


def test_a_new_percentage_moves_nobody_who_was_in(path: Path) -> None:
    strategy = {"name": "flexibleRollout", "parameters": {"rollout": "10", "stickiness": "userId", "groupId": "cohort"}}
    path.write_bytes(orjson.dumps({"version": 1, "features": [{"name": "f", "enabled": True, "strategies": [strategy]}]}))
    set_flag(path, "f", True, 20)
    (feature,) = orjson.loads(path.read_bytes())["features"]
    assert feature["strategies"][0]["parameters"] == {"rollout": "20", "stickiness": "userId", "groupId": "cohort"}
    set_flag(path, "f", True, 20, stickiness="sessionId")
    (feature,) = orjson.loads(path.read_bytes())["features"]
    assert feature["strategies"][0]["parameters"]["stickiness"] == "sessionId"


def test_strategies_of_their_own_are_not_destroyed(path: Path) -> None:
    before = orjson.dumps(
        {"version": 1, "features": [{"name": "f", "enabled": True, "strategies": [{"name": "userWithId", "parameters": {"userIds": "1"}}]}]}
    )
    path.write_bytes(before)
    with pytest.raises(AdminError, match=r"a strategy of its own \(userWithId\)"):
        set_flag(path, "f", True, 50)
    assert path.read_bytes() == before
    assert set_flag(path, "f", False).enabled is False


@pytest.mark.parametrize("rollout", [-1, 101])
def test_not_a_percentage(path: Path, rollout: int) -> None:
    with pytest.raises(AdminError, match="0 to 100"):
        set_flag(path, "f", True, rollout)
    assert not path.exists()


def test_a_broken_file_is_left_alone(path: Path) -> None:
    path.write_bytes(b"{broken")
    with pytest.raises(AdminError, match=r"flags\.json.*nothing was changed"):
        set_flag(path, "f", True)
    assert path.read_bytes() == b"{broken"


def test_listing_nothing_says_what_to_do(path: Path) -> None:
    with pytest.raises(AdminError, match="banyan flags sync"):
        list_flags(path)


def _flip(path: Path, name: str) -> None:
    for percent in range(20):
        set_flag(path, name, True, percent)


def test_nothing_is_switched_off_in_a_file_that_is_away(tmp_path: Path) -> None:
    """An empty file in its place would turn every flag off, and not the one alone."""
    for path in (tmp_path / "flags.json", tmp_path / "away" / "flags.json"):
        with pytest.raises(AdminError, match=r"flags\.json"):
            switch_off(path, "reviews")
        with pytest.raises(AdminError, match="no such file"):
            is_on(path, "reviews")
    assert not list(tmp_path.iterdir())


def test_two_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_flip, args=(path, name)) for name in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert sorted(list_flags(path), key=lambda flag: flag.name) == [
        FlagState(name, True, 19, stickiness="default") for name in ("a", "b", "c")
    ]


@pytest.mark.parametrize("name", ["", "bad name", "a/b", "..", "é", "x" * 101, "a\n"])
def test_a_name_that_unleash_would_refuse(path: Path, name: str) -> None:
    with pytest.raises(AdminError, match="cannot be a flag's name"):
        set_flag(path, name, True)
    assert not path.exists()


def test_a_name_that_somebody_wrote_by_hand_can_be_switched(path: Path) -> None:
    path.write_bytes(b'{"version": 1, "features": [{"name": "by hand", "enabled": true, "strategies": []}]}')
    assert has_flag(path, "by hand")
    assert not has_flag(path, "by")
    assert set_flag(path, "by hand", False).enabled is False
    assert list_flags(path)[0].enabled is False


@pytest.mark.parametrize(
    "strategy",
    [b'{"name": "flexibleRollout", "parameters": {"rollout": "abc"}}', b'{"name": "default", "constraints": [{"operator": "IN"}]}'],
)
def test_a_file_that_the_gateway_does_not_take_is_not_said_to_be_switched(path: Path, strategy: bytes) -> None:
    before = b'{"version": 1, "features": [{"name": "bad", "enabled": true, "strategies": [%s]}]}' % strategy
    path.write_bytes(before)
    for name in ("other", "bad"):
        with pytest.raises(AdminError, match=r"flags\.json: flag 'bad'.*nothing was changed"):
            set_flag(path, name, False)
    assert path.read_bytes() == before


def test_a_rollout_that_is_none_is_mended_by_setting_it(path: Path) -> None:
    path.write_bytes(
        b'{"features": [{"name": "f", "enabled": true, "strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "abc"}}]}]}'
    )
    assert set_flag(path, "f", True, 10) == FlagState("f", True, 10, stickiness="default")


OTHER = (4242, 4243)
"""User and group of a gateway, none of whose this process is."""


def _owned_by_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, *OTHER)
        return
    real = Path.stat

    def told(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(self, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], *OTHER, *found[6:])) if self == path else found

    monkeypatch.setattr(Path, "stat", told)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_of_the_gateways_user_stays_its(path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is called at night is root. Where the tests are not, it is what the system is asked for."""
    set_flag(path, "reviews", True)
    _owned_by_another(path, monkeypatch)
    path.chmod(mode)
    asked: list[tuple[int, int]] = []
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda _file, user, group: asked.append((user, group)))
    set_flag(path, "reviews", False)
    after = path.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (*OTHER, mode)
    assert asked == ([] if os.geteuid() == 0 else [OTHER])
    assert list_flags(path)[0].enabled is False


def _flip_as_nobody(path: Path, said: Queue[str]) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        set_flag(path, "reviews", False)
    except AdminError as error:
        said.put(str(error))
    else:
        said.put("done")


def test_whoever_would_take_the_file_from_the_gateway_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own are closed to others
        folder = Path(made)
        path = folder / "flags.json"
        set_flag(path, "reviews", True)
        _owned_by_another(path, monkeypatch)
        folder.chmod(0o777)
        if os.geteuid() == 0:
            context = multiprocessing.get_context("spawn")
            said = context.Queue()
            process = context.Process(target=_flip_as_nobody, args=(path, said))
            process.start()
            text = said.get(timeout=30)
            process.join(30)
            assert process.exitcode == 0
        else:
            with pytest.raises(AdminError) as caught:
                set_flag(path, "reviews", False)
            text = str(caught.value)
        assert "it belongs to user 4242 and group 4243" in text
        assert "Do this as user 4242, or as root. Nothing was changed" in text
        assert list_flags(path)[0].enabled is True
        assert [file.name for file in folder.iterdir()] == ["flags.json"]
