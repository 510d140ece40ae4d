"""How gunicorn serves the shop: `gunicorn --config python:legacy_django.gunicorn_config legacy_django.wsgi [--bind …]`.

The gateway keeps its connections to legacy open and uses them again. So the worker must be one that can keep a connection alive (the
default, `sync`, closes after every answer), and must keep an idle one longer than the gateway does, which gives it up after some seconds:
otherwise a request could be written into a connection that is just going away.
"""

import os

bind = os.environ.get("BANYAN_SHOP_BIND", "127.0.0.1:8001")
workers = int(os.environ.get("BANYAN_SHOP_WORKERS", "2"))
worker_class = "gthread"
threads = 8
keepalive = 75
timeout = 30
graceful_timeout = 10
preload_app = False
accesslog = None
errorlog = "-"
loglevel = "warning"
# What the gateway lets through must not be refused here: its limit is 32 KiB for the whole head, gunicorn's own 8,190 bytes for a field.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 32768
