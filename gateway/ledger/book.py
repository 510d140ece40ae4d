"""Every statement that the ledger is made of. All block, and raise database.AwayError where the database cannot be used.

Invariants, each of one statement that the database carries out whole or not at all:
- A key has one line. Whoever inserts it has claimed it, before anything is sent; everybody else reads what has become of it.
- An attempt is finished by its token: what it was sent for is its own to say, even if others have taken it for lost meanwhile.
- A line that may have been executed is never removed before its time, and one in doubt not at all until somebody settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from gateway.ledger.database import Connection, transaction
from gateway.ledger.entries import Claim, Doubt, Held, Outcome, Settled
from gateway.policy.payments import State, Verdict, judge

LOST_SECONDS: Final = 6.0
"""Without a sign of life for so long, a worker is taken for dead, and what it had under way is in doubt. It gives one each second."""
FORGET_SECONDS: Final = 3600.0
"""Workers that were not seen for so long are forgotten."""
WORKER_LOST: Final = "worker-lost"
CLOCK: Final = "clock"
"""Stands among the workers, and is none: when the database's clock was last set, by that clock."""
BATCH: Final = 500
"""Lines removed in one statement, so that no claim waits for long."""
MAX_WORDS: Final = 500
"""Characters of who settles, and why."""
MAX_NUMBER: Final = 2**63 - 1
"""Of a line. A larger one no database can be asked for."""
EXECUTED, NOT_EXECUTED = "executed", "not-executed"
OUTCOMES: Final = (EXECUTED, NOT_EXECUTED)

_DOUBT: Final = "number, route, provider, key, request_id, method, target, size, digest, began, doubted, attempts, refused, reason, status"
_IN_FORCE: Final = "state IN ('started', 'in-doubt')"


class NotInDoubtError(Exception):
    """There is no such doubt, or somebody was first."""


def claim(database: Connection, wanted: Claim, owner: str) -> Outcome:
    """Claims the key, or says what stands against that."""
    now = database.now()
    for _ in range(3):
        made = database.rows(
            "INSERT INTO ledger_entry (route, scope, key, keyed, digest, state, provider, token, owner, method, target, size, request_id,"
            " began, changed) VALUES (?, ?, ?, ?, ?, 'started', ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (route, scope, key) DO NOTHING"
            " RETURNING number",
            (
                wanted.route,
                wanted.scope,
                wanted.key,
                int(wanted.keyed),
                wanted.digest,
                wanted.provider,
                wanted.token,
                owner,
                wanted.method,
                wanted.target,
                wanted.size,
                wanted.request_id,
                now,
                now,
            ),
        )
        if made:
            return Outcome(Verdict.CLAIMED, made[0][0], wanted.provider)
        found = _known(database, wanted, owner, now)
        if found is not None:
            return found
    return Outcome(Verdict.RUNNING)  # it was given back, or taken up, each time in between: somebody else is busy with it


def _known(database: Connection, wanted: Claim, owner: str, now: float) -> Outcome | None:
    rows = database.rows(
        "SELECT number, digest, state, provider, token, status, answer FROM ledger_entry WHERE route = ? AND scope = ? AND key = ?",
        (wanted.route, wanted.scope, wanted.key),
    )
    if not rows:
        return None
    number, digest, state, provider, token, status, answer = rows[0]
    verdict = judge(State(state), same=bytes(digest) == wanted.digest, repeatable=provider in wanted.idempotent, kept=answer is not None)
    if verdict is Verdict.AGAIN:
        taken = database.change(
            "UPDATE ledger_entry SET state = 'started', token = ?, owner = ?, request_id = ?, attempts = attempts + 1, changed = ?"
            " WHERE number = ? AND state = 'in-doubt' AND token = ?",
            (wanted.token, owner, wanted.request_id, now, number, token),
        )
        if not taken:
            return None  # somebody was quicker
    return Outcome(verdict, number, provider, status, bytes(answer) if verdict is Verdict.REPLAY else b"")


