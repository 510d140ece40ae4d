"""`manage.py follow --nats URL`: the shop takes over what the reviews service was told."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from events.address import AddressError
from events.consumer import Consumer
from events.inbox import Inbox, InboxError
from events.metrics import ConsumerMetrics
from events.running import run
from events.stream import stream_at
from legacy_django.outbox.emitting import SOURCE
from legacy_django.outbox.store import DjangoStore
from legacy_django.reviews.taking_back import take_back

CONSUMER = "shop"


class Command(BaseCommand):
    help = (
        "Takes over what the reviews service was told. --parked lists what could not be taken over, --redrive tries it again, "
        "--discard gives one up."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--nats", default="", metavar="URL[,URL]", help="where the stream is")
        parser.add_argument("--metrics", default="", metavar="HOST:PORT", help="answer GET /metrics there; port 0: a free one")
        parser.add_argument("--parked", action="store_true", help="only list what is parked")
        parser.add_argument(
            "--begin-here",
            action="store_true",
            help="only note that following goes on where the stream begins: the first time, and after the stream was lost. What it has "
            "forgotten is not taken over",
        )
        parser.add_argument("--redrive", action="store_true", help="only try what is parked again; exit status 1: some are parked still")
        parser.add_argument(
            "--event", default="", metavar="ID", help="with --redrive: this one, and those of its key behind it; default: all"
        )
        parser.add_argument("--discard", default="", metavar="ID", help="only give this one up: nothing will be seen of it")

    def handle(self, *args: Any, **options: Any) -> None:
        inbox = Inbox(DjangoStore(), CONSUMER, take_back, not_from=SOURCE)
        if options["event"] and not options["redrive"]:
            self.stderr.write("follow: --event goes with --redrive")
            sys.exit(2)
        if options["begin_here"] or options["parked"] or options["redrive"] or options["discard"]:
            try:
                sys.exit(self._see_to_parked(inbox, options))
            except (InboxError, DatabaseError) as error:
                said = str(error).strip().partition("\n")[0]
                self.stderr.write(f"follow: {said}; `manage.py migrate` makes the tables that are missing")
                sys.exit(2)
        if not options["nats"]:
            self.stderr.write("follow: --nats says where the stream is")
            sys.exit(2)
        try:
            stream = stream_at(options["nats"])
        except AddressError as error:
            self.stderr.write(f"follow: {error}")
            sys.exit(2)
        metrics = ConsumerMetrics()
        with ThreadPoolExecutor(1, thread_name_prefix="inbox") as thread:
            consumer = Consumer(inbox, "reviews", stream, metrics, thread, redrive_command)
            status = run("follow", [consumer.run()], metrics.registry, options["metrics"], consumer.standing.plain)
        sys.exit(status)

    def _see_to_parked(self, inbox: Inbox, options: dict[str, Any]) -> int:
        if options["begin_here"]:
            inbox.begin_here()
            self.stdout.write("follow: it goes on where the stream begins")
            return 0
        if options["parked"]:
            for one in inbox.parked():
                self.stdout.write(f"{one.event_id}  {one.key}  {one.reason}")
            return 0
        if options["discard"]:
            found = inbox.discard(options["discard"])
            self.stdout.write(f"{'given up' if found else 'not parked'}: {options['discard']}")
            return 0 if found else 1
        done, left = inbox.redrive(options["event"])
        self.stdout.write(f"{done} took effect, {left} are parked")
        return 1 if left else 0


def redrive_command(event: str) -> str:
    """How one of the shop's parked events is tried again."""
    return f"python legacy_django/manage.py follow --redrive --event {shlex.quote(event)}"
