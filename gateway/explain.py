"""Why a request goes where it goes: the gateway's own policy and flags, asked about a request that nobody sends.

The same code reads and decides as for real requests: what the edge refuses is refused, and what it cuts no flag is told of. What it cannot
know stands in the notes: whose session it is (legacy is not asked), how dice would fall, which number a new visitor would draw, and what a
trusted proxy would say of its client.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from flags import problems
from flags.decisions import Decisions
from flags.explain import explain as explain_flag
from flags.explanation import Explanation
from flags.overrides import Override
from flags.snapshot import Context, Flags, Snapshot
from gateway import build
from gateway.config import Config
from gateway.explaining_caller import who
from gateway.explaining_payment import notes_on
from gateway.identity.caller import Caller
from gateway.identity.callers import told
from gateway.identity.visitors import Visitors
from gateway.net.fields import values
from gateway.net.head import HeadError, RequestHead, parse_request
from gateway.policy.decision import AMBIGUOUS, Claim, Decision, Policy, SplitClaim, SplitRules
from gateway.policy.forwarded import unmapped
from gateway.policy.problems import Problem
from gateway.policy.properties import LONGEST, Headers, context
from gateway.policy.routing import Rewrite
from gateway.policy.splitter import RANDOM, known_by

_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x5b\x5d-\x7e]{0,16000}")
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
        for text in (self.user, self.session):
            if text is not None and not 0 < len(text) <= LONGEST:
                raise QuestionError(f"{text[:40]!r} is nobody: an id has 1 to {LONGEST} characters")
        if self.address is not None and self.address != "unix" and not _is_address(self.address):
            raise QuestionError(f"{self.address[:40]!r} is no address; write one such as 192.0.2.7 or 2001:db8::7, without a port")
        for name, value in self.headers:
            if not _FIELD.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise QuestionError(f'{name[:80]!r} is no header field; write "Name: value"')


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def asked(body: bytes) -> Question:
    """What POST /explain asks.

    Raises:
        QuestionError: it cannot be understood.
    """
    try:
        return msgspec.json.decode(body, type=Question)
    except msgspec.DecodeError as error:  # its own, and what Question raises
        raise QuestionError(str(error)) from None


class _Thrown(Flags):
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

    def weights(self, flag: str) -> dict[str, int] | None:
        return self._decisions.weights(flag)

    def chose(self, flag: str, variant: str) -> None:
        """Nobody was given anything."""


def explain(config: Config, snapshot: Snapshot, overrides: Mapping[str, Override], question: Question) -> dict[str, Any]:
    """What would become of the request, for JSON:

    request; refused (null, or what the gateway itself would answer: no upstream is asked, and no flag); identity (what the route needs to
    know of its caller, what says it, and what is known; null: nobody asks); route (null: none matches); context
    (what flags are told); flags (each with its role, override, and how it was decided); decision (with the target as each upstream gets
    it; null where it is refused); split (of a route with several providers: the weights in force for the caller, where they are from, by
    what the caller stays with one of them, and which that is; else null); problems of these flags; flag_state (of all of them); notes.
    """
    state = {key: getattr(snapshot, key) for key in ("source", "revision", "error", "fetched_at")}
    asked_for = {"method": question.method, "target": question.target}
    try:
        head = _head(config, question)
    except HeadError as error:
        refused = {"status": error.problem.status, "code": error.problem.value, "detail": error.detail}
        nothing: dict[str, Any] = {"route": None, "context": None, "flags": [], "decision": None, "split": None, "problems": []}
        return {"request": asked_for, "refused": refused, "identity": None, **nothing, "flag_state": state, "notes": []}
    settings = config.flags
    decisions = Decisions.build(snapshot, app_name=settings.app_name, environment=settings.environment)
    answers = {flag: override.enabled for flag, override in overrides.items()}
    decisions.override(answers)
    policy = build.policy(config, decisions)
    found = policy.find(head.method, head.target)
    notes: list[str] = []
    known: Context | None = None
    identity: dict[str, Any] | None = None
    flags: list[dict[str, Any]] = []
    split: dict[str, Any] | None = None
    if isinstance(found, Claim):
        caller, identity, shut_out = who(config, found.route, question, head.fields)
        if shut_out is not None:
            nothing = {
                "route": _route(config, policy, found.route),
                "context": None,
                "flags": [],
                "decision": None,
                "split": None,
                "problems": [],
            }
            return {"request": asked_for, "refused": shut_out, "identity": identity, **nothing, "flag_state": state, "notes": []}
        known = _context(config, found, question, head, caller, identity, decisions, notes)
        thrown = dict(answers)
        for flag, role in found.flags.items():
            how = explain_flag(snapshot, flag, known, app_name=settings.app_name, environment=settings.environment, overrides=answers)
            if known.fleeting and how.overridden is None and _by_lot(how):
                how = replace(how, chance=True)
            if how.chance:
                thrown[flag] = how.enabled  # as the dice fell there, or the decision might say otherwise
            if role == "split":  # the engine's choice among the variants, which is not gone by: their weights are
                how = replace(how, variant=None, variant_by_chance=False)
            override = overrides.get(flag)
            flags.append({"name": flag, "role": role, "override": override and asdict(override), "explanation": asdict(how)})
        policy.flags = _Thrown(decisions, thrown)
        by = (values(head.fields, found.field.encode()) or [b""])[0].decode("latin-1") if found.field else ""
        decision = policy.decide(found, known, by)
        if isinstance(found, SplitClaim):
            split = _split(found, decision, policy, known, by, notes)
            notes += notes_on(found, head.method, by)
    else:
        decision = found
        if found is AMBIGUOUS:
            notes.append("the path would belong to another route once it were decoded or tidied up: no candidate ever gets such a path")
    return {
        "request": asked_for,
        "refused": None,
        "identity": identity,
        "route": _route(config, policy, decision.route),
        "context": known and _told(config, known),
        "flags": flags,
        "decision": _decision(decision, question, notes),
        "split": split,
        "problems": [
            {"flag": each.flag, "problem": each.text}
            for each in problems.find(
                snapshot, [flag["name"] for flag in flags], [each for each in config.splits if each.route == decision.route]
            )
        ],
        "flag_state": state,
        "notes": notes,
    }


def _route(config: Config, policy: Policy, name: str) -> dict[str, Any] | None:
    for rules in policy.routes:
        if rules.name == name:
            pattern = rules.pattern
            settings = next(route for route in config.routes if route.name == name)
            limit = settings.rate_limit
            about: dict[str, Any] = {
                "name": name,
                "match": pattern.match,
                "methods": sorted(pattern.methods),
                "priority": settings.priority,
                "rate_limit": None if limit is None else {"per": limit.per, "rate": limit.rate, "burst": limit.most_at_once},
            }
            if isinstance(rules, SplitRules):
                return {**about, "candidate": None, "split": dict(rules.weights)}
            return {**about, "candidate": rules.candidate.upstream}
    return None


def _split(claim: SplitClaim, decision: Decision, policy: Policy, context: Context, by: str, notes: list[str]) -> dict[str, Any]:
    splitter = claim.splitter
    shares = splitter.shares(policy.flags, context)
    by_chance = splitter.sticky == RANDOM
    name = known_by(splitter.sticky, context, by)[0]
    then = claim.elsewhere(policy.flags, context, by, (decision.serve.upstream,))
    if by_chance:
        notes.append("sticky is random: dice were thrown, and the next request of the same caller may meet another provider")
    elif name == "remoteAddress" and context.remote_address is not None:
        notes.append("nobody is known here but by the address: whoever shares it meets the same provider")
    return {
        "provider": decision.serve.upstream,
        "weights": shares.weights,
        "from": "configuration" if shares is splitter.configured else "flag",
        "configured": splitter.configured.weights,
        "sticky": splitter.sticky,
        "known_by": None if by_chance else name,
        "then": then and then.upstream,
        "failover": "safe" if claim.rules.failover else "never",
        "ledger": claim.rules.ledger,
    }


def _head(config: Config, question: Question) -> RequestHead:
    """As the edge reads it from a client that is no trusted proxy.

    Raises:
        HeadError: it would refuse it.
    """
    limits = config.gateway.limits
    headers = list(question.headers)
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", "localhost"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    data = f"{question.method} {question.target} HTTP/1.1\r\n{lines}\r\n".encode()
    if len(data) > limits.header_bytes:
        kind = Problem.HEAD_TOO_LARGE if b"\r\n" in data[: limits.header_bytes] else Problem.TARGET_TOO_LONG
        raise HeadError(kind, f"The request's head is longer than {limits.header_bytes} bytes.")
    head = parse_request(data, max_fields=limits.headers)
    if head.length > limits.body_bytes:
        raise HeadError(Problem.BODY_TOO_LARGE, f"The body is longer than {limits.body_bytes} bytes.")
    return head


def _by_lot(how: Explanation) -> bool:
    """Whether it says something else to another visitor who was made up: a share that chooses by who he is."""
    shares = (strategy.parameters.get("rollout", strategy.parameters.get("percentage")) for strategy in how.strategies if strategy.place)
    return "sessionId" in how.reads and any(share not in ("0", "100") for share in shares)


def _context(
    config: Config,
    claim: Claim,
    question: Question,
    head: RequestHead,
    caller: Caller,
    asked: Mapping[str, Any] | None,
    flags: Decisions,
    notes: list[str],
) -> Context:
    lines = head.fields
    fleeting = False
    identity = config.identity
    user, session = caller.user_id, caller.session_id
    claims = told(question.claims, identity.claims) if question.user is not None and user is not None else caller.claims
    if asked is None and (question.user or question.session):
        if identity.source == "none":
            notes.append("identity.source is none: of real requests flags are told of no user and no session")
        else:
            notes.append("nobody asks who calls there: flags are told of no user and no session")
    if user is None and session is None:
        if asked is not None and asked["standing"] == "not-asked":
            needed = ", which this route requires" if asked["need"] == "required" else ""
            whoever = "the key server" if identity.source == "jwt" else "legacy"
            notes.append(f"{whoever} is not asked whose credential that is{needed}: say it with --user and --session")
        if identity.visitor is not None:
            visitors = Visitors(identity.visitor, os.urandom)
            visitor = visitors.known(lines)
            if visitor is None and claim.by_session(flags) and (asked is None or asked["standing"] != "not-asked"):
                visitor, _ = visitors.new()
                fleeting = True
                notes.append(
                    f"no cookie {identity.visitor.cookie} of ours came along: a new visitor was made up, as for each such request, and "
                    "another one may be answered otherwise"
                )
            session = (visitor or Caller()).session_id
    for name in question.claims:
        if name not in identity.claims:
            notes.append(f"the claim {name!r} is not among identity.claims: flags are not told of it")
        elif user is None:
            notes.append(f"the claim {name!r} is nobody's: legacy makes claims of users only; say who it is with --user")
        elif name not in claims:
            notes.append(f"the claim {name!r} is longer than {LONGEST} characters: flags are not told of it")
    if any(name.lower() == "x-forwarded-for" for name, _ in question.headers):
        notes.append("X-Forwarded-For is believed from gateway.trusted_proxies only, and not here: say the client's address with --address")
    headers = Headers(config.flags.headers).read(lines)
    given = question.address or "127.0.0.1"
    address = given if given == "unix" else unmapped(str(ip_address(given)))  # as the system and proxies write it
    return context(claim.route, question.method, address, user, session, claims, headers, fleeting)


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
            if question.method in rules.withheld:
                notes.append(f"nothing is compared: legacy would execute the {question.method} a second time (shadow.sandbox_legacy)")
            else:
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
