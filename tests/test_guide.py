"""What docs/guide/ names exists: commands with their options, metrics, the admin port's paths, keys of banyan.toml, reasons, pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError
from pydantic import BaseModel

from gateway.cli.verbs import app
from gateway.policy.decision import Reason
from gateway.settings import Config

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "guide").glob("*.md"))
REFERENCE = ROOT / "docs" / "reference"
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def blocks(text: str) -> list[str]:
    """The lines of its shell examples."""
    return [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]


def inline(text: str) -> list[str]:
    """What stands between backticks, outside of examples."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def test_there_are_pages() -> None:
    assert ROOT / "docs" / "guide" / "flags.md" in PAGES


@page
def test_every_example_is_a_command_that_parses(page: Path) -> None:
    commands = [line for line in blocks(page.read_text()) if line.startswith("banyan ")]
    assert commands
    for command in commands:
        try:
            app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"{command}: {error}")


@page
def test_every_command_in_the_text_exists(page: Path) -> None:
    for command in (text for text in inline(page.read_text()) if text.startswith("banyan ")):
        verb, _, rest = app.parse_commands(shlex.split(command)[1:])
        assert verb, f"{command}: no such verb"
        assert verb != ("flags",) or not rest, f"{command}: no such verb"


@page
def test_every_metric_is_in_the_reference(page: Path) -> None:
    known = set(re.findall(r"^\| `(banyan_\w+)`", (REFERENCE / "metrics.md").read_text(), re.MULTILINE))
    named = {name for name in re.findall(r"\bbanyan_\w+", page.read_text()) if name not in ("banyan_visitor", "banyan_identity")}
    assert named <= known


@page
def test_every_path_of_the_admin_port_is_in_the_reference(page: Path) -> None:
    known = set(re.findall(r"^\| `(?:GET|POST|PUT|DELETE) (/[\w/]+)", (REFERENCE / "admin.md").read_text(), re.MULTILINE))
    text = page.read_text()
    named = set(re.findall(r"`(?:GET|POST|PUT|DELETE) (/[\w/]+)`", text)) | set(re.findall(r"127\.0\.0\.1:9900(/[\w/]+)", text))
    assert named <= known


@page
def test_every_key_of_the_configuration_exists(page: Path) -> None:
    for section, key in re.findall(r"`\[(\w+)\] (\w+)", page.read_text()):
        model = Config.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        assert key in model.model_fields, f"[{section}] {key}"


@page
def test_every_link_leads_somewhere(page: Path) -> None:
    """In this tree; what is elsewhere is not asked for."""
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_flags_page_explains_every_reason() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "guide" / "flags.md").read_text(), re.MULTILINE)
    assert {str(reason) for reason in Reason} <= set(rows)
