"""/api/v1/items/…: the catalogue as JSON, and adding a picture."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from legacy_django.api import ApiError, api, identifier, not_found, page_of, parameter, signed_in, text_parameter
from legacy_django.items.models import Item
from legacy_django.items.pictures import PictureForm

PAGE = 20


@api("GET")
def items(request: HttpRequest) -> HttpResponse:
    """?category=, ?q= (part of the name) and ?page="""
    page = parameter(request, "page") or 1
    rows = Item.objects.order_by("id")
    if category := text_parameter(request, "category"):
        rows = rows.filter(category=category)
    if text := text_parameter(request, "q"):
        rows = rows.filter(name__icontains=text)
    count = rows.count()
    found, following = page_of(rows, page, PAGE, count)
    return JsonResponse({"count": count, "page": page, "next": following, "results": [brief(item) for item in found]})


@api("GET")
def item(request: HttpRequest, item_id: str) -> HttpResponse:
    found = Item.objects.prefetch_related("options", "pictures").filter(pk=identifier(item_id, "Item")).first()
    if found is None:
        raise not_found("Item")
    return JsonResponse(
        {
            **brief(found),
            "description": found.description,
            "options": [
                {"id": option.pk, "name": option.name, "surcharge": float(option.surcharge), "stock": option.stock}
                for option in sorted(found.options.all(), key=lambda option: option.pk)
            ],
            "pictures": [picture.file.url for picture in sorted(found.pictures.all(), key=lambda picture: picture.pk)],
        }
    )


@api("POST")
def add_picture(request: HttpRequest, item_id: str) -> HttpResponse:
    """A multipart form with the one file `picture`."""
    signed_in(request)
    found = Item.objects.filter(pk=identifier(item_id, "Item")).first()
    if found is None:
        raise not_found("Item")
    form = PictureForm(request.POST, request.FILES)
    if not form.is_valid():
        raise ApiError(400, "bad_picture", " ".join(str(error) for error in form.errors["picture"]))
    picture = form.save_to(found)
    return JsonResponse({"id": picture.pk, "url": picture.file.url, "width": picture.width, "height": picture.height}, status=201)


def brief(item: Item) -> dict[str, Any]:
    return {"id": item.pk, "name": item.name, "category": item.category, "price": float(item.price)}
