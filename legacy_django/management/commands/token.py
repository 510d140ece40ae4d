"""`manage.py token user01`: a token by which programs sign in as a user."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from legacy_django.accounts.models import Token


class Command(BaseCommand):
    help = "Prints a new token of a user, for Authorization: Token …; with --revoke, ends all that the user has."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--seconds", type=int, help="how long it is good; by default until it is revoked")
        parser.add_argument("--revoke", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"there is no user {options['user']!r}")
        if options["revoke"]:
            count, _ = Token.objects.filter(user=user).delete()
            self.stdout.write(f"revoked: {count}")
            return
        seconds = options["seconds"]
        self.stdout.write(Token.issue(user, timezone.now() + timedelta(seconds=seconds) if seconds is not None else None))
