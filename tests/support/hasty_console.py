"""`python -m tests.support.hasty_console`: the console, as `python -m console` starts it, but for the cost of its password hashes.

Each is 0.4 s of CPU, for the user that a start makes and for each login, and protects nothing in a test. tests/console/test_console.py
starts the console as it is.
"""

from __future__ import annotations

import os
import sys

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from gateway.quick import HTTPX_COMMAND, absent, importing

absent(HTTPX_COMMAND)
with importing():
    from console.server import main

if __name__ == "__main__":
    PBKDF2PasswordHasher.iterations = int(os.environ.get("BANYAN_TEST_ITERATIONS", "1000"))
    sys.exit(main())
