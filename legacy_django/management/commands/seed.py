"""`manage.py seed`: makes the tables where they are missing, and fills an empty shop."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from legacy_django.accounts.seeded import PASSWORD
from legacy_django.seeding import seed


class Command(BaseCommand):
    help = "Fills an empty shop with 200 items, 5,000 reviews and 50 users; a shop that has items is left as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        found = seed()
        done = "seeded" if found.made else "was filled before"
        self.stdout.write(f"{done}: {found.items} items, {found.reviews} reviews, {found.users} users (user01 … password {PASSWORD})")