def move(database: Connection, held: Held, provider: str, refused: Sequence[str]) -> bool:
    """`provider` has the key from now on; those in `refused` got nothing of it. False: it is not this attempt's any more."""
    values = (provider, ",".join(refused), database.now(), held.number, held.token)
    # Not of one that is in doubt: then its end was written meanwhile, and nobody will write another.
    return bool(
        database.change(
            "UPDATE ledger_entry SET provider = ?, refused = ?, changed = ? WHERE number = ? AND token = ? AND state = 'started'", values
        )
    )


def again(database: Connection, held: Held) -> bool:
    """It is sent once more, to the same provider. False: it is not this attempt's any more."""
    values = (database.now(), held.number, held.token)
    return bool(
        database.change(
            "UPDATE ledger_entry SET attempts = attempts + 1, changed = ? WHERE number = ? AND token = ? AND state = 'started'", values
        )
    )


def finish(database: Connection, held: Held, status: int, answer: bytes | None) -> bool:
    """It was answered. `answer`: sealed; None where it is not kept. Of a key that nobody can ask by nothing is kept."""
    if database.change(f"DELETE FROM ledger_entry WHERE number = ? AND token = ? AND keyed = 0 AND {_IN_FORCE}", (held.number, held.token)):  # noqa: S608 - no value is part of it
        return True
    size = len(answer) if answer is not None else 0
    return _changed(
        database,
        held,
        "state = 'answered', status = ?, answer = ?, answer_size = ?, reason = '', doubted = 0, changed = ?",
        (status, answer, size, database.now()),
    )


def doubt(database: Connection, held: Held, reason: str, status: int = 0) -> bool:
    """It was sent, and nobody knows what came of it."""
    now = database.now()
    return _changed(database, held, "state = 'in-doubt', reason = ?, status = ?, doubted = ?, changed = ?", (reason, status, now, now))


def release(database: Connection, held: Held) -> bool:
    """Nothing of it was sent to anybody: the key is as new."""
    return bool(
        database.change(f"DELETE FROM ledger_entry WHERE number = ? AND token = ? AND {_IN_FORCE}", (held.number, held.token))  # noqa: S608 - no value is part of it
    )


def disown(database: Connection, wanted: Claim) -> None:
    """Nobody heard what came of this claim, and nothing was sent for it: if it came through, it is taken back."""
    mine = "route = ? AND scope = ? AND key = ? AND token = ? AND state = 'started'"
    values = (wanted.route, wanted.scope, wanted.key, wanted.token)
    database.change(f"DELETE FROM ledger_entry WHERE {mine} AND attempts = 1", values)  # noqa: S608 - no value is part of it
    database.change(f"UPDATE ledger_entry SET state = 'in-doubt', reason = 'not-repeated' WHERE {mine}", values)  # noqa: S608 - likewise


def _changed(database: Connection, held: Held, what: str, values: tuple[object, ...]) -> bool:
    sql = f"UPDATE ledger_entry SET {what} WHERE number = ? AND token = ? AND {_IN_FORCE}"  # noqa: S608 - no value is part of it
    return bool(database.change(sql, (*values, held.number, held.token)))


# Workers


def beat(database: Connection, owner: str) -> None:
    """A sign of life."""
    database.change(
        "INSERT INTO ledger_owner (owner, seen) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen",
        (owner, database.now()),
    )


def reap(database: Connection, now: float) -> int:
    """What was under way in workers that are dead is in doubt now: so many lines. `now`: by the ledger's clock."""
    lost = (
        "state = 'started' AND NOT EXISTS (SELECT 1 FROM ledger_owner WHERE ledger_owner.owner = ledger_entry.owner AND seen > ?"
        " AND seen <= ?)"
    )
    # A sign of life that is yet to come was given before the clock was put back: who lives has given another since.
    signs = (now - LOST_SECONDS, now + LOST_SECONDS)
    if not database.rows(f"SELECT 1 FROM ledger_entry WHERE {lost} LIMIT 1", signs):  # noqa: S608 - no value is part of it
        return 0
    return database.change(
        f"UPDATE ledger_entry SET state = 'in-doubt', reason = ?, doubted = ?, changed = ? WHERE {lost}",  # noqa: S608 - no value is part of it
        (WORKER_LOST, now, now, *signs),
    )


