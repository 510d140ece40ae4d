"""`banyan payments`: what is in doubt, told to people and machines, and settled once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ledger import book
from gateway.ledger.database import connect
from gateway.ledger.entries import Claim, Held
from tests.gateway.cli.test_comparison import banyan
from tests.support.payments import multiply

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
psp-a = "http://127.0.0.1:2"
psp-b = "http://127.0.0.1:3"
[[routes]]
name = "payments"
match = "/payments"
split = { psp-a = 1, psp-b = 1 }
sticky = "idempotency-key"
[[routes]]
name = "refunds"
match = "/refunds"
split = { psp-a = 1, psp-b = 1 }
sticky = "idempotency-key"
"""
WANTED = Claim("payments", "", "order-1", True, b"d" * 32, "psp-a", "POST", "/payments", 4, "r-1", "t-1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    return tmp_path


def doubted(folder: Path, *wanted: Claim) -> list[int]:
    ledger = connect("sqlite:///var/ledger.sqlite3", folder, timeout=5)
    numbers = []
    for each in wanted:
        number = book.claim(ledger, each, "w").number
        book.move(ledger, Held(number, each.token), "psp-b", ["psp-a"])
        book.doubt(ledger, Held(number, each.token), "status-503", 503)
        numbers.append(number)
    ledger.close()
    return numbers


def multiplied(folder: Path, count: int) -> int:
    """So many more like the one that is in doubt, each of a moment later. The last one's number."""
    ledger = connect("sqlite:///var/ledger.sqlite3", folder, timeout=5)
    last = multiply(ledger, count)
    ledger.close()
    return last


def test_what_is_in_doubt_has_all_that_it_takes_to_find_out(folder: Path) -> None:
    hostile = replace(WANTED, key="k\u202e\x1b[2J", target="/refunds\x1b]0;x\x07", route="refunds", token="t-2", keyed=False)
    first, second = doubted(folder, WANTED, hostile)
    done = banyan(folder, "payments", "in-doubt")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{first}  payments  since " in done.stdout
    for part in (
        "POST /payments to psp-b, sent once, after psp-a got nothing of it: status-503 (it answered 503)",
        "Idempotency-Key order-1; X-Request-ID r-1; 4 bytes, digest 6464",
        "no Idempotency-Key",
    ):
        assert part in done.stdout
    assert "\x1b" not in done.stdout
    told = json.loads(banyan(folder, "payments", "in-doubt", "--json").stdout)
    assert [each["number"] for each in told] == [first, second]
    assert {key: told[0][key] for key in ("route", "provider", "key", "request_id", "reason", "status", "attempts", "refused", "size")} == {
        "route": "payments",
        "provider": "psp-b",
        "key": "order-1",
        "request_id": "r-1",
        "reason": "status-503",
        "status": 503,
        "attempts": 1,
        "refused": ["psp-a"],
        "size": 4,
    }
    one = json.loads(banyan(folder, "payments", "in-doubt", "--route", "refunds", "--json").stdout)
    assert [each["number"] for each in one] == [second]


def test_all_of_it_is_listed_however_much_it_is(folder: Path) -> None:
    (first,) = doubted(folder, WANTED)
    last = multiplied(folder, 10_500)
    told = json.loads(banyan(folder, "payments", "in-doubt", "--json").stdout)
    assert (len(told), told[0]["number"], told[-1]["number"]) == (10_501, first, last)
    assert f"{last}  payments  since " in banyan(folder, "payments", "in-doubt").stdout


def test_it_is_settled_once_and_remembered(folder: Path) -> None:
    first, second = doubted(folder, WANTED, replace(WANTED, key="order-2", token="t-2"))
    done = banyan(folder, "payments", "settle", str(first), "executed", "--why", "psp-b: charge 81", "--by", "ana")
    assert (done.returncode, done.stdout) == (0, f"{first}: executed, says ana\n")
    again = banyan(folder, "payments", "settle", str(first), "not-executed", "--why", "no")
    assert (again.returncode, again.stdout) == (1, "")
    assert f"payment {first} is not in doubt" in again.stderr
    other = banyan(folder, "payments", "settle", str(second), "not-executed", "--why", "psp-b: unknown there", "--json")
    assert json.loads(other.stdout)["outcome"] == "not-executed"
    assert "@" in json.loads(other.stdout)["by"]
    assert banyan(folder, "payments", "in-doubt").stdout == "nothing is in doubt\n"
    told = json.loads(banyan(folder, "payments", "settled", "--json").stdout)
    assert [(each["number"], each["outcome"], each["why"]) for each in told] == [
        (second, "not-executed", "psp-b: unknown there"),
        (first, "executed", "psp-b: charge 81"),
    ]
    assert f"{first}  payments  executed, " in banyan(folder, "payments", "settled").stdout
    assert json.loads(banyan(folder, "payments", "settled", "--json", "--limit", "9" * 20).stdout) == told


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("settle", "1", "perhaps", "--why", "x"), 2, "perhaps"),
        (("settle", "1", "executed", "--why", " "), 2, "who says so, and why"),
        (("settle", "99", "executed", "--why", "x"), 1, "payment 99 is not in doubt"),
        (("settle", "9" * 20, "executed", "--why", "x"), 1, f"payment {'9' * 20} is not in doubt"),  # more than a database can be asked for
        (("in-doubt", "--route", "carts"), 2, "no route 'carts' keeps a ledger; there are: payments, refunds"),
    ],
)
def test_wrong_use(folder: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    doubted(folder, WANTED)
    done = banyan(folder, "payments", *arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_before_the_first_payment_nothing_is_in_doubt(folder: Path) -> None:
    for arguments, said in (
        (("in-doubt",), "nothing is in doubt\n"),
        (("in-doubt", "--json", "--route", "refunds"), "[]\n"),
        (("settled",), ""),
        (("settled", "--json"), "[]\n"),
    ):
        done = banyan(folder, "payments", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert not (folder / "var").exists()
    done = banyan(folder, "payments", "in-doubt", "--route", "carts")
    assert (done.returncode, "no route 'carts' keeps a ledger" in done.stderr) == (2, True)
    done = banyan(folder, "payments", "settle", "1", "executed", "--why", "x")
    assert (done.returncode, "nothing was paid yet" in done.stderr) == (2, True)


@pytest.mark.parametrize("database", ["sqlite:///banyan.toml/ledger.sqlite3", "sqlite:///.", "postgresql://127.0.0.1:1/ledger"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_ledger_that_cannot_be_reached_is_not_an_empty_one(folder: Path, database: str, more: tuple[str, ...]) -> None:
    (folder / "banyan.toml").write_text(f'{CONFIG}[ledger]\ndatabase = "{database}"\n')
    done = banyan(folder, "payments", "in-doubt", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ledger.database cannot be used" in done.stderr


def test_without_a_ledger(folder: Path) -> None:
    (folder / "banyan.toml").write_text(CONFIG.replace('sticky = "idempotency-key"', ""))
    assert "no route keeps a ledger" in banyan(folder, "payments", "in-doubt").stderr
