"""The console's pages."""

from __future__ import annotations

from django.urls import path

from console import accountviews, auditviews, endpointviews, flagviews, operateviews, timelineviews, views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("routes/<str:name>/", views.route, name="route"),
    path("flags/", flagviews.flags, name="flags"),
    path("flags/changes/<int:pk>/", flagviews.change, name="flag-change"),
    path("endpoints/", endpointviews.endpoints, name="endpoints"),
    path("endpoints/start/", endpointviews.endpoint, name="endpoint"),
    path("timeline/", timelineviews.page, name="timeline"),
    path("flags/refresh/", operateviews.refresh, name="flags-refresh"),
    path("flags/<str:flag>/override/", operateviews.override, name="override"),
    path("flags/<str:flag>/override/end/", operateviews.end_override, name="override-end"),
    path("routes/<str:name>/gate/begin/", operateviews.begin_gate, name="gate-begin"),
    path("routes/<str:name>/gate/<int:pk>/take-back/", operateviews.take_back_gate, name="gate-take-back"),
    path("operations/<int:pk>/", operateviews.operation, name="operation"),
    path("signatures/<int:pk>/", views.signature, name="signature"),
    path("signatures/<int:pk>/samples/<int:sample>/", views.sample, name="sample"),
    path("audit/", auditviews.page, name="audit"),
    path("audit/export/", auditviews.export, name="audit-export"),
    path("audit/<int:pk>/", auditviews.entry, name="audit-entry"),
    path("login/", accountviews.Login.as_view(), name="login"),
    path("logout/", accountviews.Logout.as_view(), name="logout"),
    path("account/", accountviews.account, name="account"),
    path("account/password/", accountviews.password, name="password"),
    path("language/", accountviews.language, name="language"),
]
handler403 = "console.refusals.forbidden"
