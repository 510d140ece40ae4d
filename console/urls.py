"""The console's pages."""

from __future__ import annotations

from django.urls import path

from console import (
    accountviews,
    auditviews,
    bulkviews,
    deciding,
    endpointviews,
    flagviews,
    operateviews,
    overviewviews,
    paymentviews,
    routeviews,
    ruleviews,
    signatureviews,
    suggestionviews,
    timelineviews,
)

urlpatterns = [
    path("", overviewviews.overview, name="overview"),
    path("routes/<str:name>/", routeviews.route, name="route"),
    path("routes/<str:name>/series.json", routeviews.series, name="route-series"),
    path("flags/", flagviews.flags, name="flags"),
    path("flags/changes/<int:pk>/", flagviews.change, name="flag-change"),
    path("endpoints/", endpointviews.endpoints, name="endpoints"),
    path("endpoints/start/", endpointviews.endpoint, name="endpoint"),
    path("timeline/", timelineviews.page, name="timeline"),
    path("payments/", paymentviews.page, name="payments"),
    path("payments/<int:number>/settle/", paymentviews.settle, name="payment-settle"),
    path("flags/refresh/", operateviews.refresh, name="flags-refresh"),
    path("flags/<str:flag>/override/", operateviews.override, name="override"),
    path("flags/<str:flag>/override/end/", operateviews.end_override, name="override-end"),
    path("routes/<str:name>/gate/begin/", operateviews.begin_gate, name="gate-begin"),
    path("routes/<str:name>/gate/<int:pk>/take-back/", operateviews.take_back_gate, name="gate-take-back"),
    path("operations/<int:pk>/", operateviews.operation, name="operation"),
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
    path("audit/", auditviews.page, name="audit"),
    path("audit/export/", auditviews.export, name="audit-export"),
    path("audit/<int:pk>/", auditviews.entry, name="audit-entry"),
    path("login/", accountviews.Login.as_view(), name="login"),
    path("logout/", accountviews.Logout.as_view(), name="logout"),
    path("account/", accountviews.account, name="account"),
    path("account/password/", accountviews.password, name="password"),
    path("language/", accountviews.language, name="language"),
]
handler403 = "console.forbidden.forbidden"
