"""The page of the data that moves, over what relays and followers really answer: and where they don't, that nothing is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from prometheus_client import CollectorRegistry
from pytest_django import Settings

from console import watch
from console.watch import Watches
from demo.processes import Running, listen
from events.inbox import Delivery, Parked
from events.metrics import served
from events.standing import ConsumerStanding, PartitionStanding, RelayStanding, service_command
from gateway.config import ConfigError, load, parse
from tests.console.test_korean import english
from tests.support.console import browser, log_in, running_console
from tests.support.outbox import event

HOSTILE = "<script>document.title='owned'</script>\u202egnp.exe"
TOML = """
[gateway]
admin = "127.0.0.1:1"
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""


@dataclass
class Parts:
    """A relay and a consumer that answer, as a real one's port would; and an address at which nobody does."""

    relay: RelayStanding
    consumer: ConsumerStanding
    addresses: list[str]

    @property
    def toml(self) -> str:
        listed = ", ".join(f'"{address}"' for address in self.addresses)
        return f"{TOML}[console]\nevents = [{listed}]\n"


@pytest.fixture
def parts() -> Iterator[Parts]:
    relay = RelayStanding("shop", nats=True, held=4, backlog=1234, oldest=time.time() - 90)
    consumer = ConsumerStanding("product_view", "shop", nats=True, redrive=service_command("product_view"))
    waits = event("item-17", 1)
    consumer.partitions = [
        PartitionStanding(7, Delivery(9, waits.encoded()), time.time() - 100, HOSTILE),
        PartitionStanding(0, None, time.time() - 10),
        PartitionStanding(),
        PartitionStanding(3),
    ]
    consumer.parked = 61
    consumer.first_parked = [
        Parked(8, "e-1", "item-17", f"ValueError: {HOSTILE}", 5, int(1000 * time.time())),
        Parked(9, "e-2", "item-17", "behind e-1, of the same key", 0, int(1000 * time.time())),
    ]
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(CollectorRegistry(), "127.0.0.1:0", standing.plain)) for standing in (relay, consumer))
        with listen() as closed:
            nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        yield Parts(relay, consumer, [one, other, nobody])


@pytest.fixture
def console(parts: Parts, tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "banyan.toml").write_text(parts.toml)
    with running_console(tmp_path / "banyan.toml") as running:
        yield running


def shown(client: httpx.Client, wanted: str, seconds: float = 15.0) -> str:
    """The page once it has that."""
    deadline = time.monotonic() + seconds
    while wanted not in (page := client.get("/events/").text):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)
    return page


def test_the_page_tells_what_waits_what_is_behind_and_what_is_parked(console: Running, parts: Parts) -> None:
    with closing(log_in(console)) as client:
        assert ">Events</a>" in client.get("/").text
        page = shown(client, "e-1")
        page = shown(client, "1,234")
        for wanted in (
            "product_view, which follows shop",
            "4 of 4",
            "61 events are parked: they took no effect.",
            "59 more are not shown.",
            "tried 5 times",
            "python -m services.product_view redrive --event e-1",
            "behind e-1, of the same key",
        ):
            assert wanted in page
        assert page.count("redrive --event") == 1, "who waits behind another comes with it"
        assert HOSTILE not in page
        assert "\u202e" not in page
        row = [part for part in page.split("<tr") if 'data-label="Lag"' in part]
        assert [">7<" in row[0], ">0<" in row[1], "not known" in row[2], ">3<" in row[3]] == [True] * 4
        assert "<time" in row[0].partition("Oldest")[2]
        assert "none" in row[1]
        assert row[2].count("not known") == 3
        assert "not known" in row[3], "what is behind and not in hand is of no known age"
        # Nobody is where one of them should be.
        assert f"What is at {parts.addresses[2]} tells nothing:" in page
        assert "Nothing is known of it: neither backlog nor lag." in page
        part = client.get("/events/", headers={"HX-Request": "true"})
        assert "<html" not in part.text
        assert client.get("/events/", headers={"HX-Request": "true", "If-None-Match": part.headers["ETag"]}).status_code == 304
        # What a relay does not know itself is not known here.
        parts.relay.backlog = parts.relay.oldest = None
        parts.relay.nats = False
        page = shown(client, "away")
        assert page.count("not known") >= 2
        parts.consumer.parked = None
        shown(client, "Parked events: not known.")


