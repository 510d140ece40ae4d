"""The console's pages."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from console import (
    bulkviews,
    deciding,
    flagviews,
    overviewviews,
    routeviews,
    ruleviews,
    signatureviews,
    suggestionviews,
    timelineviews,
    views,
)

urlpatterns = [
    path("", overviewviews.overview, name="overview"),
    path("routes/<str:name>/", routeviews.route, name="route"),
    path("routes/<str:name>/series.json", routeviews.series, name="route-series"),
    path("flags/", flagviews.flags, name="flags"),
    path("flags/changes/<int:pk>/", flagviews.change, name="flag-change"),
    path("timeline/", timelineviews.page, name="timeline"),
    path("signatures/<int:pk>/", signatureviews.signature, name="signature"),
    path("signatures/<int:pk>/samples/<int:sample>/", signatureviews.sample, name="sample"),
    path("signatures/<int:pk>/samples/<int:sample>/<str:part>.txt", signatureviews.raw, name="sample-raw"),
    path("signatures/mark/", bulkviews.mark_many, name="signatures-mark"),
    path("signatures/<int:pk>/mark/", deciding.mark, name="signature-mark"),
    path("signatures/<int:pk>/expect/", ruleviews.expect, name="expect"),
    path("signatures/<int:pk>/comments/", deciding.comment, name="signature-comment"),
    path("signatures/<int:pk>/undo/", deciding.undo_signature, name="signature-undo"),
    path("routes/<str:name>/rules/", ruleviews.rules, name="rules"),
    path("rules/<int:pk>/", ruleviews.rule, name="rule"),
    path("rules/<int:pk>/end/", ruleviews.end, name="rule-end"),
    path("rules/<int:pk>/undo/", deciding.undo_rule, name="rule-undo"),
    path("suggestions/accept/", suggestionviews.accept, name="suggestion-accept"),
    path("suggestions/decline/", suggestionviews.decline, name="suggestion-decline"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
