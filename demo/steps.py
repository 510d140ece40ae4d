"""The seven steps of handing an API over, each with what must be seen. Nothing here is taken on trust: bodies are compared with legacy's
own, "legacy sees none of it" is read in legacy's log, and a failure is what a client saw fail.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import chain

from demo.client import Client
from demo.shop import PASSWORD, USERS
from demo.story import Outcome, Step, Story, by_side, of_route
from services.faults import Fault, Signature, expected

ROUTE = "reviews"
"""The route that is handed over."""
SHARE, TOLERANCE = 10, 6
"""Percent. Of 50 users ten percent are five, give or take four in 95 % of all ways to draw them."""

# Nothing here changes while the comparison runs, and no page with a CSRF token, which is new in every answer.
_SHARED = [
    "/api/v1/reviews/", "/api/v1/reviews/?page=2", "/api/v1/reviews/?item=7", "/api/v1/reviews/?item=200", "/api/v1/reviews/?item=999",
    "/api/v1/reviews/?page=9999", "/api/v1/reviews/?item=x", "/api/v1/reviews/1", "/api/v1/reviews/99999", "/api/v1/reviews/summary/3",
    "/api/v1/recommendations/?item=5", "/api/v1/recommendations/?item=999", "/api/v1/recommendations/", "/api/v1/recommendations/12",
    "/api/v1/recommendations/99", "/api/v1/items/", "/api/v1/items/?q=oak", "/api/v1/items/17", "/api/v1/users/me", "/api/v1/orders/",
    "/api/v1/nothing", "/static/shop/shop.css", "/exports/reviews.csv",
]  # fmt: skip
_ASKING = (USERS[0], USERS[6], USERS[41])


def all_from_legacy(story: Story) -> Outcome:
    """Step 1, the comparison of bodies before anybody orders anything."""
    same, differ = asyncio.run(_ask_both(story.world.gateway_port, story.world.shop.port))
    began = time.monotonic()
    story.traffic.resume()
    story.until(lambda: len(story.traffic.answers(began)) >= 150, 6)
    answers = story.traffic.answers(began)
    sides = by_side(answers)
    others = len(answers) - sides["legacy"]
    seen = f"{sides['legacy']} of {len(answers)} answers from legacy; {same} of {same + len(differ)} bodies identical"
    if differ:
        seen += f" (not {', '.join(differ[:3])})"
    measured = {"answers": len(answers), "legacy": sides["legacy"], "identical": same, "different": differ}
    return Outcome(not others and len(answers) >= 100 and same > 0 and not differ, seen, measured)


async def _ask_both(gateway: int, shop: int) -> tuple[int, list[str]]:
    """(how many answers are the same in status, type and every byte, which are not)"""
    same, differ = 0, []
    for user in _ASKING:
        through = Client(gateway)
        await through.sign_in(user, PASSWORD)
        direct = Client(shop, through.cookies)
        for target in _SHARED:
            left, right = await through.request("GET", target), await direct.request("GET", target)
            if (left.status, left.body, left.header("content-type")) == (right.status, right.body, right.header("content-type")):
                same += 1
            else:
                differ.append(f"{target} as {user}")
        through.close()
        direct.close()
    return same, differ


def planted_faults(story: Story) -> Outcome:
    """Step 2."""
    planted = expected(Fault)
    story.compare(True)

    def enough() -> bool:
        reports = story.reports()
        found = {(report.route, line.kind, line.path) for report in reports for line in report.signatures}
        return found >= planted and all(report.compared >= 100 for report in reports)

    story.until(enough, 20)
    reports = story.settle()
    found = {Signature(report.route, line.kind, line.path) for report in reports for line in report.signatures}
    missing, surplus = planted - found, found - planted
    compared = sum(report.compared for report in reports)
    seen = f"{len(found & planted)} of {len(planted)} planted, {len(surplus)} others, in {compared} comparisons"
    for what, them in (("missing", missing), ("not planted", surplus)):
        if them:
            seen += f"; {what}: " + ", ".join(f"{route} {kind} {path}" for route, kind, path in sorted(them))
    measured = {
        "signatures": sorted(map(list, found)),
        "compared": compared,
        "match_rate": {report.route: report.match_rate for report in reports},
        "coverage": {report.route: report.coverage for report in reports},
    }
    return Outcome(found == planted, seen, measured)


def faults_off(story: Story) -> Outcome:
    """Step 3. The traffic is paused while the services are restarted: a service that is down is a difference too."""
    story.traffic.pause()
    # Counts are by the second. All seconds of step 2 have passed, and the next that counts anything comes when the services are up again.
    story.since = time.time()
    story.world.start_services(list(story.world.services), ())
    story.traffic.resume()
    story.until(lambda: all(story.figures.gate(report).passed for report in story.reports()), 30)
    reports = story.settle()
    gates = {report.route: story.figures.gate(report) for report in reports}
    clean = all(report.compared and report.matched == report.compared and not report.signatures for report in reports)
    parts = []
    for report in reports:
        gate = gates[report.route]
        verdict = "gate passed" if gate.passed else f"gate not passed: {'; '.join(gate.reasons)}"
        parts.append(f"{report.route} {report.matched} of {report.compared} match (at least {gate.lower:.1%}), {verdict}")
    measured = {
        report.route: {
            "compared": report.compared,
            "matched": report.matched,
            "coverage": report.coverage,
            "lower_bound": gates[report.route].lower,
            "gate": gates[report.route].passed,
        }
        for report in reports
    }
    return Outcome(clean and all(gate.passed for gate in gates.values()), "; ".join(parts), measured)


def ten_percent(story: Story) -> Outcome:
    """Step 4. From here on nothing is compared, so that legacy sees only what it is asked to answer."""
    story.compare(False)
    story.traffic.focus(ROUTE)
    story.traffic.resume()
    story.world.steering.turn(ROUTE, True, SHARE)
    began = time.monotonic()

    def visits() -> dict[str, list[str]]:
        sides: dict[str, list[str]] = defaultdict(list)
        for answer in of_route(story.traffic.answers(began), ROUTE):
            sides[answer.user].append(answer.served)
        return sides

    story.until(lambda: len(found := visits()) == len(USERS) and min(map(len, found.values())) >= 6, 15)
    found = visits()
    changed = [user for user, sides in found.items() if len(set(sides)) != 1]
    moved = [user for user, sides in found.items() if "candidate" in sides]
    total = sum(map(len, found.values()))
    requests = 100 * sum(side == "candidate" for side in chain.from_iterable(found.values())) / max(total, 1)
    users = 100 * len(moved) / len(USERS)
    within = all(abs(share - SHARE) <= TOLERANCE for share in (users, requests))
    complete = len(found) == len(USERS) and min(map(len, found.values()), default=0) >= 2
    seen = f"{users:.0f} % of users, {requests:.1f} % of {total} requests; {len(changed)} users on both sides"
    measured = {"users": sorted(moved), "users_percent": users, "requests_percent": requests, "requests": total, "on_both_sides": changed}
    return Outcome(within and complete and bool(moved) and not changed, seen, measured)


def hundred_percent(story: Story) -> Outcome:
    """Step 5."""
    story.world.steering.turn(ROUTE, True, 100)
    story.traffic.pause()
    start, began = story.legacy_log_end(), time.monotonic()
    story.traffic.resume()
    story.until(lambda: len(of_route(story.traffic.answers(began), ROUTE)) >= 150, 8)
    story.traffic.pause()
    answers = of_route(story.traffic.answers(began), ROUTE)
    story.legacy_log_end()
    paths = story.legacy_saw(start)
    still = [path for path in paths if path.startswith(f"/api/v1/{ROUTE}/")]
    story.traffic.resume()
    sides = by_side(answers)
    seen = (
        f"{len(still)} of {ROUTE} in legacy's log beside {len(paths)} other requests; "
        f"candidate gave {sides['candidate']} of {len(answers)} answers"
    )
    measured = {"legacy_saw": len(still), "legacy_saw_others": len(paths) - len(still), "answers": len(answers), **sides}
    # Others in its log show that it was read where legacy writes.
    return Outcome(not still and len(paths) > 0 and len(answers) >= 100 and sides["candidate"] == len(answers), seen, measured)


def killed(story: Story) -> Outcome:
    """Step 6."""
    began = time.monotonic()
    story.until(lambda: by_side(of_route(story.traffic.answers(began), ROUTE))["candidate"] >= 30, 5)
    story.world.kill_service(ROUTE)
    dead = time.monotonic()
    story.until(lambda: len(of_route(story.traffic.answers(dead), ROUTE)) >= 120, 6)
    story.traffic.pause()  # so that whatever was under way has ended, well or not
    everything = story.traffic.ended(began)
    story.traffic.resume()
    failed = [answer for answer in everything if answer.failure]
    after = of_route(story.traffic.answers(dead), ROUTE)
    sides = by_side(after)
    reasons = sorted({answer.reason for answer in after})
    seen = f"{len(failed)} of {len(everything)} requests failed; legacy gave {sides['legacy']} of {len(after)} answers afterwards"
    if failed:
        seen += f"; {failed[0].route}: {failed[0].failure}"
    measured = {"requests": len(everything), "failed": len(failed), "answers_after": len(after), **sides, "reasons": reasons}
    return Outcome(not failed and len(after) >= 50 and sides["legacy"] == len(after), seen, measured)


def flag_off(story: Story) -> Outcome:
    """Step 7, with the candidate well again: it must be the flag that takes the traffic away."""
    story.world.start_services([ROUTE], ())
    back = time.monotonic()

    def candidate_since(moment: float) -> int:
        return by_side(of_route(story.traffic.answers(moment), ROUTE))["candidate"]

    story.until(lambda: candidate_since(back) >= 30, 8)
    before = candidate_since(back)
    off = story.world.steering.turn(ROUTE, False, 100)
    story.until(lambda: time.monotonic() > off + story.flip_seconds + 2, story.flip_seconds + 3)
    answers = of_route(story.traffic.ended(off), ROUTE)
    late = [answer.ended - off for answer in answers if answer.served == "candidate"]
    last = max(late, default=0.0)
    after = by_side([answer for answer in answers if answer.began > off + story.flip_seconds])
    seen = f"last answer of the candidate {1000 * last:.0f} ms after the flip" if late else "no answer of the candidate after the flip"
    seen += f"; then {after['legacy']} from legacy"
    measured = {"seconds": round(last, 3), "candidate_before": before, "legacy_after": after["legacy"], "bar_seconds": story.flip_seconds}
    return Outcome(before > 0 and last <= story.flip_seconds and after["legacy"] >= 30 and not after["candidate"], seen, measured)


def steps(flip_seconds: float) -> tuple[Step, ...]:
    """In their order: each begins where the one before it ended."""
    return (
        Step("Flags off", "all from legacy, bodies as from legacy itself", all_from_legacy),
        Step("Shadow on, faults planted", "exactly the planted faults as signatures", planted_faults),
        Step("Faults switched off", "match 100 %, both gates passed", faults_off),
        Step(f"{ROUTE} at {SHARE} % by user", f"{SHARE} % ± {TOLERANCE} of users and requests; each user on one side", ten_percent),
        Step(f"{ROUTE} at 100 %", f"legacy sees none of {ROUTE}", hundred_percent),
        Step("Candidate killed under traffic", "no failed request; legacy answers", killed),
        Step("Flag off", f"legacy again within {flip_seconds:g} s", flag_off),
    )
