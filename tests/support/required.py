"""What some tests are about, and a machine may lack: there CI fails, and a developer is told."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(why: str, *, cause: BaseException | None = None, module: bool = False) -> NoReturn:
    """Skips the test, unless everything is required (BANYAN_REQUIRE_ALL): then it fails, from `cause`. `module`: at the top of one."""
    if os.environ.get("BANYAN_REQUIRE_ALL"):
        raise pytest.fail.Exception(why) from cause  # pytest.fail() has no place for what it comes from
    pytest.skip(why, allow_module_level=module)
