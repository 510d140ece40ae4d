"""The console's own templates, static files, and tables of what people did."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ConsoleConfig(AppConfig):
    name = "console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from console.roles import make_groups

        post_migrate.connect(make_groups, sender=self)
