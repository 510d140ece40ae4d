"""`python -m console`."""

from __future__ import annotations

import sys

from console.server import main

sys.exit(main())
