"""What the shop reads from its environment: right values, wrong values, and the key that all workers share."""

from __future__ import annotations

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from demo.processes import ROOT, python
from legacy_django import environment


@pytest.mark.parametrize(
    ("url", "name"), [("sqlite:///shop.db", "shop.db"), ("sqlite:///a/b%20c.db", "a/b c.db"), ("sqlite:////var/shop.db", "/var/shop.db")]
)
def test_a_sqlite_url(url: str, name: str) -> None:
    assert environment.database(url)["NAME"] == name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u%40x:p%2F@db:5433/shop", ("shop", "db", "5433", "u@x", "p/")),
        ("postgresql://u@/shop?host=%2Frun%2Fpg", ("shop", "/run/pg", "", "u", "")),
        ("postgresql:///shop?host=/run/pg&port=5433", ("shop", "/run/pg", "5433", "", "")),
    ],
)
def test_a_postgresql_url(url: str, expected: tuple[str, ...]) -> None:
    settings = environment.database(url)
    assert tuple(settings[key] for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD")) == expected


def test_other_parameters_of_a_postgresql_url_reach_the_driver() -> None:
    assert environment.database("postgres://u@db/shop?sslmode=require")["OPTIONS"] == {"connect_timeout": "5", "sslmode": "require"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root:hunter2@db/shop", "expected sqlite:///… or postgres://…"),
        ("sqlite://shop.sqlite3", "for SQLite write sqlite:///"),
        ("sqlite:///", "for SQLite write sqlite:///"),
        ("postgres://shop:hunter2@db:5432/", "the database's name is missing"),
        ("postgres://shop:hunter2@db:port/shop", "a bad port or host"),
        ("postgres://shop:hunter2/x@db:5432/shop", "a bad port or host; write / @ : [ in a password as %2F"),
        ("postgres://shop:hunter2@[db/shop", "a bad port or host"),
        ("sqlite://[hunter2", "a bad port or host"),
        ("", "expected sqlite:///… or postgres://…"),
    ],
)
def test_a_wrong_url_is_named_and_its_password_not_shown(url: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.database(url)
    assert str(caught.value).startswith(f"DATABASE_URL: {said}")
    assert "hunter2" not in str(caught.value)


def test_yes_and_no() -> None:
    assert environment.flag("X", {"X": "TRUE "})
    assert not environment.flag("X", {"X": "0"})
    assert not environment.flag("X", {})
    with pytest.raises(ImproperlyConfigured, match=r"^X: expected 1 or 0, got 'maybe'$"):
        environment.flag("X", {"X": "maybe"})


def test_numbers() -> None:
    assert environment.number("X", 5, {}) == 5
    assert environment.number("X", 5, {"X": "7"}) == 7
    for text in ("0", "-1", "x", "٣", "1.5"):
        with pytest.raises(ImproperlyConfigured, match=r"^X: expected a positive whole number"):
            environment.number("X", 5, {"X": text})


def test_all_workers_get_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "var" / "key"
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: environment.secret_key(path), range(64)))
    assert keys == {environment.secret_key(path)}
    assert len(keys.pop()) > 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def seed(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python("legacy_django/manage.py", "seed"),
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "legacy_django.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("nope://x:hunter2@h", 2, "shop: DATABASE_URL: expected sqlite:///… or postgres://…, got a URL that begins with 'nope'\n"),
        ("postgres://u:hunter2/x@127.0.0.1:1/shop", 2, "shop: DATABASE_URL: a bad port or host"),
        ("postgres://u:hunter2@127.0.0.1:1/shop", 1, "shop: the database cannot be used: "),
        ("postgres://u:hunter2@127.0.0.1:1/shop?no_such=1", 1, 'shop: the database cannot be used: invalid connection option "no_such". '),
    ],
)
def test_the_shop_says_in_one_line_what_is_wrong_with_its_database(url: str, status: int, said: str) -> None:
    ended = seed(DATABASE_URL=url)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr


def test_the_shop_says_in_one_line_that_a_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else\n" * 100)
    ended = seed(DATABASE_URL=f"sqlite:///{tmp_path}/file")
    assert ended.returncode == 1
    assert ended.stderr == ("shop: the database cannot be used: file is not a database. Check DATABASE_URL, and whether the server is up\n")


def test_the_shop_says_in_one_line_that_its_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = seed(BANYAN_SHOP_VAR=str(tmp_path / "file" / "var"))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"shop: BANYAN_SHOP_VAR: {tmp_path}/file/var cannot be made: Not a directory; name a folder that can be written\n"
    )


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8080/api/v1/payments/", "http://gateway/"])
def test_an_address_over_http(url: str) -> None:
    assert environment.http_url("WHERE", {"WHERE": url}) == url


@pytest.mark.parametrize(
    "url", ["https://gateway/", "gateway:8080", "http://", "http://user:secret@gateway/", "http://gateway:0/", "http://gateway:x/"]
)
def test_a_wrong_address_is_named_and_not_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as found:
        environment.http_url("WHERE", {"WHERE": url})
    assert str(found.value) == "WHERE: expected http://host:port/path"
