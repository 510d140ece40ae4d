"""Words that are stored, counted and sent in English, such as the state `new`, as the pages call them in the reader's language.

In English each is called what it is. What is not listed here, because another version wrote it, is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import pgettext_lazy

type Words = Mapping[str, str | Promise]

STATES: Final[Words] = {
    "new": pgettext_lazy("state", "new"),
    "expected": pgettext_lazy("state", "expected"),
    "bug": pgettext_lazy("state", "bug"),
    "fixed": pgettext_lazy("state", "fixed"),
}
KINDS: Final[Words] = {
    "status": pgettext_lazy("kind of difference", "status"),
    "authorization": pgettext_lazy("kind of difference", "authorization"),
    "header": pgettext_lazy("kind of difference", "header"),
    "type": pgettext_lazy("kind of difference", "type"),
    "missing": pgettext_lazy("kind of difference", "missing"),
    "extra": pgettext_lazy("kind of difference", "extra"),
    "value": pgettext_lazy("kind of difference", "value"),
    "order": pgettext_lazy("kind of difference", "order"),
    "body": pgettext_lazy("kind of difference", "body"),
    "unanswered": pgettext_lazy("kind of difference", "unanswered"),
    "inconclusive": pgettext_lazy("kind of difference", "inconclusive"),
    "drift": pgettext_lazy("kind of difference", "drift"),
    "null-rate": pgettext_lazy("kind of difference", "null-rate"),
}
"""Of differences. Kinds of rules are words of banyan.toml and of commands: they stay as they are."""
ROLES: Final[Words] = {
    "viewer": pgettext_lazy("role", "viewer"),
    "reviewer": pgettext_lazy("role", "reviewer"),
    "operator": pgettext_lazy("role", "operator"),
    "command": pgettext_lazy("role", "command"),
}
SIDES: Final[Words] = {
    "legacy": pgettext_lazy("side", "legacy"),
    "candidate": pgettext_lazy("side", "candidate"),
    "fallback": pgettext_lazy("side", "fallback"),
    "gateway": pgettext_lazy("side", "gateway"),
}
FLAG_ROLES: Final[Words] = {
    "serve": pgettext_lazy("what a flag decides", "serve"),
    "shadow": pgettext_lazy("what a flag decides", "shadow"),
    "split": pgettext_lazy("what a flag decides", "split"),
}
ACTIONS: Final[Words] = {
    "login": pgettext_lazy("action", "login"),
    "logout": pgettext_lazy("action", "logout"),
    "login-failed": pgettext_lazy("action", "login-failed"),
    "refused": pgettext_lazy("action", "refused"),
    "password-changed": pgettext_lazy("action", "password-changed"),
    "password-given": pgettext_lazy("action", "password-given"),
    "user-added": pgettext_lazy("action", "user-added"),
    "user-removed": pgettext_lazy("action", "user-removed"),
    "role-given": pgettext_lazy("action", "role-given"),
    "signature-new": pgettext_lazy("action", "signature-new"),
    "signature-expected": pgettext_lazy("action", "signature-expected"),
    "signature-bug": pgettext_lazy("action", "signature-bug"),
    "signature-fixed": pgettext_lazy("action", "signature-fixed"),
    "comment": pgettext_lazy("action", "comment"),
    "rule-made": pgettext_lazy("action", "rule-made"),
    "rule-ended": pgettext_lazy("action", "rule-ended"),
    "suggestion-declined": pgettext_lazy("action", "suggestion-declined"),
    "override-set": pgettext_lazy("action", "override-set"),
    "override-ended": pgettext_lazy("action", "override-ended"),
    "flags-refreshed": pgettext_lazy("action", "flags-refreshed"),
    "gate-begun": pgettext_lazy("action", "gate-begun"),
    "gate-taken-back": pgettext_lazy("action", "gate-taken-back"),
    "payment-settled": pgettext_lazy("action", "payment-settled"),
}
OUTCOMES: Final[Words] = {
    "pending": pgettext_lazy("outcome of a rollback", "pending"),
    "switched-off": pgettext_lazy("outcome of a rollback", "switched-off"),
    "already-off": pgettext_lazy("outcome of a rollback", "already-off"),
    "on-again": pgettext_lazy("outcome of a rollback", "on-again"),
}
ORIGINS: Final[Words] = {
    "person": pgettext_lazy("origin of a rule", "person"),
    "suggestion": pgettext_lazy("origin of a rule", "suggestion"),
    "signature": pgettext_lazy("origin of a rule", "signature"),
}
FORMS: Final[Words] = {
    "empty": pgettext_lazy("form of a body", "empty"),
    "json": pgettext_lazy("form of a body", "json"),
    "form": pgettext_lazy("form of a body", "form"),
    "html": pgettext_lazy("form of a body", "html"),
    "text": pgettext_lazy("form of a body", "text"),
    "opaque": pgettext_lazy("form of a body", "opaque"),
}
REASONS: Final[Words] = {
    "sampled_out": pgettext_lazy("not compared", "sampled_out"),
    "method": pgettext_lazy("not compared", "method"),
    "no_sandbox": pgettext_lazy("not compared", "no_sandbox"),
    "upgrade": pgettext_lazy("not compared", "upgrade"),
    "event_stream": pgettext_lazy("not compared", "event_stream"),
    "too_large": pgettext_lazy("not compared", "too_large"),
    "body_too_large": pgettext_lazy("not compared", "body_too_large"),
    "body_incomplete": pgettext_lazy("not compared", "body_incomplete"),
    "client_gone": pgettext_lazy("not compared", "client_gone"),
    "fallback": pgettext_lazy("not compared", "fallback"),
    "unanswered": pgettext_lazy("not compared", "unanswered"),
    "reference_unanswered": pgettext_lazy("not compared", "reference_unanswered"),
    "stale": pgettext_lazy("not compared", "stale"),
    "comparison_failed": pgettext_lazy("not compared", "comparison_failed"),
    "comparison_full": pgettext_lazy("not compared", "comparison_full"),
    "queue_full": pgettext_lazy("not compared", "queue_full"),
    "shipper_full": pgettext_lazy("not compared", "shipper_full"),
    "shipper_gone": pgettext_lazy("not compared", "shipper_gone"),
    "shipper_stopped": pgettext_lazy("not compared", "shipper_stopped"),
    "worker_stopped": pgettext_lazy("not compared", "worker_stopped"),
    "concurrency": pgettext_lazy("not compared", "concurrency"),
    "record_too_large": pgettext_lazy("not compared", "record_too_large"),
    "reload": pgettext_lazy("not compared", "reload"),
    "broker_away": pgettext_lazy("not compared", "broker_away"),
    "broker_full": pgettext_lazy("not compared", "broker_full"),
    "broker_refused": pgettext_lazy("not compared", "broker_refused"),
    "expired": pgettext_lazy("not compared", "expired"),
    "unreadable": pgettext_lazy("not compared", "unreadable"),
    "poison": pgettext_lazy("not compared", "poison"),
}
"""What skips and drops are counted by; docs/reference/metrics.md says what each means."""


def word(words: Words, key: object) -> str:
    """What `key` is called now."""
    return str(words.get(str(key), key))


def state(key: object) -> str:
    """Of a signature."""
    return word(STATES, key)


def kind(key: object) -> str:
    """Of a difference."""
    return word(KINDS, key)


def role(key: object) -> str:
    """Of a person."""
    return word(ROLES, key)


def side(key: object) -> str:
    """Who answered."""
    return word(SIDES, key)


def flag_role(key: object) -> str:
    """What a flag decides of its route."""
    return word(FLAG_ROLES, key)


def action(key: object) -> str:
    """Of the audit."""
    return word(ACTIONS, key)


def outcome(key: object) -> str:
    """Of what a guard did."""
    return word(OUTCOMES, key)


def origin(key: object) -> str:
    """Of a rule."""
    return word(ORIGINS, key)


def form(key: object) -> str:
    """Of a body."""
    return word(FORMS, key)


def why_not(key: object) -> str:
    """Why something was not compared."""
    return word(REASONS, key)
