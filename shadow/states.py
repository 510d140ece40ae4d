"""The state of a signature, changed in one place: who did it and why goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shadow.models import Signature


def change(signature: Signature, state: str, *, by: str, why: str, at: float) -> bool:
    """Gives `signature` another state, at the moment `at` (Unix seconds). Whether it is another: also not where somebody was quicker."""
    from shadow.models import Signature as Row

    if signature.state == state:
        return False
    changed = Row.objects.filter(pk=signature.pk, state=signature.state).update(state=state)
    signature.state = state
    return bool(changed)
