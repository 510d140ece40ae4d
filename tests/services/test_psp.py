"""The stand-in payment provider: it charges once a key, and fails exactly as it was told, at the stage that it was told."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from demo.processes import ROOT
from demo.providers import Provider, start_provider
from services.psp import faults
from services.psp.faults import DEATHS, Fault, UnknownFaultError, parse

PATH = "/api/v1/payments/"


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    running = start_provider("psp-a", tmp_path_factory.mktemp("psp"))
    yield running
    running.stop()


@pytest.fixture
def deadly(tmp_path: Path) -> Iterator[Deadly]:
    found = Deadly(tmp_path)
    yield found
    found.running.stop()


class Deadly:
    """A provider that a test may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = start_provider("psp-b", folder)

    def again(self, faults: str = "") -> Provider:
        """Where it was, with its ledger."""
        self.running = start_provider("psp-b", self.folder, port=self.running.port, faults=faults)
        return self.running


def body(reference: str = "order-1", amount: int = 1990, **more: object) -> dict[str, object]:
    return {"reference": reference, "amount": amount, "currency": "EUR", "card": "4242", **more}


def pay(psp: Provider, key: str = "", **fields: object) -> httpx.Response:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    return httpx.post(f"{psp.url}{PATH}", content=json.dumps(body(**fields)), headers=headers, timeout=10)  # type: ignore[arg-type]


def references(psp: Provider, reference: str) -> int:
    return sum(found == reference for _, found in psp.charges())


def test_a_payment_is_charged_and_found_again(psp: Provider) -> None:
    answer = pay(psp, "key-1", reference="order-100")
    assert answer.status_code == 201
    told = answer.json()
    assert told["provider"] == "psp-a"
    assert told["id"].startswith("psp-a-")
    assert (told["status"], told["reference"], told["amount"], told["currency"]) == ("charged", "order-100", 1990, "EUR")
    assert httpx.get(f"{psp.url}{PATH}{told['id']}").json() == told
    for query in ("key=key-1", "reference=order-100", "key=key-1&reference=order-100"):
        assert httpx.get(f"{psp.url}{PATH}?{query}").json() == {"count": 1, "results": [told]}
    assert httpx.get(f"{psp.url}{PATH}?key=key-1&reference=order-7").json()["count"] == 0
    assert httpx.get(f"{psp.url}{PATH}psp-a-999999").status_code == 404


def test_a_key_is_charged_once_and_its_answer_repeated(psp: Provider) -> None:
    first, second = pay(psp, "key-2", reference="order-2"), pay(psp, "key-2", reference="order-2")
    assert second.content == first.content
    assert second.status_code == 201
    assert (first.headers.get("idempotent-replayed"), second.headers.get("idempotent-replayed")) == (None, "true")
    assert references(psp, "order-2") == 1


def test_a_key_with_another_body_is_refused_and_charges_nothing(psp: Provider) -> None:
    assert pay(psp, "key-3", reference="order-3").status_code == 201
    assert pay(psp, "key-3", reference="order-3", amount=5).status_code == 422
    assert references(psp, "order-3") == 1


def test_without_a_key_every_request_charges(psp: Provider) -> None:
    assert [pay(psp, reference="order-4").status_code for _ in range(2)] == [201, 201]
    assert references(psp, "order-4") == 2


