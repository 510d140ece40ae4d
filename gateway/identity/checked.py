"""Sources that know by themselves who is calling, without a call: whatever both engines ask of them."""

from __future__ import annotations

from typing import Protocol

from gateway.identity.caller import Caller
from gateway.identity.credential import Credential
from gateway.identity.django_session import Sessions
from gateway.settings import Config


class Checker(Protocol):
    """Checks credentials."""

    def caller(self, credential: Credential, fields: bytes, now: float) -> Caller:
        """Who sent the request with these field lines, each with its CRLF before it. `now`: Unix time. Nothing a client sends raises."""


def checker(config: Config, before: Checker | None = None) -> Checker | None:
    """The one that `config` asks for; None: its source is another. `before`: that of the terms which these replace, whose keys and
    remembered callers are carried over where nothing that they depend on has changed."""
    identity = config.identity
    if identity.source == "django-session" and identity.django_session is not None:
        terms = (identity.django_session, identity.claims, identity.entries)
        return before if isinstance(before, Sessions) and before.terms == terms else Sessions(*terms)
    return None
