"""The shop's settings. Safe as they stand on a laptop; what differs elsewhere comes from the environment:

DATABASE_URL                     sqlite:///path or postgres://…; default: shop.sqlite3 in BANYAN_SHOP_VAR
BANYAN_SHOP_VAR                  folder for the database, uploads and the generated key; default: var
BANYAN_SHOP_SECRET_KEY           default: generated once, kept in BANYAN_SHOP_VAR with mode 0600
BANYAN_SHOP_DEBUG                1 for Django's debug pages
BANYAN_SHOP_ALLOWED_HOSTS        comma-separated; default: this machine's own names
BANYAN_SHOP_TRUSTED_PROXY        1 where nobody but a proxy can reach the shop: X-Forwarded-Host and X-Forwarded-Proto are then believed
BANYAN_SHOP_SESSION_ENGINE       where sessions are kept, as Django names it; default: django.contrib.sessions.backends.db
BANYAN_SHOP_PASSWORD_ITERATIONS  cost of a password hash; default: Django's own
BANYAN_SHOP_QUERY_MS             milliseconds that every database query takes longer, for drills; default: none
BANYAN_SHOP_PAYMENTS_URL         where orders are paid, such as http://127.0.0.1:8080/api/v1/payments/; default: nowhere
BANYAN_SHOP_PAYMENTS_SECONDS     how long the answer to a payment may take; default: 10
BANYAN_SHOP_PAYMENTS_CARELESS    1 for the checkout as it was before docs/incidents/payment-provider.md: without an Idempotency-Key, and a
                                 payment of which nothing is known counts as failed
BANYAN_SHOP_ORDERS_CARELESS      1 for placing orders as it was before docs/incidents/time-deal.md: in one long transaction that takes
                                 stock in the order in which the cart names it
"""

import os
from pathlib import Path

from legacy_django import environment

ROOT = Path(__file__).resolve().parent.parent
VAR = environment.folder("BANYAN_SHOP_VAR", ROOT / "var")

SECRET_KEY = os.environ.get("BANYAN_SHOP_SECRET_KEY") or environment.secret_key(VAR / "shop-secret-key")
DEBUG = environment.flag("BANYAN_SHOP_DEBUG")
ALLOWED_HOSTS = [
    host.strip() for host in os.environ.get("BANYAN_SHOP_ALLOWED_HOSTS", "localhost,.localhost,127.0.0.1,[::1]").split(",") if host.strip()
]

# The gateway passes the client's Host on, so neither is needed behind it on plain HTTP. Believing these headers is only safe where every
# request comes through a proxy that sets them itself.
USE_X_FORWARDED_HOST = environment.flag("BANYAN_SHOP_TRUSTED_PROXY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if USE_X_FORWARDED_HOST else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = USE_X_FORWARDED_HOST
SESSION_ENGINE = os.environ.get("BANYAN_SHOP_SESSION_ENGINE") or "django.contrib.sessions.backends.db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "legacy_django",
    "legacy_django.accounts",
    "legacy_django.items",
    "legacy_django.discounts",
    "legacy_django.reviews",
    "legacy_django.recommendations",
    "legacy_django.orders",
    "legacy_django.outbox",
    "legacy_django.banyan_identity",
]
MIDDLEWARE = [
    "legacy_django.middleware.HeadWithoutBody",
    "legacy_django.slow_queries.SlowQueries",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "legacy_django.accounts.middleware.Csrf",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "legacy_django.accounts.middleware.TokenAuthentication",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "legacy_django.urls"
WSGI_APPLICATION = "legacy_django.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth"],
        },
    }
]

DATABASE_URL = os.environ.get("DATABASE_URL")
DATABASES = {"default": environment.database(DATABASE_URL) if DATABASE_URL else environment.sqlite(str(VAR / "shop.sqlite3"))}

PASSWORD_HASHERS = ["legacy_django.accounts.hashers.Hasher"]
PASSWORD_ITERATIONS = environment.number("BANYAN_SHOP_PASSWORD_ITERATIONS", 0)
QUERY_MS = environment.number("BANYAN_SHOP_QUERY_MS", 0)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
CSRF_FAILURE_VIEW = "legacy_django.accounts.views.csrf_failure"

PAYMENTS_URL = environment.http_url("BANYAN_SHOP_PAYMENTS_URL")
PAYMENTS_SECONDS = environment.number("BANYAN_SHOP_PAYMENTS_SECONDS", 10)
PAYMENTS_CARELESS = environment.flag("BANYAN_SHOP_PAYMENTS_CARELESS")
ORDERS_CARELESS = environment.flag("BANYAN_SHOP_ORDERS_CARELESS")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
# Served from the apps themselves: the shop starts without a collectstatic before it.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR / "shop-media"
FILE_UPLOAD_PERMISSIONS = 0o640
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # A 404 is an everyday answer, and one log line for each would be the slowest part of it.
    "loggers": {"django.request": {"level": "ERROR"}},
}