def test_of_one_that_has_gone_what_it_last_said_is_shown_as_that(tmp_path: Path) -> None:
    relay = RelayStanding("reviews.sqlite3", nats=True, held=4, backlog=5)
    with served(CollectorRegistry(), "127.0.0.1:0", relay.plain) as address:
        (tmp_path / "banyan.toml").write_text(f'{TOML}[console]\nevents = ["{address}"]\n')
        watches = Watches(load(tmp_path / "banyan.toml"))
        [look] = watches.events.each
        look._once()
    assert look.look.now is not None
    assert (look.look.now.relays[0].backlog, look.look.error) == (5, "")
    look._once()
    assert look.look.now.relays[0].backlog == 5
    assert look.look.error
    assert look.look.at > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["127.0.0.1:0"], "port 0 is any free one"),
        (["127.0.0.1:9911", "127.0.0.1:9911"], "an address is named twice"),
        ([f"127.0.0.1:{9900 + number}" for number in range(17)], "17 addresses: 16 at most"),
        (["http://127.0.0.1:9911/metrics"], "write"),
    ],
)
def test_what_is_no_address_is_refused(wrong: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(tmp_path / "banyan.toml", f"{TOML}[console]\nevents = {wrong}\n")


@pytest.mark.django_db
def test_where_no_events_are_configured_nobody_is_led_there(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    client = Client()
    client.force_login(User.objects.create_user("kim"))
    assert ">Events</a>" not in client.get("/").content.decode()
    assert "The console knows no relays and no followers" in client.get("/events/").content.decode()
    assert client.post("/events/").status_code == 405


@pytest.mark.django_db
def test_in_korean_nothing_is_left_in_english(parts: Parts, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "banyan.toml").write_text(parts.toml)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    client = Client()
    client.force_login(User.objects.create_user("kim"))
    client.cookies["banyan_console_language"] = "ko"
    assert english(client.get("/events/").content.decode()) == [], "nobody has asked anybody"
    watches = Watches(load(tmp_path / "banyan.toml"))
    for each in watches.events.each:
        each._once()
    monkeypatch.setattr(watch, "_watches", watches)
    page = client.get("/events/").content.decode()
    assert "services.product_view redrive" in page
    assert english(page) == []
    for each in watches.events.each:
        each._port.close()
    (tmp_path / "banyan.toml").write_text(TOML)
    assert english(client.get("/events/").content.decode()) == []


@pytest.fixture
def kim(settings: Settings, tmp_path: Path) -> Client:
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    client = Client()
    client.force_login(User.objects.create_user("kim"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("moment", [1.8e12, 1e300, -1e300, -1e11])
def test_a_moment_that_no_calendar_has_costs_nobody_the_page(
    moment: float, kim: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = RelayStanding("shop", nats=True, held=4, backlog=1234, oldest=moment)
    consumer = ConsumerStanding("product_view", "shop", nats=True, partitions=[PartitionStanding(7, None, moment)], parked=1)
    consumer.first_parked = [Parked(8, "e-1", "item-17", "x", 5, 1)]
    answer = relay.plain() | consumer.plain()
    answer["consumers"][0]["first_parked"][0]["at"] = moment
    with served(CollectorRegistry(), "127.0.0.1:0", lambda: answer) as address:
        page = asked(kim, tmp_path, monkeypatch, address)
    assert f"@{moment:g}" in page
    assert "item-17" in page


@pytest.mark.django_db
def test_of_very_many_the_page_shows_the_first_and_how_many_more_there_are(
    kim: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = [ConsumerStanding(f"consumer-{number}", "shop").plain()["consumers"][0] for number in range(64 + 5)]
    consumers[0]["partitions"] *= 20
    relays = [RelayStanding(f"store-{number}").plain()["relays"][0] for number in range(64 + 7)]
    with served(CollectorRegistry(), "127.0.0.1:0", lambda: {"consumers": consumers, "relays": relays}) as address:
        page = asked(kim, tmp_path, monkeypatch, address)
    assert [f"{number} more are not shown." in page for number in (5, 16, 7)] == [True] * 3
    assert ["consumer-63," in page, "consumer-64," in page, "store-63<" in page, "store-64<" in page] == [True, False, True, False]


@pytest.mark.django_db
def test_an_answer_of_megabytes_is_none(kim: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = RelayStanding("shop", trouble="x" * 1024 * 1024)
    with served(CollectorRegistry(), "127.0.0.1:0", relay.plain) as address:
        page = asked(kim, tmp_path, monkeypatch, address)
    assert "its answer to /standing is too large or too slow" in page


@pytest.mark.django_db
def test_an_address_that_was_written_meanwhile_is_said_to_need_a_new_start(
    kim: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = RelayStanding("shop", nats=True)
    with served(CollectorRegistry(), "127.0.0.1:0", relay.plain) as address:
        asked(kim, tmp_path, monkeypatch, address)
    (tmp_path / "banyan.toml").write_text(f'{TOML}[console]\nevents = ["{address}", "127.0.0.1:1234"]\n')
    page = kim.get("/events/").content.decode()
    assert "What is at 127.0.0.1:1234 tells nothing: it is not known until the console is started again." in page
    assert f"What is at {address}" not in page
    kim.cookies["banyan_console_language"] = "ko"
    assert english(kim.get("/events/").content.decode()) == []


def asked(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> str:
    """The page once a console that knows this address has asked there."""
    (folder / "banyan.toml").write_text(f'{TOML}[console]\nevents = ["{address}"]\n')
    watches = Watches(load(folder / "banyan.toml"))
    [each] = watches.events.each
    each._once()
    each._port.close()
    monkeypatch.setattr(watch, "_watches", watches)
    answer = client.get("/events/")
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.browser
def test_the_page_is_accessible_and_follows_by_itself(console: Running, parts: Parts) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with browser(console.url, "/events/") as page:
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.get_by_text("redrive --event e-1").wait_for()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
                results = Axe().run(page)
                assert results.violations_count == 0, f"{width} {scheme}\n{results.generate_report()}"
                beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert beyond <= 0, f"the page is wider than a window of {width}"
        parts.relay.backlog = 4321
        page.get_by_text("4,321").wait_for()
        assert errors == []