def test_a_declined_card_is_an_answer_and_no_charge(psp: Provider) -> None:
    answers = [pay(psp, "key-5", reference="order-5", card="declined") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [402, 402]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert references(psp, "order-5") == 0


def test_of_many_at_once_with_one_key_one_charges(psp: Provider) -> None:
    with ThreadPoolExecutor(8) as threads:
        statuses = [found.status_code for found in threads.map(lambda _: pay(psp, "key-6", reference="order-6"), range(16))]
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert references(psp, "order-6") == 1


@pytest.mark.parametrize(
    "fields",
    [{"amount": 0}, {"amount": "x"}, {"amount": True}, {"currency": "eur"}, {"currency": "EURO"}, {"card": ""}, {"reference": "a" * 256}],
    ids=str,
)
def test_what_is_no_payment_is_refused(psp: Provider, fields: dict[str, object]) -> None:
    before = len(psp.charges())
    assert pay(psp, **fields).status_code == 400
    assert len(psp.charges()) == before


@pytest.mark.parametrize("key", ["a b", "x" * 256])
def test_what_is_no_key_is_refused(psp: Provider, key: str) -> None:
    assert pay(psp, key).status_code == 400


def test_faults_are_switched_and_told(psp: Provider) -> None:
    psp.switch("500@key-7,slow@0.5%")
    assert httpx.get(f"{psp.url}/faults").text == "500@key-7,slow@0.5%"
    assert httpx.get(f"{psp.url}/healthz").json()["faults"] == "500@key-7,slow@0.5%"
    with pytest.raises(OSError, match="400"):
        psp.switch("explode@*")
    assert httpx.get(f"{psp.url}/faults").text == "500@key-7,slow@0.5%"
    psp.switch("")
    assert httpx.get(f"{psp.url}/faults").text == ""


def test_500_charges_nothing_and_meets_those_that_were_named(psp: Provider) -> None:
    psp.switch("500@key-8")
    assert [pay(psp, key, reference="order-8").status_code for key in ("key-8", "key-9")] == [500, 201]
    psp.switch("")
    assert pay(psp, "key-8", reference="order-8").status_code == 201  # it was an accident, and no answer to keep


def test_slow_is_late_and_well(psp: Provider) -> None:
    psp.switch("slow@key-10")
    began = time.monotonic()
    assert pay(psp, "key-10").status_code == 201
    assert time.monotonic() - began >= faults.SLOW_SECONDS
    psp.switch("")


def test_hang_answers_nothing_charges_nothing_and_lets_the_key_go(psp: Provider) -> None:
    psp.switch("hang@key-11")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{psp.url}{PATH}", content=json.dumps(body("order-11")), headers={"Idempotency-Key": "key-11"}, timeout=0.5)
    psp.switch("")
    for _ in range(100):
        answer = pay(psp, "key-11", reference="order-11")
        if answer.status_code != 409:  # until the provider has noticed that nobody waits any more
            break
        time.sleep(0.02)
    assert answer.status_code == 201
    assert references(psp, "order-11") == 1


def test_what_hangs_is_told_as_long_as_somebody_waits_for_it(psp: Provider) -> None:
    psp.switch("hang@key-12")
    assert psp.hanging() == []
    pay(psp, "key-13", reference="order-13")
    with ThreadPoolExecutor() as threads:
        options = {"content": json.dumps(body("order-12")), "headers": {"Idempotency-Key": "key-12"}, "timeout": 2.0}
        waiting = threads.submit(lambda: httpx.post(f"{psp.url}{PATH}", **options))  # type: ignore[arg-type]
        deadline = time.monotonic() + 2.0
        while not (found := psp.hanging()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert isinstance(waiting.exception(), httpx.ReadTimeout)
    assert found == ["key-12"]
    psp.switch("")
    deadline = time.monotonic() + 5.0
    while psp.hanging() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert psp.hanging() == []


def test_refuse_shuts_the_door_for_a_while(deadly: Deadly) -> None:
    psp = deadly.running
    with httpx.Client(base_url=psp.url) as kept:
        assert kept.get("/healthz").status_code == 200
        psp.switch("refuse@0.5s")
        refused = 0
        for _ in range(200):
            try:
                answer = kept.get("/healthz")
            except httpx.ConnectError:
                refused += 1
            else:
                if refused:
                    break
            time.sleep(0.02)
        assert refused > 1
        assert answer.status_code == 200
    assert psp.alive()


def raw(psp: Provider, key: str, reference: str) -> tuple[bytes, BaseException | None]:
    """Every byte that is answered, and how it ended."""
    data = json.dumps(body(reference)).encode()
    fields = f"Host: psp\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    head = f"POST {PATH} HTTP/1.1\r\n{fields}\r\n"
    with socket.create_connection(("127.0.0.1", psp.port), timeout=10) as sock:
        sock.sendall(head.encode() + data)
        seen = b""
        try:
            while part := sock.recv(65536):
                seen += part
        except OSError as error:
            return seen, error
        return seen, None


@pytest.mark.parametrize(
    ("fault", "charged", "answered"),
    [
        (Fault.DIE_BEFORE_CHARGING, 0, False),
        (Fault.DIE_AFTER_CHARGING, 1, False),
        (Fault.DIE_MID_ANSWER, 1, True),
    ],
)
def test_it_dies_where_it_was_told_and_once(deadly: Deadly, fault: Fault, charged: int, answered: bool) -> None:
    psp = deadly.running
    psp.switch(f"{fault}@key-1")
    assert pay(psp, "key-0", reference="order-0").status_code == 201  # another payment does not meet it
    seen, _ = raw(psp, "key-1", "order-1")
    assert psp.process.wait(5) == -signal.SIGKILL
    assert bool(seen) is answered
    if answered:
        head, _, part = seen.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 ")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert 0 < len(part) < length
    assert references(psp, "order-1") == charged  # read while it is dead
    psp = deadly.again(faults=f"{fault}@key-1")
    assert pay(psp, "key-1", reference="order-1").status_code == 201  # it does not die of the same again
    assert references(psp, "order-1") == 1


def test_it_dies_of_the_next_connection(deadly: Deadly) -> None:
    psp = deadly.running
    kept = http.client.HTTPConnection("127.0.0.1", psp.port, timeout=5)
    kept.request("GET", "/healthz")
    kept.getresponse().read()
    psp.switch("die_after_accept@*")
    assert kept.sock is not None
    assert kept.sock.recv(1) == b""  # who was connected has to come in again
    kept.close()
    assert psp.alive()
    seen, _ = raw(psp, "key-1", "order-1")
    assert seen == b""
    assert psp.process.wait(5) == -signal.SIGKILL
    assert psp.charges() == []
    assert pay(deadly.again(), "key-1").status_code == 201


def test_killed_while_many_pay_no_answer_is_without_its_charge(deadly: Deadly) -> None:
    """Whatever it answered it has charged, and what it has charged it answers again: once each."""
    psp = deadly.running
    answered: list[str] = []

    async def crowd() -> None:
        async with httpx.AsyncClient(base_url=psp.url, limits=httpx.Limits(max_connections=8)) as client:

            async def one(number: int) -> None:
                try:
                    answer = await client.post(
                        PATH, content=json.dumps(body(f"order-{number}")), headers={"Idempotency-Key": f"key-{number}"}
                    )
                except httpx.HTTPError:
                    return
                assert answer.status_code == 201
                answered.append(f"order-{number}")

            await asyncio.gather(*(one(number) for number in range(200)))

    killer = threading.Timer(0.3, psp.kill)
    killer.start()
    asyncio.run(crowd())
    killer.join()
    psp = deadly.again()
    charged = [reference for _, reference in psp.charges()]
    assert set(answered) <= set(charged)
    for number in range(200):
        assert pay(psp, f"key-{number}", reference=f"order-{number}").status_code == 201
    charged = [reference for _, reference in psp.charges()]
    assert len(charged) == len(set(charged)) == 200


@pytest.mark.parametrize("fault", sorted(set(Fault) - {Fault.REFUSE, Fault.DIE_AFTER_ACCEPT}))
def test_a_share_is_the_same_payments_every_time(fault: Fault) -> None:
    names = [f"order-{number}" for number in range(2000)]
    first, second = ([name for name in names if parse(f"{fault}@5%").of(name)] for _ in range(2))
    assert first == second
    assert 60 < len(first) < 140
    wider = {name for name in names if parse(f"{fault}@10%").of(name)}
    assert set(first) < wider


def test_the_first_that_fits_counts_and_a_death_only_once() -> None:
    plan = parse("500@a, die_after_charging@*,slow@100%")
    assert plan.of("a") is Fault.ERROR
    assert plan.of("b") is Fault.DIE_AFTER_CHARGING
    assert plan.of("b", [Fault.DIE_AFTER_CHARGING]) is Fault.SLOW
    assert str(plan) == "500@a,die_after_charging@*,slow@*"
    assert str(parse(str(plan))) == str(plan)
    assert parse("").of("a") is None
    assert set(Fault) > DEATHS


@pytest.mark.parametrize(
    "text",
    ["explode@*", "slow", "slow@", "slow@0%", "slow@101%", "slow@a b", "refuse@*", "refuse@0s", "refuse@61s", "die_after_accept@order-1"],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UnknownFaultError):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (["--name", "A B", "--port", "0"], {}, 2, "name"),
        (["--name", "psp-a", "--port", "0"], {"BANYAN_PSP_FAULTS": "explode@*"}, 2, "BANYAN_PSP_FAULTS: unknown fault 'explode'"),
        (["--name", "psp-a", "--port", "70000"], {}, 2, "can't listen"),
        (["--name", "psp-a", "--port", "0"], {"BANYAN_PSP_DB": "/dev/null/x"}, 1, "cannot be used"),
    ],
    ids=["name", "faults", "port", "ledger"],
)
def test_wrong_use_is_one_line(tmp_path: Path, arguments: list[str], environment: dict[str, str], status: int, said: str) -> None:
    environment = {"BANYAN_PSP_DB": str(tmp_path / "psp.sqlite3"), **environment}
    ended = subprocess.run(
        [sys.executable, "-m", "services.psp", "serve", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == status
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_it_ends_in_order_and_its_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    psp = start_provider("psp-a", tmp_path)
    assert pay(psp, "key-1").status_code == 201
    assert psp.stop() == 0
    assert psp.ledger.stat().st_mode & 0o777 == 0o600
    assert len(psp.charges()) == 1
