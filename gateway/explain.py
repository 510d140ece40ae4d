"""Why a request goes where it goes: the gateway's own policy and flags, asked about a request that nobody sends.

The same code decides as for real requests. What it cannot know stands in the notes: whose session it is (legacy is not asked), and how dice
would fall.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import msgspec

from flags import problems
from flags.decisions import Decisions
from flags.explain import explain as explain_flag
from flags.overrides import Override
from flags.snapshot import Context, Snapshot
from gateway import build
from gateway.config import Config
from gateway.identity.callers import Caller
from gateway.identity.visitors import Visitors
from gateway.policy.decision import AMBIGUOUS, Claim, Decision, Policy
from gateway.policy.properties import Headers, context
from gateway.policy.routing import Rewrite

_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x5b\x5d-\x7e]{0,8000}")
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")


class QuestionError(ValueError):
    """It cannot be answered. The message says what would be right."""


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, and who would send it."""

    target: str
    """Path and query."""
    method: str = "GET"
    headers: list[tuple[str, str]] = []
    user: str | None = None
    session: str | None = None
    address: str | None = None
    claims: dict[str, str] = {}
    """What legacy would say of the user besides."""

    def __post_init__(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise QuestionError(f"{self.method[:40]!r} is no method; write GET, or another token")
        if not _TARGET.fullmatch(self.target):
            raise QuestionError(f"{self.target[:80]!r} is no path; write one that starts with /, such as /api/v1/reviews/3?page=2")
        for name, value in self.headers:
            if not _FIELD.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise QuestionError(f'{name[:80]!r} is no header field; write "Name: value"')


def asked(body: bytes) -> Question:
    """What POST /explain asks.

    Raises:
        QuestionError: it cannot be understood.
    """
    try:
        return msgspec.json.decode(body, type=Question)
    except msgspec.DecodeError as error:  # its own, and what Question raises
        raise QuestionError(str(error)) from None


class _Thrown:
    """`decisions`, but for the flags whose dice have fallen already."""

    def __init__(self, decisions: Decisions, thrown: Mapping[str, bool]) -> None:
        self.revision = decisions.revision
        self._decisions = decisions
        self._thrown = thrown

    def enabled(self, flag: str, context: Context) -> bool:
        found = self._thrown.get(flag)
        return self._decisions.enabled(flag, context) if found is None else found

    def overridden(self, flag: str) -> bool:
        return self._decisions.overridden(flag)

    def by_session(self, flag: str) -> bool:
        return self._decisions.by_session(flag)


def explain(config: Config, snapshot: Snapshot, overrides: Mapping[str, Override], question: Question) -> dict[str, Any]:
    """What would become of the request, for JSON:

    request; route (null: none matches); context (what flags are told); flags (each with its role, override, and how it was decided);
    decision (with the target as each upstream gets it); problems of these flags; flag_state (of all of them); notes.
    """
    settings = config.flags
    decisions = Decisions.build(snapshot, app_name=settings.app_name, environment=settings.environment)
    answers = {flag: override.enabled for flag, override in overrides.items()}
    decisions.override(answers)
    policy = build.policy(config, decisions)
    found = policy.find(question.method, question.target.encode())
    notes: list[str] = []
    told: Context | None = None
    flags: list[dict[str, Any]] = []
    if isinstance(found, Claim):
        told = _context(config, found.route, question, notes)
        thrown = dict(answers)
        for role, flag in (("serve", found.serve_flag), ("shadow", found.shadow_flag)):
            how = explain_flag(snapshot, flag, told, app_name=settings.app_name, environment=settings.environment, overrides=answers)
            if how.chance:
                thrown[flag] = how.enabled  # as the dice fell there, or the decision might say otherwise
            override = overrides.get(flag)
            flags.append({"name": flag, "role": role, "override": override and asdict(override), "explanation": asdict(how)})
        policy.flags = _Thrown(decisions, thrown)
        decision = policy.decide(found, told)
    else:
        decision = found
        if found is AMBIGUOUS:
            notes.append("the path would belong to another route once it were decoded or tidied up: no candidate ever gets such a path")
    return {
        "request": {"method": question.method, "target": question.target},
        "route": _route(policy, decision.route),
        "context": told and _told(config, told),
        "flags": flags,
        "decision": _decision(decision, question, notes),
        "problems": [{"flag": each.flag, "problem": each.text} for each in problems.find(snapshot, [flag["name"] for flag in flags])],
        "flag_state": {key: getattr(snapshot, key) for key in ("source", "revision", "error", "fetched_at")},
        "notes": notes,
    }


def _route(policy: Policy, name: str) -> dict[str, Any] | None:
    for rules in policy.routes:
        if rules.name == name:
            pattern = rules.pattern
            return {"name": name, "match": pattern.match, "methods": sorted(pattern.methods), "candidate": rules.candidate.upstream}
    return None


def _context(config: Config, route: str, question: Question, notes: list[str]) -> Context:
    lines = b"".join(f"\r\n{name}: {value}".encode() for name, value in question.headers)
    identity = config.identity
    user, session = question.user, question.session
    claims = {name: value for name, value in question.claims.items() if name in identity.claims}
    if user is None and session is None:
        if identity.source == "introspection" and re.search(rb"[ ;:]%b=" % re.escape(identity.cookie.encode()), lines):
            notes.append("legacy is not asked whose session that cookie is: say it with --user and --session")
        if identity.visitor is not None:
            visitor = Visitors(identity.visitor, os.urandom).known(lines)
            session = (visitor or Caller()).session_id
    notes.extend(
        f"the claim {name!r} is not among identity.claims: flags are not told of it" for name in question.claims if name not in claims
    )
    headers = Headers(config.flags.headers).read(lines)
    return context(route, question.method, question.address or "127.0.0.1", user, session, claims, headers)


def _told(config: Config, context: Context) -> dict[str, Any]:
    """In Unleash's words."""
    return {
        "userId": context.user_id,
        "sessionId": context.session_id,
        "remoteAddress": context.remote_address,
        "appName": config.flags.app_name,
        "environment": config.flags.environment,
        "properties": dict(context.properties),
    }


def _decision(decision: Decision, question: Question, notes: list[str]) -> dict[str, Any]:
    serve, fallback, shadow, rules = decision.serve, decision.fallback, decision.shadow, decision.rules
    if shadow is not None and rules is not None:
        if question.method not in rules.methods:
            notes.append(f"nothing is compared: shadow.methods has {', '.join(sorted(rules.methods))}, not {question.method}")
        elif rules.sample < 1:
            notes.append(f"compared is a share of {rules.sample:g}, by chance (shadow.sample)")
    return {
        "serve": serve.upstream,
        "served_by": serve.side,
        "target": _rewritten(serve.rewrite, question.target),
        "host": serve.host and serve.host.decode(),
        "fallback": fallback and fallback.upstream,
        "shadow": shadow and shadow.upstream,
        "shadow_target": shadow and _rewritten(shadow.rewrite, question.target),
        "reason": decision.reason.value,
    }


def _rewritten(rewrite: Rewrite | None, target: str) -> str:
    return target if rewrite is None else rewrite(target.encode()).decode()
