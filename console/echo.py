"""What other rooms, and stored rows, say in English, said again in the reader's language.

shadow/, flags/ and the gateway write sentences for logs, commands and the console alike, and know no languages; the audit and the history
of signatures keep them as they were written. Those that people meet on the console's pages are listed here as they are made, with names
for what varies. One that is recognised is said again by its translation, any other is shown as it is. Tests hold the list to the rooms.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

from console import glossary

MESSAGES: Final = (
    # shadow.gate
    _("%(compared)s comparisons, %(minimum)s are needed"),
    _("the match rate is at least %(low)s (95 %% confidence), %(required)s is needed"),
    _(
        "the match rate is at least %(low)s (95 %% confidence), %(required)s is needed:"
        " %(more)s comparisons without a difference would show that"
    ),
    _("the match rate is at least %(low)s (95 %% confidence), %(required)s is needed: %(more)s more without a difference would show that"),
    _("%(share)s of what was to be compared was, %(least)s is needed"),
    _("%(share)s of the answers were stale, %(most)s may be"),
    _("%(count)s signature still open: %(named)s"),
    _("%(count)s signatures still open: %(named)s"),
    # shadow.guard, and what gateway.guard adds to it
    _(
        "errors: candidate %(mine)s (%(errors)s of %(asked)s), legacy %(its)s (%(its_errors)s of %(its_asked)s),"
        " %(allowed)s more are allowed %(window)s"
    ),
    _("errors: candidate %(mine)s (%(errors)s of %(asked)s), nothing is known of legacy's, %(allowed)s more are allowed %(window)s"),
    _("latency: candidate p95 %(mine)s ms of %(asked)s, legacy %(its)s ms of %(its_asked)s, %(times)s times that is allowed %(window)s"),
    _("mismatches: %(share)s (%(count)s of %(compared)s) of what was compared, %(allowed)s is allowed %(window)s"),
    _("within %(seconds)s s"),
    _("legacy as asked beside"),
    _("legacy as it was %(seconds)s s ago"),
    # shadow.suggest
    _("%(path)s differs in %(own)s of legacy's own pairs (n = %(pairs)s) and in %(its)s of pairs with the candidate (n = %(compared)s)"),
    # shadow.rules, shadow.rulebook, shadow.states, shadow.suggesting, shadow.gate_start
    _("there is no rule %(kind)s; there are: %(kinds)s"),
    _("a path has at most %(path)s characters, a value %(value)s, and neither holds a NUL"),
    _("%(kind)s takes no value, and %(value)s was given"),
    _("%(kind)s needs a value: %(example)s"),
    _("a path holds no NUL"),
    _("a header rule has a header's name, such as cache-control, or a cookie's as set-cookie: theme; %(name)s is neither"),
    _("a rule needs a reason, for whoever meets it later"),
    _("a rule needs an author"),
    _("a rule that has expired already would do nothing"),
    _("the configuration has this rule already: %(rule)s"),
    _("rule %(number)s says the same: %(rule)s"),
    _("%(route)s has %(most)s active rules, which is the most there can be; end some of them"),
    _("somebody has just made the same rule: %(rule)s"),
    _("a reason may have %(most)s characters; this one has %(length)s"),
    _("say why it ends, for whoever wonders later"),
    _("%(route)s has no rule %(number)s"),
    _("rule %(number)s has ended already"),
    _("nothing is suggested for %(path)s; suggested are: %(paths)s"),
    _("say why, for whoever wonders later"),
    _("that was taken back before, or never was"),
    _("it takes somebody who does it, and a reason"),
    _("a change of state has somebody who made it, and a reason"),
    _("who may have %(by)s characters, and why %(why)s"),
    _("rule %(number)s was changed too long ago to be undone, or nobody changed it"),
    # shadow.curl
    _("Headers and body of this request were not kept."),
    _("Who called is not in it: Authorization and Cookie are never captured."),
    _("What stands there as redacted:… was something else: it was taken out before anything was stored."),
    _("curl sends no body with HEAD: it is left out."),
    _("The body (%(what)s) was not kept: it is to be put into a file named %(file)s."),
    _("Of a form in parts, files are left out."),
    # flags.problems
    _("there is no such flag in the flag file: the flag is off for everybody"),
    _("there is no such flag where flags.token looks; it may be archived, or its name misspelt: the flag is off for everybody"),
    _("it is left out, so the flag is off for everybody: %(why)s"),
    _("Unleash's engine can't compile it (%(why)s): the flag is off for everybody"),
    _("it depends on itself: the flag is off for everybody"),
    _("its parent flag %(name)s does not exist or is archived: the flag is off for everybody"),
    _("its parent flag %(name)s is left out (%(why)s): the flag is off for everybody"),
    _("its parent flag %(name)s depends on a flag itself, which Unleash's engine does not follow: the flag is off for everybody"),
    _("its parent flag %(name)s has variants that weigh nothing together, on which Unleash's engine breaks: the flag is off for everybody"),
    _("the strategy %(name)s is not one of Unleash's own: it applies to nobody"),
    _("the segment %(number)s is not in the document: the flag is off for everybody"),
    # console.admin_port, console.watch, console.eventviews
    _("it has not been asked yet"),
    _("it is not known until the console is started again"),
    _("its port is not known here ([gateway] admin leaves it to the gateway): say it in BANYAN_CONSOLE_ADMIN"),
    _("its answer to %(place)s is too large or too slow"),
    _("its answer to %(place)s is not what this console reads: %(error)s"),
    _("it did not answer within %(time)s s"),
    _("it answered %(status)s to %(place)s: %(why)s"),
    _("it answered %(status)s to %(place)s"),
    _("[Errno %(number)s] Connection refused"),
    _("All connection attempts failed"),
    _("nothing was heard"),
    _("this console looks at no gateway"),
    # What the audit and the history of signatures keep
    _("this is for a viewer"),
    _("this is for a reviewer"),
    _("this is for a operator"),
    _("a name that nobody has"),
    _("%(flag)s on for %(minutes)s min"),
    _("%(flag)s off for %(minutes)s min"),
    _("gate of %(route)s"),
    _("no rule covers it any more"),
    _("rule %(number)s ended: %(why)s"),
    _("rule %(number)s: %(rule)s"),
    _("undone: made by %(by)s"),
    _("undone: the end of rule %(number)s, by %(by)s"),
    _("undone: %(old)s to %(new)s, by %(by)s"),
    _("undone: %(why)s"),
)
"""The more particular before the more general: the first that fits is taken."""

_NAMED: Final = re.compile(r"%\((\w+)\)s")
_NUMBERS: Final = ("number", "minutes", "seconds")
_LONGEST: Final = 4000
"""Characters; what is longer is no sentence of ours."""
_DEEPEST: Final = 3
"""What varies in a sentence may be one itself: why a rule ended, which was that somebody undid something. But not without an end."""


def echo(text: object) -> str:
    """`text` in the reader's language, as far as it is known here. In a time that grows with its length alone: it may be foreign."""
    said = str(text)
    return said if (get_language() or "en").partition("-")[0] == "en" or len(said) > _LONGEST else _echo(said, _DEEPEST)


