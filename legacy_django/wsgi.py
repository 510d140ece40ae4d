"""What the production server runs: `gunicorn --config python:legacy_django.gunicorn_config legacy_django.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "legacy_django.settings")

application = get_wsgi_application()