def leave(database: Connection, owner: str) -> None:
    """This worker ends in order; what it still has under way it will not hear of."""
    now = database.now()
    database.change(
        "UPDATE ledger_entry SET state = 'in-doubt', reason = ?, doubted = ?, changed = ? WHERE owner = ? AND state = 'started'",
        (WORKER_LOST, now, now, owner),
    )
    database.change("DELETE FROM ledger_owner WHERE owner = ?", (owner,))


def clock_was_set(database: Connection) -> None:
    """What was written before now may be younger than it looks, or older."""
    beat(database, CLOCK)


def purge(database: Connection, now: float, *, keep: float, settled: float, most: int) -> None:
    """Removes answers that `now`, by the ledger's clock, are older than `keep` seconds, with their lines, what was settled longer than
    `settled` seconds ago, with its key, and, while all answers together have more than `most` bytes, the oldest of them: their lines stay,
    so that a repeat is known as one. After the clock was set nobody knows how old a line of before is: none is removed until they all are
    old enough."""
    known = _since_set(database, now)
    if known > keep:
        _while_full(
            database,
            "DELETE FROM ledger_entry WHERE number IN (SELECT number FROM ledger_entry WHERE state = 'answered' AND changed < ?"
            " ORDER BY changed LIMIT ?)",
            now - keep,
        )
    if known > settled:
        _while_full(  # its client may not know yet, and press again the next day
            database,
            "DELETE FROM ledger_entry WHERE number IN (SELECT number FROM ledger_entry WHERE state = 'settled' AND changed < ?"
            " ORDER BY changed LIMIT ?)",
            now - settled,
        )
        _while_full(
            database,
            "DELETE FROM ledger_settled WHERE number IN (SELECT number FROM ledger_settled WHERE at < ? ORDER BY at LIMIT ?)",
            now - settled,
        )
    database.change("DELETE FROM ledger_owner WHERE seen < ? AND owner <> ?", (now - FORGET_SECONDS, CLOCK))
    while (over := answer_bytes(database) - most) > 0:
        oldest = database.rows("SELECT number, answer_size FROM ledger_entry WHERE answer_size > 0 ORDER BY changed LIMIT ?", (BATCH,))
        gone = []
        for number, size in oldest:
            if over <= 0:
                break
            gone.append(number)
            over -= size
        marks = ", ".join("?" * len(gone))
        database.change(f"UPDATE ledger_entry SET answer = NULL, answer_size = 0 WHERE number IN ({marks})", gone)  # noqa: S608 - marks alone


def _since_set(database: Connection, now: float) -> float:
    """Seconds since the clock was set; infinite where it never was."""
    found = database.rows("SELECT seen FROM ledger_owner WHERE owner = ?", (CLOCK,))
    if not found:
        return inf
    if found[0][0] > now:  # it was set back since, while nobody looked
        clock_was_set(database)
        return 0.0
    return now - float(found[0][0])


def answer_bytes(database: Connection) -> int:
    """Of all answers that are kept, sealed."""
    return int(database.rows("SELECT coalesce(sum(answer_size), 0) FROM ledger_entry WHERE answer_size > 0")[0][0])


def _while_full(database: Connection, sql: str, before: float) -> None:
    while database.change(sql, (before, BATCH)) == BATCH:
        pass


# People


def doubts(database: Connection, route: str = "", limit: int | None = 10_000, after: float = 0.0) -> list[Doubt]:
    """What is in doubt, the oldest first; of one route, or of all. `limit`: so many at most; None: every one. `after`: only what came into
    doubt after that moment."""
    values: list[object] = [after]
    sql = f"SELECT {_DOUBT}, keyed FROM ledger_entry WHERE state = 'in-doubt' AND doubted > ?"  # noqa: S608 - no value is part of it
    if route:
        sql += " AND route = ?"
        values.append(route)
    sql += " ORDER BY doubted, number"
    if limit is not None:
        sql += " LIMIT ?"
        values.append(limit)
    return [_doubt(row, keyed=bool(row[-1])) for row in database.rows(sql, values)]


