"""To be included under `_banyan/`."""

from django.urls import path

from .views import identity

urlpatterns = [path("identity", identity, name="banyan-identity")]
