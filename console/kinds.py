"""What each kind of difference means, in a reviewer's words."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from shadow.compare import Kind

KINDS: dict[Kind, str | Promise] = {
    Kind.STATUS: _("the statuses differ"),
    Kind.AUTHORIZATION: _("one refused with 401, 403 or 404, and the other did not, or with another of these"),
    Kind.HEADER: _("a header differs"),
    Kind.TYPE: _("another JSON type in the same place"),
    Kind.MISSING: _("legacy has it, the candidate has not"),
    Kind.EXTRA: _("the candidate has it, legacy has not"),
    Kind.VALUE: _("another value of the same type"),
    Kind.ORDER: _("the same elements in another order"),
    Kind.BODY: _("the bodies differ as a whole"),
    Kind.UNANSWERED: _("the candidate gave no answer"),
    Kind.INCONCLUSIVE: _("comparing took more than its budget"),
    Kind.DRIFT: _("another type or shape, again and again, where differences are ignored"),
    Kind.NULL_RATE: _("null or absent more or less often than legacy, where differences are ignored"),
}


def meaning(kind: str) -> str | Promise:
    """What `kind` means; "" of one that another version wrote."""
    try:
        return KINDS[Kind(kind)]
    except ValueError:
        return ""
