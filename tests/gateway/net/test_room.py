"""How many connections a worker takes, by the configuration and by its open files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from demo.processes import ROOT
from gateway.net.room import beyond, share
from gateway.settings import Gateway, Limits


@pytest.mark.parametrize(("limit", "workers", "each"), [(100, 1, 100), (100, 3, 34), (1, 4, 1)])
def test_the_limit_is_shared_out(limit: int, workers: int, each: int) -> None:
    assert share(Gateway(workers=workers, limits=Limits(connections=limit))) == each


def test_what_is_even_answered_is_bounded_too() -> None:
    assert (beyond(4), beyond(8000)) == (20, 9000)


def test_open_files_are_raised_to_what_is_allowed_and_bound_the_share() -> None:
    code = (
        "import logging, resource; logging.basicConfig(format='%(message)s')\n"
        "from gateway import descriptors\nfrom gateway.net.room import share\nfrom gateway.settings import Gateway, Limits\n"
        "descriptors.allow_all(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], share(Gateway(workers=1)))\n"
        "share(Gateway(workers=1, limits=Limits(connections=5000)))"
    )
    command = ["sh", "-c", 'ulimit -Sn 256; ulimit -Hn 628; exec "$@"', "sh", sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "628 250\n"
    assert ended.stderr == (
        "gateway.limits.connections: 5000 for each worker may need 10128 open files, and it may have 628: it takes 250 (see ulimit -Hn)\n"
    )
