"""The console as an ASGI application."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from console.bodies import Bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
application = Bodies(get_asgi_application())