def in_doubt(database: Connection, number: int) -> Doubt | None:
    """The one with this number; None: it is not in doubt."""
    if not 0 <= number <= MAX_NUMBER:
        return None
    sql = f"SELECT {_DOUBT}, keyed FROM ledger_entry WHERE number = ? AND state = 'in-doubt'"  # noqa: S608 - no value is part of it
    rows = database.rows(sql, (number,))
    return _doubt(rows[0], keyed=bool(rows[0][-1])) if rows else None


def counts(database: Connection) -> dict[str, int]:
    """Route → how many of its payments are in doubt."""
    return dict(database.rows("SELECT route, count(*) FROM ledger_entry WHERE state = 'in-doubt' GROUP BY route"))


def settle(database: Connection, number: int, outcome: str, *, by: str, why: str) -> Settled:
    """Puts an end to a doubt. `executed`: its key is never sent again. `not-executed`: the key is as new, and a repeat is sent.

    Raises:
        NotInDoubtError: there is nothing to settle.
        ValueError: no such outcome, or nobody says who or why.
    """
    by, why = by.strip()[:MAX_WORDS], why.strip()[:MAX_WORDS]
    if outcome not in OUTCOMES or not by or not why:
        raise ValueError(f"say what is the case ({' or '.join(OUTCOMES)}), who says so, and why")
    if not 0 <= number <= MAX_NUMBER:
        raise NotInDoubtError(f"payment {number} is not in doubt")
    with transaction(database):
        now = database.now()
        # First the one statement that only one of two can win; then what was read is still true.
        won = database.change(
            "UPDATE ledger_entry SET state = 'settled', token = '', changed = ? WHERE number = ? AND state = 'in-doubt'", (now, number)
        )
        if not won:
            raise NotInDoubtError(f"payment {number} is not in doubt")
        row = database.rows(f"SELECT {_DOUBT}, keyed FROM ledger_entry WHERE number = ?", (number,))[0]  # noqa: S608 - no value is part of it
        found = _doubt(row, keyed=bool(row[-1]))
        database.change(
            f"INSERT INTO ledger_settled ({_DOUBT}, outcome, by_whom, why, at) VALUES ({', '.join('?' * 19)})",  # noqa: S608 - marks alone
            (*row[:3], found.key, *row[4:-1], outcome, by, why, now),
        )
        if outcome == NOT_EXECUTED or not row[-1]:
            database.change("DELETE FROM ledger_entry WHERE number = ?", (number,))
    return Settled(found, outcome, by, why, now)


def settlements(database: Connection, route: str = "", limit: int = 100, after: float = 0.0) -> list[Settled]:
    """What was settled, the newest first."""
    where, values = ("AND route = ?", (route,)) if route else ("", ())
    rows = database.rows(
        f"SELECT {_DOUBT}, outcome, by_whom, why, at FROM ledger_settled WHERE at > ? {where} ORDER BY at DESC, number DESC LIMIT ?",  # noqa: S608 - no value is part of it
        (after, *values, min(limit, MAX_NUMBER)),
    )
    return [Settled(_doubt(row, keyed=True), *row[15:19]) for row in rows]


def _doubt(row: tuple[Any, ...], *, keyed: bool) -> Doubt:
    number, route, provider, key, request_id, method, target, size, digest, began, doubted, attempts, refused, reason, status = row[:15]
    return Doubt(
        number,
        route,
        provider,
        key if keyed else "",
        request_id,
        method,
        target,
        size,
        bytes(digest).hex(),
        began,
        doubted,
        attempts,
        tuple(refused.split(",")) if refused else (),
        reason,
        status,
    )