def _echo(said: str, deeper: int) -> str:
    pieces = said.split("; ")
    told = [_sentence(piece, deeper) for piece in pieces]
    if all(new != old for new, old in zip(told, pieces, strict=True)):
        return "; ".join(told)
    whole = _sentence(said, deeper)  # there may be a semicolon in the sentence itself
    return whole if whole != said else "; ".join(told)


def _sentence(said: str, deeper: int) -> str:
    plain, shapes = _known()
    if said in plain:
        return gettext(said)
    for message, literals, names in shapes:
        values = _fit(said, literals)
        if values is not None and all(value.isdecimal() for name, value in zip(names, values, strict=True) if name in _NUMBERS):
            return gettext(message) % {name: _varying(name, value, deeper - 1) for name, value in zip(names, values, strict=True)}
    return said


def _varying(name: str, value: str, deeper: int) -> str:
    if name == "named":
        return _signatures(value)
    if name in ("old", "new"):
        return glossary.state(value)
    return _echo(value, deeper) if deeper else value


def _signatures(named: str) -> str:
    """Those that a gate names, each by kind, path and state: `value $.a (new), header age (bug) and 2 more`."""
    before, _and, more = named.rpartition(" and ")
    number = more.removesuffix(" more")
    rest = [gettext("and %(more)s more") % {"more": number}] if before and number.isdecimal() else []
    said = []
    for each in (before if rest else named).split(", "):
        kind, space, path = each.partition(" ")
        for key in glossary.STATES:
            if path.endswith(f" ({key})"):
                path = f"{path.removesuffix(f' ({key})')} ({glossary.state(key)})"
        said.append(f"{glossary.kind(kind)}{space}{path}")
    return ", ".join([*said, *rest])


def _fit(said: str, literals: tuple[str, ...]) -> list[str] | None:
    """What stands between these, each at its first place and the last at the end; None where they do not fit."""
    first, *others, last = literals
    if not said.startswith(first) or not said.endswith(last):
        return None
    at, values = len(first), []
    for literal in others:
        end = said.find(literal, at + 1)
        if end < 0:
            return None
        values.append(said[at:end])
        at = end + len(literal)
    end = len(said) - len(last)
    return [*values, said[at:end]] if end > at else None


@cache
def _known() -> tuple[frozenset[str], tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]]:
    """Messages in which nothing varies; and the others, each with its English between what varies, and the names of that."""
    pieces = {message: _NAMED.split(message) for message in MESSAGES}
    shapes = [(message, tuple(piece.replace("%%", "%") for piece in each[::2]), tuple(each[1::2])) for message, each in pieces.items()]
    return frozenset(message for message, _, names in shapes if not names), tuple(each for each in shapes if each[2])
