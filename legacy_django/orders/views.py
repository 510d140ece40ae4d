"""/api/v1/orders/…: the caller's own, and nobody else's: another's order is not found."""

from __future__ import annotations

from typing import Any

from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse, JsonResponse

from legacy_django.api import ApiError, api, body, field_number, identifier, instant, not_found, page_of, parameter, signed_in
from legacy_django.orders.models import Order
from legacy_django.orders.placing import BusyError, OnePerUserError, OutOfStockError, UnknownOptionError, place

PAGE = 20
MAX_LINES = 50


@api("GET", "POST")
def orders(request: HttpRequest) -> HttpResponse:
    """GET ?page=. POST {"lines": [{"option": 3, "quantity": 2}]}."""
    user = signed_in(request)
    if request.method == "POST":
        try:
            order = create(request)
        except BusyError as error:
            busy = ApiError(503, "busy", str(error)).response()
            busy["Retry-After"] = "1"
            return busy
        prefetch_related_objects([order], "lines__option__item")
        response = JsonResponse(as_json(order), status=201)
        response["Location"] = f"/api/v1/orders/{order.pk}"
        return response
    page = parameter(request, "page") or 1
    rows = Order.objects.filter(user=user).prefetch_related("lines__option__item").order_by("-id")
    count = rows.count()
    found, following = page_of(rows, page, PAGE, count)
    return JsonResponse({"count": count, "page": page, "next": following, "results": [as_json(order) for order in found]})


@api("GET")
def order(request: HttpRequest, order_id: str) -> HttpResponse:
    user = signed_in(request)
    found = Order.objects.filter(user=user, pk=identifier(order_id, "Order")).prefetch_related("lines__option__item").first()
    if found is None:
        raise not_found("Order")
    return JsonResponse(as_json(found))


def create(request: HttpRequest) -> Order:
    lines = body(request).get("lines")
    if not isinstance(lines, list) or not 1 <= len(lines) <= MAX_LINES or not all(isinstance(line, dict) for line in lines):
        raise ApiError(400, "bad_field", f"lines: expected a list of 1 to {MAX_LINES} objects.")
    wanted: dict[int, int] = {}
    for line in lines:
        option = field_number(line, "option")
        wanted[option] = wanted.get(option, 0) + field_number(line, "quantity", 1, 99)
    try:
        return place(signed_in(request), wanted)
    except UnknownOptionError as error:
        raise ApiError(400, "bad_field", str(error)) from error
    except OutOfStockError as error:
        raise ApiError(409, "out_of_stock", str(error)) from error
    except OnePerUserError as error:
        raise ApiError(409, "one_per_user", str(error)) from error


def as_json(order: Order) -> dict[str, Any]:
    return {
        "id": order.pk,
        "status": order.status,
        "total": float(order.total),
        "created_at": instant(order.created_at),
        "lines": [
            {
                "item": line.option.item_id,
                "name": line.option.item.name,
                "option": line.option.name,
                "quantity": line.quantity,
                "unit_price": float(line.unit_price),
            }
            for line in sorted(order.lines.all(), key=lambda line: line.pk)
        ],
    }
