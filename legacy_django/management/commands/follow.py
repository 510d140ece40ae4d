"""`manage.py follow --nats URL`: the shop takes over what the reviews service was told."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management.base import BaseCommand

from events.address import AddressError
from events.consumer import Consumer
from events.inbox import Inbox
from events.metrics import ConsumerMetrics
from events.running import run
from events.stream import stream_at
from legacy_django.outbox.emitting import SOURCE
from legacy_django.outbox.store import DjangoStore
from legacy_django.reviews.taking_back import take_back

CONSUMER = "shop"


class Command(BaseCommand):
    help = "Takes over what the reviews service was told. --parked lists what could not be taken over, --redrive tries it again."

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
        parser.add_argument("--redrive", action="store_true", help="only try what is parked again")

    def handle(self, *args: Any, **options: Any) -> None:
        inbox = Inbox(DjangoStore(), CONSUMER, take_back, not_from=SOURCE)
        if options["redrive"]:
            done, left = inbox.redrive()
            self.stdout.write(f"{done} took effect, {left} are parked")
            sys.exit(1 if left else 0)
        if options["begin_here"]:
            inbox.begin_here()
            self.stdout.write("follow: it goes on where the stream begins")
            return
        if options["parked"]:
            for one in inbox.parked():
                self.stdout.write(f"{one.event_id}  {one.key}  {one.reason}")
            return
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
            consumer = Consumer(inbox, "reviews", stream, metrics, thread, lambda event: "python legacy_django/manage.py follow --redrive")
            status = run("follow", [consumer.run()], metrics.registry, options["metrics"], consumer.standing.plain)
        sys.exit(status)
