"""docs/incidents: each page has the picture that its drill drew, and names only what exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from gateway.cli.verbs import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "incidents").glob("*.md"))
MOST_BYTES = 250_000
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} >= {"payment-provider.md", "push-surge.md", "time-deal.md"}


@page
def test_it_shows_the_picture_that_the_drill_drew(page: Path) -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", page.read_text())
    assert pictures
    for name in pictures:
        path = page.parent / name
        assert path.stat().st_size <= MOST_BYTES
        with Image.open(path) as image:
            image.verify()


@page
def test_what_it_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@page
def test_every_command_in_it_exists(page: Path) -> None:
    text = page.read_text()
    commands = [re.sub(r"\s+", " ", found) for found in re.findall(r"`(banyan [^`]+)`", text)]
    commands += re.findall(r"^(banyan .+)$", text, re.MULTILINE)
    assert any(command.startswith("banyan drill ") for command in commands)
    for command in commands:
        verb, _, rest = app.parse_commands(shlex.split(command)[1:])
        assert verb, command
        assert not rest or verb not in (("drill",), ("payments",)), f"{command}: no such verb"
