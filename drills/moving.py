"""The parts through which the shop's data moves, as processes that can be killed one by one and started again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from demo.broker import RunningBroker, start_broker
from demo.postgres import RunningPostgres, start_postgres
from demo.processes import ROOT, Running, StartError, python, start
from demo.shop import Shop, start_product_view, start_reviews, start_shop
from drills import tallying
from drills.stage import Stage

PARTS: Final = ("relay", "broker", "tally", "reviews", "product_view")
"""What is killed."""
OUTAGE_SECONDS: Final = (0.2, 1.5)
"""How long nobody starts a part that was killed."""
_TRUTH: Final = """
    CREATE TABLE drill_emitted (number bigint PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL);
    CREATE FUNCTION drill_note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO drill_emitted VALUES (NEW.number, NEW.event_id, NEW.key); RETURN NEW; END $$;
    CREATE TRIGGER drill_note AFTER INSERT ON outbox_event FOR EACH ROW EXECUTE FUNCTION drill_note();
"""
"""What was emitted, whoever takes it out of the outbox later: written by the database, in the same transaction."""


@dataclass(frozen=True, slots=True)
class Death:
    """Of one part, in time.monotonic()."""

    part: str
    at: float
    back: float


@dataclass(slots=True)
class World:
    """All of it. Call `begin` before anything else; the stage ends what it started, and `end` the rest."""

    stage: Stage
    tail: bool
    """The relay reads PostgreSQL's log, and does not poll."""
    parts: dict[str, Running] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    trouble: str = ""
    """What a part said that was to come back and did not, or that died though nobody had killed it."""
    _postgres: RunningPostgres | None = None
    _shop: Shop | None = None
    _view: Running | None = None
    _broker_port: int = -1

    @property
    def folder(self) -> Path:
        return self.stage.folder

    @property
    def postgres(self) -> RunningPostgres:
        assert self._postgres is not None  # noqa: S101 - begun
        return self._postgres

    @property
    def shop(self) -> Shop:
        assert self._shop is not None  # noqa: S101 - as above
        return self._shop

    @property
    def view(self) -> Running:
        assert self._view is not None  # noqa: S101 - as above
        return self._view

    @property
    def tally(self) -> Path:
        return self.folder / "tally.sqlite3"

    @property
    def nats(self) -> str:
        return f"nats://127.0.0.1:{self._broker_port}"

    def begin(self) -> None:
        """Starts everything but the customers.

        Raises:
            StartError: something did not come up.
        """
        self._postgres = start_postgres(self.folder, "shop", settings=["wal_level=logical"])
        url = self.postgres.url
        self._shop = self.stage.start(lambda: start_shop(self.folder, 1, database=url))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TRUTH.encode())
        self.start("broker")
        self.stage.start(lambda: start_reviews(self.folder, self.shop))
        self._view = self.stage.start(lambda: start_product_view(self.folder, self.shop))
        tallying.make(self.tally)
        for part in PARTS:
            if part != "broker":
                self.start(part)

    def end(self) -> None:
        """After the stage."""
        if self._postgres is not None:
            self._postgres.stop()

    def start(self, part: str) -> None:
        """Starts it, or starts it again."""
        if part == "broker":
            broker: RunningBroker = self.stage.start(lambda: start_broker(self.folder / "nats", self._broker_port))
            self._broker_port = broker.port
            self.parts[part] = broker
            return
        log = self.folder / f"{part}.log"
        begun = log.stat().st_size if log.exists() else 0

        def begin() -> Running:
            return start(
                part,
                self._command(part),
                log_dir=self.folder,
                env={f"BANYAN_{part.upper()}_DB": str(self.folder / f"{part}.sqlite3")},
                ready=lambda running: b"running" in log.read_bytes()[begun:],
            )

        self.parts[part] = self.stage.start(begin)

    def _command(self, part: str) -> list[str]:
        if part == "relay":
            way = "log" if self.tail else "table"
            return python("-m", "events", "relay", "--store", self.postgres.url, "--nats", self.nats, "--from", way)
        if part == "tally":
            return python("-m", "drills.tallying", str(self.tally), self.nats)
        return python("-m", f"services.{part}", "follow", "--nats", self.nats)

    def churn(self, events: int, rate: float, seed: int) -> Running:
        """People, and the shop's back office: until so many events are committed."""
        command = python("legacy_django/manage.py", "churn", "--events", str(events), "--rate", str(rate), "--seed", str(seed))
        environment = {
            "DJANGO_SETTINGS_MODULE": "legacy_django.settings",
            "BANYAN_SHOP_VAR": str(self.folder),
            "DATABASE_URL": self.postgres.url,
        }
        return self.stage.start(lambda: start(f"churn-{seed}", command, log_dir=self.folder, env=environment))

    def kill(self, times: int, seconds: float, over: threading.Event, seed: int) -> list[threading.Thread]:
        """Kills each part so often, at moments drawn from `seconds`, until `over`. Returns the threads that do it."""
        threads = []
        for number, part in enumerate(PARTS):
            chance = random.Random(seed * 100 + number)  # noqa: S311 - the same moments every time
            moments = sorted(chance.uniform(0, seconds) for _ in range(times))
            outages = [chance.uniform(*OUTAGE_SECONDS) for _ in range(times)]
            began = time.monotonic()
            thread = threading.Thread(target=self._kill, args=(part, began, moments, outages, over), name=f"kill {part}", daemon=True)
            thread.start()
            threads.append(thread)
        return threads

    def _kill(self, part: str, began: float, moments: list[float], outages: list[float], over: threading.Event) -> None:
        for moment, outage in zip(moments, outages, strict=True):
            if over.wait(max(0.0, began + moment - time.monotonic())):
                return
            if trouble := self.ended(part):
                self.trouble = self.trouble or trouble
                return
            at = time.monotonic()
            self.parts[part].kill()
            over.wait(outage)
            try:
                self.start(part)
            except StartError as error:
                self.trouble = self.trouble or str(error)
                return
            self.deaths.append(Death(part, at, time.monotonic()))

    def ended(self, part: str) -> str:
        """What there is to say of a part that nobody has killed, and that is dead; "": it is alive."""
        running = self.parts[part]
        return "" if running.alive() else f"{running.name} has ended by itself:\n{running.tail()}"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Of the shop's database."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def check(self, service: str) -> dict[str, Any]:
        """What the service's own checker finds.

        Raises:
            StartError: it could not check.
        """
        done = subprocess.run(  # noqa: S603 - this project's own
            python("-m", f"services.{service}", "check", "--from", self.postgres.url, "--settle", "2", "--json"),
            cwd=ROOT,
            env={**os.environ, f"BANYAN_{service.upper()}_DB": str(self.folder / f"{service}.sqlite3")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if not done.stdout:
            raise StartError(f"{service} can't be checked: {done.stderr.strip()[-500:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found
