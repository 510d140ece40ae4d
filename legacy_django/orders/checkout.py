"""POST /api/v1/orders/{id}/payment {"card": "…"} pays the caller's own order; GET says how far it is."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from legacy_django.api import ApiError, api, body, field_text, identifier, not_found, signed_in
from legacy_django.orders.models import Order, Payment
from legacy_django.orders.paying import NotConfiguredError, latest, pay
from legacy_django.orders.provider import Outcome


@api("GET", "POST")
def payment(request: HttpRequest, order_id: str) -> HttpResponse:
    order = Order.objects.filter(user=signed_in(request), pk=identifier(order_id, "Order")).first()
    if order is None:
        raise not_found("Order")
    if request.method == "POST":
        return _paid(order, field_text(body(request), "card", 64))
    found = latest(order)
    if found is None:
        raise not_found("Payment")
    return JsonResponse(as_json(found))


def _paid(order: Order, card: str) -> HttpResponse:
    try:
        found, outcome = pay(order, card)
    except NotConfiguredError as error:
        raise ApiError(503, "payments_not_configured", "Orders cannot be paid here.") from error
    match outcome:
        case Outcome.PAID:
            return JsonResponse(as_json(found))
        case Outcome.DECLINED:
            raise ApiError(402, "declined", "The card was declined. Nothing was charged.")
        case Outcome.RUNNING:
            raise ApiError(409, "payment_running", "This order is being paid.")
        case Outcome.REFUSED:
            raise ApiError(502, "payment_refused", "The payment could not be made.")
        case Outcome.UNKNOWN if settings.PAYMENTS_CARELESS:
            raise ApiError(502, "payment_failed", "The payment failed. Please try again.")
        case Outcome.UNKNOWN:
            # Neither yes nor no: the order is kept, somebody finds out, and until then nobody has to pay again.
            return JsonResponse(as_json(found), status=202)
        case Outcome.NOT_SENT:
            if found.state == Payment.State.UNKNOWN:
                return JsonResponse(as_json(found), status=202)
            response = ApiError(503, "payment_unavailable", "Nobody was charged. Please try again.").response()
            response["Retry-After"] = "1"
            return response


def as_json(payment: Payment) -> dict[str, Any]:
    return {
        "order": payment.order_id,
        "state": payment.state,
        "amount": float(payment.amount),
        "currency": payment.currency,
        "provider": payment.provider,
        "reference": payment.reference,
        "key": payment.key,
    }
