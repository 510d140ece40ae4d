"""The console's Django settings. Everything that differs between installations comes from the environment:

DATABASE_URL                  sqlite:///path (relative to the working directory) or postgres://…; default sqlite:///var/banyan.sqlite3
BANYAN_CONSOLE_SECRET_KEY     signs sessions; default: a key file beside the database, made on first use
BANYAN_CONSOLE_STATE          the folder of that key file, where it is not the database's
BANYAN_CONSOLE_HOSTS          host names that the console answers to, separated by commas; default: loopback
BANYAN_CONSOLE_HTTPS          1 where people reach it by HTTPS, through a proxy that sets X-Forwarded-Proto: cookies need HTTPS then
BANYAN_CONSOLE_PROXIES        how many proxies stand before it: a client's address is that many from the end of X-Forwarded-For; default 0
BANYAN_CONSOLE_CONFIG         banyan.toml: shows every route of it, with traffic or without
BANYAN_CONSOLE_ADMIN          host:port of the gateway's admin port, where it is not banyan.toml's [gateway] admin (console.server)
"""

from __future__ import annotations

import os
from pathlib import Path

from django.utils.csp import CSP

from console.environment import count
from console.keys import secret_key
from shadow import database

BASE_DIR = Path(__file__).resolve().parent
DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///var/banyan.sqlite3")
# Under ASGI each request has a thread of its own, and with it a connection, which nobody would use again: kept for a minute, these were all
# that a PostgreSQL allows, within seconds.
DATABASES = {"default": {**database.settings(DATABASE_URL, Path.cwd()), "CONN_MAX_AGE": 0}}

SECRET_KEY = secret_key(Path(os.environ.get("BANYAN_CONSOLE_STATE") or database.state_folder(DATABASE_URL, Path.cwd())))
DEBUG = False
ALLOWED_HOSTS = [host.strip() for host in os.environ.get("BANYAN_CONSOLE_HOSTS", "localhost,127.0.0.1,[::1]").split(",") if host.strip()]
PROXIES = count(os.environ.get("BANYAN_CONSOLE_PROXIES", ""))
BANYAN_CONFIG = os.environ.get("BANYAN_CONSOLE_CONFIG", "")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_htmx",
    "shadow",
    "console",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "console.assets.Assets",
    # Before whatever asks the database.
    "console.crowd.Passwords",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Every view needs a login, those that later issues add too: forgetting a decorator can't open a page.
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "console.urls"
ASGI_APPLICATION = "console.asgi.application"
WSGI_APPLICATION = "console.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "console.roles.context",
                "console.payments.context",
                "console.eventviews.context",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_NAME = "banyan_console_language"
LANGUAGE_COOKIE_AGE = 365 * 86400
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
# Served from the packages themselves: there is no build step to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# Names of their own: the console and the shop may be used from one browser on one host, where cookies don't know ports.
SESSION_COOKIE_NAME = "banyan_console_session"
CSRF_COOKIE_NAME = "banyan_console_csrf"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "console.forbidden.forged"
_HTTPS = os.environ.get("BANYAN_CONSOLE_HTTPS", "") == "1"
SESSION_COOKIE_SECURE = _HTTPS
CSRF_COOKIE_SECURE = _HTTPS
LANGUAGE_COOKIE_SECURE = _HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # What is wrong with a request is answered 400. Anybody can send one, without a login: it is not worth a line, or a traceback, each.
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {
        "django.request": {"level": "ERROR"},
        **{
            f"django.security.{error}": {"handlers": ["none"], "propagate": False}
            for error in ("DisallowedHost", "RequestDataTooBig", "TooManyFieldsSent", "TooManyFilesSent")
        },
    },
}
