"""Tells the Banyan gateway who is calling. Copy this folder into your own Django project; it needs nothing else of the shop.

    INSTALLED_APPS += ["banyan_identity"]
    urlpatterns += [path("_banyan/", include("banyan_identity.urls"))]

The view runs after the project's own session and authentication middleware: whatever decides there who a request belongs to decides here
too, by session or by token.
"""
