"""Paying an order.

Invariant: the key of a payment stays the same until its outcome is known, so whoever presses the button again asks for the same payment and
not for another. It changes only where a card was declined: then nothing was charged, and the next card is another payment.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from legacy_django.orders import provider
from legacy_django.orders.models import Order, Payment
from legacy_django.orders.provider import Outcome

_STATES = {
    Outcome.PAID: Payment.State.PAID,
    Outcome.DECLINED: Payment.State.DECLINED,
    Outcome.NOT_SENT: Payment.State.FAILED,
    Outcome.UNKNOWN: Payment.State.UNKNOWN,
}
"""RUNNING and REFUSED say nothing of what becomes of it: the state stays."""


class NotConfiguredError(Exception):
    """The shop was not told where orders are paid."""


def pay(order: Order, card: str) -> tuple[Payment, Outcome]:
    """Has `order` paid with `card`; one that is paid already is not paid again. Asks over the network, and is in no transaction meanwhile.

    Raises:
        NotConfiguredError: nothing happened.
    """
    if not settings.PAYMENTS_URL:
        raise NotConfiguredError
    payment = _begin(order)
    if payment.state == Payment.State.PAID:
        return payment, Outcome.PAID
    fields = {"reference": f"order-{order.pk}", "amount": int(payment.amount * 100), "currency": payment.currency, "card": card}
    key = "" if settings.PAYMENTS_CARELESS else payment.key
    answer = provider.charge(settings.PAYMENTS_URL, key, fields, settings.PAYMENTS_SECONDS)
    _settle(payment, answer)
    return payment, answer.outcome


def latest(order: Order) -> Payment | None:
    """The try that counts."""
    return order.payments.order_by("-attempt").first()


@transaction.atomic
def _begin(order: Order) -> Payment:
    """The payment that is to be asked for: a new one only if there is none, or the last was declined."""
    last = latest(order)
    if last is not None and last.state != Payment.State.DECLINED:
        return last
    attempt = last.attempt + 1 if last is not None else 1
    made, _ = Payment.objects.get_or_create(
        order=order, attempt=attempt, defaults={"key": f"order-{order.pk}-{attempt}", "amount": order.total}
    )
    return made


def _settle(payment: Payment, answer: provider.Answer) -> None:
    """What is known goes before what is not: a twin's answer may have come first."""
    state = _STATES.get(answer.outcome)
    if state is None:
        return
    known = answer.outcome in (Outcome.PAID, Outcome.DECLINED)
    rows = Payment.objects.filter(pk=payment.pk).exclude(state=Payment.State.PAID)
    if answer.outcome is Outcome.NOT_SENT:
        rows = rows.exclude(state=Payment.State.UNKNOWN)  # of an earlier request with this key nobody knows still
    rows.update(state=state, provider=answer.provider, reference=answer.reference, settled_at=timezone.now() if known else None)
    payment.refresh_from_db()
