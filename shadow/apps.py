"""The Django app `shadow`: what the comparison found, and the tables that keep it."""

from __future__ import annotations

from django.apps import AppConfig


class ShadowConfig(AppConfig):
    name = "shadow"
    label = "shadow"
    default_auto_field = "django.db.models.BigAutoField"
