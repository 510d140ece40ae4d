"""An explanation for people: first who answers and why, then what each flag made of it. A screen at most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.cli.flags.shown import clock, duration, plain

Json = Mapping[str, Any]

_REASONS: Final = {
    "unrouted": "no route matches",
    "ambiguous-path": "the path could mean another route once decoded",
    "flag": "its flag is on for this caller",
    "flag-off": "its flag is off for this caller",
    "split": "it is this caller's provider by the weights in force",
    "override": "somebody set it on this gateway for a while",
}
_LEDGER: Final = "what was sent and not answered is in doubt (banyan payments in-doubt)"
_STANDINGS: Final = {
    "known": "logged in",
    "nobody": "nobody who is logged in",
    "refused": "the credential is no good",
    "unsaid": "nobody can say",
    "not-asked": "legacy, or the key server, would be asked, and is not from here",
}
_ROLES: Final = {"serve": "who answers", "shadow": "whether answers are compared", "split": "the providers' shares"}
_PER: Final = {"client": "from each client", "user": "from each user, or client without one", "route": "from all clients together"}
_PRIORITIES: Final = {
    "critical": "let in before others where an upstream is full",
    "sheddable": "the first to be told to come again where an upstream is full",
}
_MOST: Final = 3
"""Strategies of a flag, and conditions of a strategy, that are shown; those that matter most among them."""
_WIDEST: Final = 120
"""Characters of what somebody else wrote."""


def lines(answer: Json, source: str, now: float) -> Iterator[str]:
    """Of POST /explain's `answer`; `source` says in words who gave it. `now` in Unix seconds."""
    yield from map(plain, _lines(answer, source, now))


def _lines(answer: Json, source: str, now: float) -> Iterator[str]:
    request = answer["request"]
    yield f"{request['method']} {request['target']}"
    yield source
    yield ""
    yield from _aligned(_outline(answer, now))
    for flag in answer["flags"]:
        yield ""
        yield from _flag(flag, now)
    problems = [f"problem  {each['flag']}: {each['problem']}" for each in answer["problems"]]
    notes = [f"note     {note}" for note in answer["notes"]]
    if problems or notes:
        yield ""
        yield from (_cut(line, 2 * _WIDEST) for line in _some([*problems, *notes], lambda line: line.startswith("problem")))


def _outline(answer: Json, now: float) -> Iterator[tuple[str, str]]:
    route, decision = answer["route"], answer["decision"]
    refused = answer.get("refused")
    if refused:
        yield "answers", f"the GATEWAY itself, {refused['status']}: {refused['detail']}"
        yield "why", f"no upstream and no flag is asked about such a request ({refused['code']})"
        if (identity := answer.get("identity")) is not None:
            yield "caller", _identity(identity)
        return
    if route is None:
        yield "route", "none"
    else:
        methods = ", ".join(route["methods"]) or "every method"
        whose = f"split between {_cut(', '.join(route['split']))}" if route.get("split") else f"candidate {route['candidate']}"
        yield "route", f"{route['name']}: {methods} {route['match']}, {whose}"
        if (priority := route.get("priority", "normal")) != "normal":
            yield "priority", f"{priority}: {_PRIORITIES[priority]}"
        if limit := route.get("rate_limit"):
            yield (
                "at most",
                f"{limit['rate']:g} requests a second {_PER[limit['per']]}, {limit['burst']} at once; then 429",
            )
    method = answer["request"]["method"]
    host = f", Host {decision['host']}" if decision["host"] else ""
    name = f" ({decision['serve']})" if decision["serve"] != decision["served_by"] else ""
    split = answer.get("split")
    side = "PROVIDER" if split else decision["served_by"].upper()
    yield "answers", f"{side}{name}, asked for {method} {decision['target']}{host}"
    yield "why", f"{_REASONS.get(decision['reason'], decision['reason'])} (reason={decision['reason']})"
    if split:
        yield "shares", _shares(split)
        yield "stays with", _stays_with(split)
        then = f"{_cut(split['then'])} is asked, if nothing was sent" if split.get("then") else "nobody else is asked: the caller is told"
        yield "if it fails", f"{then}; {_LEDGER}" if split.get("ledger") else then
    elif decision["fallback"]:
        yield "if it fails", f"{decision['fallback']} answers, where that is safe"
    if decision["shadow"]:
        yield "compared", f"with {decision['shadow']}, asked for {method} {decision['shadow_target']}"
    elif route is not None and not split:
        yield "compared", "no"
    if (identity := answer.get("identity")) is not None:
        yield "caller", _identity(identity)
    if answer["context"] is not None:
        yield "flags know", _context(answer["context"])
    yield "flags from", _flag_state(answer["flag_state"], now)


def _identity(identity: Json) -> str:
    scheme = f"Authorization: {identity['scheme']}" if identity["scheme"] else ""
    cookie = f"the cookie {identity['cookie']}" if identity["cookie"] else ""
    standing = _STANDINGS.get(identity["standing"], identity["standing"])
    why = f" ({identity['why']})" if identity["why"] else ""
    return f"{identity['need']}, by {' or '.join(part for part in (cookie, scheme) if part)} ({identity['source']}): {standing}{why}"


