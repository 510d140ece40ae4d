"""Everything that the demo runs, in one temporary folder: started together, stopped together, nothing left behind.

Servers are started in threads, never in the main one: a Ctrl-C interrupts the main thread alone, so that a server is either not begun or
known here and stopped by `close`.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Literal

from demo import configuration
from demo.broker import RunningBroker, start_broker
from demo.configuration import PRODUCT_VIEW, ROUTES
from demo.moving import FOLLOWING, Part, start_back_office, start_follower, start_relay, start_shop_follower
from demo.postgres import RunningPostgres, start_postgres
from demo.processes import Running, StartError, answers, listen, python, start
from demo.shop import Shop, start_product_view, start_recommendations, start_reviews, start_shop
from demo.steering import FileFlags, Steering, UnleashFlags
from demo.unleash import RunningUnleash, install, start_unleash
from flags.admin import UnleashAdmin
from services.faults import Fault

Engine = Literal["edge", "mitmproxy"]
Say = Callable[[str], None]

CONSOLE_USER: Final = "demo"
_SERVING: Final = re.compile(r"serving on \S+?:(\d+)\b.* admin on \S+?:(\d+)")


class World:
    """Call `close` whatever becomes of `start`: it stops what was started and removes the folder."""

    def __init__(self, say: Say, *, engine: Engine = "edge", unleash: bool = False, events: bool = False) -> None:
        """`events`: the shop is on PostgreSQL, and its data moves (demo/moving.py)."""
        self.folder = Path(tempfile.mkdtemp(prefix="banyan-demo-"))
        self.engine = engine
        self.services: dict[str, Running] = {}
        self.unleash: RunningUnleash | None = None
        self.events = events
        self.routes = (*ROUTES, PRODUCT_VIEW) if events else ROUTES
        self.parts: dict[str, Part] = {}
        """Relays and followers; none without events."""
        self.console_password = secrets.token_urlsafe(9)
        self.gateway_port = 0
        self._stamp_key = secrets.token_hex(32)
        self._say = say
        self._with_unleash = unleash
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="start")
        self._stops: list[Callable[[], object]] = []
        self._last_stops: list[Callable[[], object]] = []
        """Of what the others need until they have ended."""
        self._needed: list[Running] = []
        """What the shop's data moves through, beside `parts`."""
        self._lock = threading.Lock()

    @property
    def config(self) -> Path:
        """banyan.toml."""
        return self.folder / "banyan.toml"

    @property
    def shop_log(self) -> Path:
        """A line for each request that legacy itself answered; only after `start` with `access_log`."""
        return self.folder / "shop-access.log"

    @property
    def gateway_url(self) -> str:
        """For browsers."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def start(self, *, faults: Iterable[Fault], access_log: bool = False) -> None:
        """Everything, with `faults` planted in the new services and every flag off.

        Raises:
            StartError: something did not come up.
            flags.admin.AdminError: Unleash refused the flags.
        """
        if self._with_unleash:
            install(self._say)  # here and not in a thread: the first time takes a minute, and a Ctrl-C is not to wait for that
        unleash = self._threads.submit(self._start_unleash) if self._with_unleash else None
        log = self.shop_log if access_log else None
        database = self._start_ground() if self.events else None
        self._say("seeding and starting the shop")
        self.shop: Shop = self._keep(lambda: start_shop(self.folder, database=database, access_log=log)).result()
        self._say("filling and starting the new services")
        self.start_services((*ROUTES, *FOLLOWING) if self.events else ROUTES, faults)
        if self.events:
            self._start_parts()
        if unleash is not None:
            self._say("waiting for Unleash")
            self.unleash = unleash.result()
        self._prepare_flags()
        urls = {name: service.url for name, service in self.services.items()}
        events = [part.address for part in self.parts.values()]
        configuration.write(self.config, legacy=self.shop.url, **urls, events=events, stamp_key=self._stamp_key, unleash=self.unleash)
        self._say(f"starting the gateway ({self.engine} engine) and the console")
        gateway = self._keep(self._start_gateway, interrupt=True)
        self.gateway = gateway.result()
        found = _SERVING.search(self.gateway.log.read_text())
        if found is None:
            raise StartError(f"the gateway does not say where it serves:\n{self.gateway.tail()}")
        self.gateway_port, self.steering.admin_port = int(found[1]), int(found[2])
        self.console = self._keep(self._start_console).result()  # after the gateway, whose admin port it asks

    def start_services(self, names: Iterable[str], faults: Iterable[Fault]) -> None:
        """(Re)starts new services, each on the port that it had.

        Raises:
            StartError: one did not come up.
        """
        planted = frozenset(faults)
        starting = {name: self._keep(partial(self._start_service, name, planted)) for name in dict.fromkeys(names)}
        for name, future in starting.items():
            self.services[name] = future.result()

    def kill_service(self, name: str) -> None:
        """SIGKILL."""
        self.services[name].kill()

    def dead(self) -> list[Running]:
        """What the demo cannot go on without and has ended. A new service is not of these: legacy answers for it."""
        needed = (self.shop, self.gateway, self.console, *self._needed, *self.parts.values())
        return [running for running in needed if not running.alive()]

    def close(self, *, keep: bool = False) -> None:
        """Stops everything and removes the folder, unless it is to be kept. What is being started is waited for, then stopped."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        try:
            _stop_all(self._stops)
        finally:
            _stop_all(self._last_stops)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # In threads

    def _keep[Server: Running](self, begin: Callable[[], Server], *, interrupt: bool = False) -> Future[Server]:
        """Starts a server in a thread, to be stopped by `close`. `interrupt`: by SIGINT, see _interrupt."""

        def run() -> Server:
            running = begin()
            with self._lock:
                self._stops.append((lambda: _interrupt(running)) if interrupt else running.stop)
            return running

        return self._threads.submit(run)

    def _start_service(self, name: str, faults: frozenset[Fault]) -> Running:
        before = self.services.get(name)
        if before is not None:
            before.stop()
        port = before.port if before else 0
        if name == "product_view":
            return start_product_view(self.folder, self.shop, port=port, stamp_key=self._stamp_key)
        if name == "recommendations":
            return start_recommendations(self.folder, self.shop, faults, port=port, stamp_key=self._stamp_key)
        return start_reviews(self.folder, self.shop, faults, port=port, stamp_key=self._stamp_key, tells=self.events)

    def _start_ground(self) -> str:
        """What the shop and its events are kept in. Returns the shop's DATABASE_URL."""
        self._say("starting PostgreSQL and NATS")
        database = self._threads.submit(self._start_postgres)
        self._broker: RunningBroker = self._keep(lambda: start_broker(self.folder / "nats")).result()
        self._needed = [self._broker, database.result().running]
        return database.result().url

    def _start_postgres(self) -> RunningPostgres:
        database = start_postgres(self.folder, "shop", name="shop-postgres", settings=["wal_level=logical"])
        with self._lock:
            self._last_stops.append(database.stop)
        return database

    def _start_parts(self) -> None:
        """Relays before the back office changes anything; who follows may come when he likes."""
        self._say("starting the relays, and those who follow")
        nats, reviews = self._broker.nats, f"sqlite:///{self.folder / 'reviews.sqlite3'}"
        starting = {
            "shop-relay": self._keep(lambda: start_relay(self.folder, "shop-relay", self.shop.database, nats, tail=True)),
            "reviews-relay": self._keep(lambda: start_relay(self.folder, "reviews-relay", reviews, nats)),
            "shop-follow": self._keep(lambda: start_shop_follower(self.folder, self.shop, nats)),
            **{f"{name}-follow": self._keep(partial(start_follower, self.folder, name, nats)) for name in FOLLOWING},
        }
        self.parts = {name: part.result() for name, part in starting.items()}
        self._needed.append(self._keep(lambda: start_back_office(self.folder, self.shop)).result())

    def _start_unleash(self) -> RunningUnleash:
        database = start_postgres(self.folder, "unleash")
        try:
            unleash = start_unleash(self.folder, database, say=self._say)
        except BaseException:
            database.stop()
            raise

        def stop() -> None:
            unleash.stop()
            database.stop()

        with self._lock:
            self._stops.append(stop)
        return unleash

    def _prepare_flags(self) -> None:
        if self.unleash is None:
            self.steering = Steering(FileFlags(self.folder / "flags.json"))
        else:
            admin = UnleashAdmin(self.unleash.api_url, self.unleash.admin_token)
            self._stops.append(admin.close)
            self.steering = Steering(UnleashFlags(admin))
        for route in self.routes:
            self.steering.prepare(route)
            self.steering.prepare(f"{route}.shadow")

    def _start_gateway(self) -> Running:
        command = python("-m", "gateway.cli", "run", "--config", str(self.config), "--engine", self.engine)
        return start("gateway", command, log_dir=self.folder, ready=lambda running: _SERVING.search(running.tail()) is not None)

    def _start_console(self) -> Running:
        command = python("-m", "console", "--config", str(self.config), "--fd", "{fd}")
        env = {
            "BANYAN_CONSOLE_USER": CONSOLE_USER,
            "BANYAN_CONSOLE_PASSWORD": self.console_password,
            "BANYAN_CONSOLE_ADMIN": f"127.0.0.1:{self.steering.admin_port}",
        }
        return start("console", command, log_dir=self.folder, sock=listen(), env=env, ready=answers("/login/"))


def _stop_all(stops: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stop") as threads:
        for stopped in [threads.submit(stop) for stop in stops]:
            stopped.result()
    stops.clear()


def _interrupt(running: Running) -> None:
    """The gateway takes SIGTERM for a rollout and waits for load balancers to look away; nobody has to here."""
    if running.alive():
        os.kill(running.pid, signal.SIGINT)
        try:
            running.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
    running.stop(timeout=0.1)
