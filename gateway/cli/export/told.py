"""What became of each route, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flags.snapshot import Snapshot
    from gateway.export.losses import Loss
    from gateway.export.plan import Handing, Plan, Share


def lines(plan: Plan, notes: Sequence[str]) -> Iterator[str]:
    """For people."""
    for handing in plan.handed:
        yield f"{handing.route}: handed over. {_answers(handing)}"
        for loss in plan.given_up.get(handing.route, ()):
            yield f"  given up, {loss.code}: {loss.why}; {loss.lost}"
    for route, losses in plan.refused.items():
        yield f"{route}: NOT handed over"
        for loss in losses:
            hint = f" (--give-up {loss.code}, if you can do without)" if loss.optional else ""
            yield f"  {loss.code}: {loss.why}. Lost: {loss.lost}{hint}"
    if not plan.handed and not plan.refused:
        yield "there is no route to hand over"
    for note in notes:
        yield f"note: {note}"


def _answers(handing: Handing) -> str:
    total = sum(share.weight for share in handing.shares)
    said = ", ".join(f"{share.upstream} answers {100 * share.weight / total:.4g} %" for share in handing.shares)
    for mirror in (share.mirror for share in handing.shares):
        if mirror is not None:
            said += f"; {mirror.upstream} gets copies of {100 * mirror.share:.4g} % of these ({', '.join(sorted(mirror.methods))})"
    return said


def told(plan: Plan, notes: Sequence[str], snapshot: Snapshot) -> dict[str, Any]:
    """For machines."""
    return {
        "handed": [
            {
                "route": handing.route,
                "match": handing.match,
                "methods": list(handing.methods),
                "shares": [_share(share) for share in handing.shares],
                "given_up": [_loss(loss) for loss in plan.given_up.get(handing.route, ())],
            }
            for handing in plan.handed
        ],
        "refused": [{"route": route, "reasons": [_loss(loss) for loss in losses]} for route, losses in plan.refused.items()],
        "notes": list(notes),
        "flags": {key: getattr(snapshot, key) for key in ("source", "revision", "fetched_at", "error")},
    }


def _share(share: Share) -> dict[str, Any]:
    mirror = share.mirror
    copies = None if mirror is None else {"upstream": mirror.upstream, "share": mirror.share, "methods": sorted(mirror.methods)}
    return {"upstream": share.upstream, "weight": share.weight, "mirror": copies}


def _loss(loss: Loss) -> dict[str, Any]:
    return {"code": loss.code, "why": loss.why, "lost": loss.lost, "optional": loss.optional}