def _shares(split: Json) -> str:
    weights = split["weights"]
    total = sum(weights.values())
    shares = ", ".join(f"{name} {100 * weight / total:.4g} %" for name, weight in weights.items())
    return f"{_cut(shares, 2 * _WIDEST)} ({"of its flag's variants" if split['from'] == 'flag' else 'as configured'})"


def _stays_with(split: Json) -> str:
    if split["known_by"] is None:
        return "none of them: dice are thrown for each request"
    return f"{split['provider']}, by the {split['known_by']}, for as long as the shares stay"


def _context(context: Json) -> str:
    who = [f"{name} {_cut(context[name])}" for name in ("userId", "sessionId", "remoteAddress") if context[name] is not None]
    if context["userId"] is None and context["sessionId"] is None:
        who.insert(0, "nobody's user or session")
    return ", ".join([*who, *(f"{name} {_cut(value)}" for name, value in context["properties"].items())])


def _flag_state(state: Json, now: float) -> str:
    age = f", as of {clock(state['fetched_at'])} ({duration(now - state['fetched_at'])} ago)" if state["fetched_at"] else ""
    return f"{state['source']}{age}{f'; {state["error"]}' if state['error'] else ''}"


def _flag(flag: Json, now: float) -> Iterator[str]:
    how = flag["explanation"]
    yield f"flag {flag['name']} ({_ROLES[flag['role']]}): {'ON' if how['enabled'] else 'OFF'}"
    # Why none does stands below, strategy by strategy.
    reason = how["reason"].partition(":")[0] if how["reason"].startswith("no strategy matches:") else how["reason"]
    yield f"  {_cut(reason, 2 * _WIDEST)}"
    if override := flag["override"]:
        why = f": {_cut(override['why'])}" if override["why"] else ""
        yield f"  for {duration(override['until'] - now)} more, by {_cut(override['by']) or 'somebody'}{why}"
    if how["chance"]:
        yield "  dice were thrown: the next request may be answered otherwise"
    if how["time"]:
        yield "  it looks at the time: later it may be otherwise"
    for parent in _some(how["parents"], lambda parent: not parent["met"]):
        state = "on" if parent["enabled"] else "off"
        yield f"  {_mark(parent['met'])} needs the flag {_cut(parent['flag'])} {_cut(parent['wanted'])}: here it is {state}"
    strategies = how["strategies"]
    for strategy in _some(strategies, lambda strategy: strategy["number"] == how["decided"] or strategy["broken"]):
        yield from _strategy(strategy, how["decided"])
    if len(strategies) > _MOST:
        yield f"  … of {len(strategies)} strategies; --json has all"
    if how["variant"] is not None and how["variant"].get("enabled"):
        yield f"  variant {how['variant']['name']}{', by chance' if how['variant_by_chance'] else ''}"


def _strategy(strategy: Json, decided: int | None) -> Iterator[str]:
    title = f" {_cut(strategy['title'])!r}" if strategy["title"] else ""
    outcome = "decided" if strategy["number"] == decided else "matches" if strategy["matched"] else "does not match"
    if strategy["broken"]:
        outcome = "BROKEN, and so the flag is off for everybody"
    place = f"; this caller is in from {strategy['place']} % on" if strategy["place"] is not None else ""
    yield f"  {_mark(strategy['matched'])} strategy {strategy['number']}{title}: {_cut(strategy['text'])}{place}: {outcome}"
    conditions = []
    for each in strategy["constraints"]:
        broken = "; BROKEN" if each["broken"] else ""
        conditions.append(f"    {_mark(each['met'])} {_cut(each['text'])} (here {_here(each['here'])}){broken}")
    for segment in strategy["segments"]:
        missing = "" if segment["exists"] else ", which does not exist"
        conditions.append(f"    {_mark(segment['met'])} in the segment {_cut(segment['name'])}{missing}")
    yield from _some(conditions, lambda line: line.startswith(f"    {_mark(False)}") or line.endswith("BROKEN"))
    if len(conditions) > _MOST:
        yield f"    … of {len(conditions)} conditions; --json has all"


def _some[T](items: Iterable[T], first: Any) -> list[T]:
    """At most _MOST, those for which `first` says so among them, in their order."""
    every = list(items)
    chosen = sorted(sorted(range(len(every)), key=lambda index: (not first(every[index]), index))[:_MOST])
    return [every[index] for index in chosen]


def _mark(met: bool) -> str:
    return "+" if met else "-"


def _here(value: str | None) -> str:
    return "nothing" if value is None else repr(_cut(value))


def _cut(text: object, most: int = _WIDEST) -> str:
    """One line, and not the whole of a list of ten thousand users."""
    line = plain(str(text))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _aligned(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    every = list(rows)
    width = max(len(name) for name, _ in every)
    for name, text in every:
        yield f"{name:{width}}  {text}"
