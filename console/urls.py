"""The console's pages."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from console import flagviews, timelineviews, views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("routes/<str:name>/", views.route, name="route"),
    path("flags/", flagviews.flags, name="flags"),
    path("flags/changes/<int:pk>/", flagviews.change, name="flag-change"),
    path("timeline/", timelineviews.page, name="timeline"),
    path("signatures/<int:pk>/", views.signature, name="signature"),
    path("signatures/<int:pk>/samples/<int:sample>/", views.sample, name="sample"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
