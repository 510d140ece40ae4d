"""JSON under /api/v1/{domain}/…, pages for people beside it."""

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.urls import include, path, reverse_lazy
from django.views.static import serve

from legacy_django import pages
from legacy_django.accounts import views as accounts
from legacy_django.items import views as items
from legacy_django.items.product_view import product_view
from legacy_django.orders import checkout
from legacy_django.orders import views as orders
from legacy_django.recommendations import views as recommendations
from legacy_django.reviews import views as reviews

api = [
    path("users/me", accounts.me),
    path("users/<str:user_id>", accounts.public),
    path("items/", items.items),
    path("items/<str:item_id>", items.item),
    path("items/<str:item_id>/pictures", items.add_picture, name="add-picture"),
    path("product-view/<str:item_id>", product_view),
    path("reviews/", reviews.reviews, name="reviews"),
    path("reviews/summary/<str:item_id>", reviews.summary),
    path("reviews/<str:review_id>", reviews.review),
    path("recommendations/", recommendations.for_item),
    path("recommendations/<str:user_id>", recommendations.for_user),
    path("orders/", orders.orders),
    path("orders/<str:order_id>", orders.order),
    path("orders/<str:order_id>/payment", checkout.payment),
]

urlpatterns = [
    path("", pages.home, name="home"),
    path("items/<int:item_id>/", pages.product, name="product"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("password/", PasswordChangeView.as_view(success_url=reverse_lazy("home")), name="password"),
    path("exports/reviews.csv", pages.export_reviews, name="export-reviews"),
    path("api/v1/", include(api)),
    path("api/<path:rest>", pages.unknown_api),
    path("media/<path:path>", serve, {"document_root": settings.MEDIA_ROOT}),
    path("healthz", pages.healthz),
    path("_banyan/", include("legacy_django.banyan_identity.urls")),
]
