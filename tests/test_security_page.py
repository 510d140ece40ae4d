"""SECURITY.md names tests that exist and the settings that are secrets; what it says of the lock is done without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from packaging.requirements import Requirement
from pydantic import BaseModel, SecretStr

from gateway.settings import Config

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()
LOCK = ROOT / "requirements" / "requirements.lock"


def locked(*, here: bool = False) -> dict[str, tuple[str, set[str]]]:
    """Package → (version, SHA-256 of its files). `here`: those alone that are for machines such as this one."""
    found = {}
    for block in LOCK.read_text().replace("\\\n", " ").splitlines():
        if block and not block.lstrip().startswith("#"):
            line, _, rest = block.partition(" --hash=")
            requirement = Requirement(line.strip())
            if here and requirement.marker is not None and not requirement.marker.evaluate():
                continue
            (pin,) = requirement.specifier
            found[requirement.name] = (pin.version, set(re.findall(r"sha256:([0-9a-f]{64})", rest)))
    return found


def test_every_named_test_exists() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(test_\w+)", PAGE)
    assert len(named) > 30
    for path, function in named:
        assert re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{function}"


def test_every_threat_is_met_by_a_test() -> None:
    threats = PAGE[PAGE.index("## Threats") : PAGE.index("## What is not promised")]
    rows = [row for row in re.findall(r"^\| .*\|$", threats, re.MULTILINE) if not row.startswith(("| threat", "| ---"))]
    assert len(rows) > 20
    for row in rows:
        assert "::test_" in row, row


def secrets(model: type[BaseModel], where: str = "") -> Iterator[str]:
    """Every key of banyan.toml that takes a secret."""
    for name, field in model.model_fields.items():
        place = f"{where}.{name}" if where else name
        kinds = [field.annotation, *get_args(field.annotation)]
        kinds += [inner for kind in kinds for inner in get_args(kind)]
        if SecretStr in kinds:
            yield place
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secrets(kind, place)


def test_every_secret_of_the_settings_has_a_row() -> None:
    table = PAGE[PAGE.index("## Secrets") : PAGE.index("## Dependencies")]
    found = set(secrets(Config))
    assert {"flags.token", "shadow.jetstream.password", "identity.stamp.key"} <= found
    for place in found - {"identity.jwt.jwks_url"}:  # an address, which may hold a token
        section, _, key = place.rpartition(".")
        rows = [row for row in table.splitlines() if section in row or place in row]
        assert any(key in row or "SECRET_KEY" in row for row in rows), place


def test_the_list_of_what_it_is_made_of_is_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "banyan.cdx.json"
    subprocess.run([str(ROOT / "scripts" / "sbom"), str(file)], check=True, capture_output=True, timeout=110)
    document = json.loads(file.read_text())
    assert "timestamp" not in document["metadata"]  # nor anything else that would differ the next time
    assert "serialNumber" not in document
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "banyan")
    listed = {}
    for each in document["components"]:
        hashes = {one["content"] for reference in each.get("externalReferences", ()) for one in reference.get("hashes", ())}
        listed[each["name"]] = (each["version"], hashes)
    assert listed == locked()


def test_the_audit_reads_the_whole_lock_without_asking_anybody() -> None:
    """--dry-run: all but the question itself."""
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [str(ROOT / "scripts" / "audit"), "--dry-run"], check=False, capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, done.stderr
    counted = [int(count) for count in re.findall(r"would have audited (\d+) packages", done.stderr + done.stdout)]
    assert counted[0] == len(locked(here=True))
