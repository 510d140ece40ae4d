"""Compose's file: by Compose's own schema, and against the product."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for

from demo import unleash
from flags.source import check_token
from gateway.cli.verbs import app
from gateway.config import Config, load
from tests.support.deploying import COMPOSE, DOCKER, seconds, secrets_for, services, variables, words

FILE = COMPOSE / "compose.yaml"
TOML = COMPOSE / "banyan" / "banyan.toml"
OURS = {name: each for name, each in services().items() if each["image"].startswith("banyan:")}
ours = pytest.mark.parametrize("name", OURS)
DECLARED = yaml.safe_load(FILE.read_text())


def complaints(text: str) -> list[str]:
    """What Compose's own schema, of which a copy comes with check-jsonschema, says."""
    schema = get_builtin_schema("vendor.compose-spec")
    return [error.message for error in validator_for(schema)(schema).iter_errors(yaml.safe_load(text))]


def configuration(monkeypatch: pytest.MonkeyPatch, admin: str = "unix:/run/banyan/x.sock") -> Config:
    for name, value in {**secrets_for(TOML.read_text()), "BANYAN_ADMIN": admin}.items():
        monkeypatch.setenv(name, value)
    return load(TOML)


def test_it_is_a_compose_file() -> None:
    assert complaints(FILE.read_text()) == []
    assert complaints(FILE.read_text().replace("healthcheck:", "healthchek:"))


def test_all_that_is_named_is_there() -> None:
    for each in services().values():
        assert set(each.get("secrets", [])) <= set(DECLARED["secrets"])
        assert set(each.get("depends_on", {})) <= set(services())
        for volume in each.get("volumes", []):
            source, colon, _ = volume.partition(":")
            if not colon:
                assert source.startswith("/")  # one without a name
            elif source.startswith("."):
                assert (COMPOSE / source).is_dir(), source
            else:
                assert source in DECLARED["volumes"]
    build = OURS["gateway-1"]["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"


def test_who_waits_for_another_can_see_it_healthy() -> None:
    for each in services().values():
        for other, how in each.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services()[other]


@ours
def test_it_starts_a_command_that_there_is(name: str) -> None:
    each = OURS[name]
    assert "entrypoint" not in each
    app.parse_args(words(each["command"]), exit_on_error=False, print_error=False)


@ours
def test_its_containers_may_do_nothing_in_particular(name: str) -> None:
    each = OURS[name]
    assert each["read_only"] is True
    assert each["cap_drop"] == ["ALL"]
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert f"USER {each['user']}\n" in (DOCKER / "Dockerfile").read_text()
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(each)
    assert any(volume.endswith("/srv/banyan/var") for volume in each["volumes"])
    assert "./banyan:/etc/banyan:ro" in each["volumes"]


def test_secrets_stand_in_no_description() -> None:
    made = set(DECLARED["secrets"])
    for each in services().values():
        assert not made & set(each.get("environment", {}))
        assert "env_file" not in each
        for secret in each.get("secrets", []):
            assert isinstance(secret, str)  # and so /run/secrets/NAME
    assert all(set(secret) == {"file"} for secret in DECLARED["secrets"].values())
    for each in OURS.values():
        assert each["environment"]["BANYAN_SECRETS"] == "/run/secrets"


@ours
def test_the_configuration_finds_all_that_it_reads(name: str) -> None:
    each = OURS[name]
    assert variables(TOML.read_text()) <= set(each["secrets"]) | set(each["environment"])


def test_the_configuration_is_one_and_names_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(monkeypatch)
    assert config.shadow.sink == "jetstream"
    assert config.shadow.nats == ["nats://nats:4222"]
    assert config.flags.url == "http://unleash:4242/api"
    assert "@postgres:5432/" in config.shadow.database
    assert {"nats", "unleash", "postgres"} <= set(services())
    # The console looks at every gateway, by the socket that each has in the folder that they share.
    gateways = [each for name, each in OURS.items() if name.startswith("gateway")]
    assert len(gateways) == 2
    assert config.console.gateways == [each["environment"]["BANYAN_ADMIN"] for each in gateways]
    for each in [*gateways, OURS["console"]]:
        assert "admin:/run/banyan" in each["volumes"]
    for each in gateways:
        assert each["ports"][0].endswith(":" + config.gateway.listen[0].rpartition(":")[2])
    assert config.gateway.workers > 0


def test_unleash_is_the_one_that_the_product_is_tested_with_and_told_what_that_one_is_told() -> None:
    each = services()["unleash"]
    assert each["image"].endswith(f":{unleash.VERSION}")
    told = set(each["environment"]) | set(re.findall(r"export (\w+)=", each["command"][0]))
    assert told <= set(re.findall(r'"([A-Z_]+)": ', Path(unleash.__file__).read_text()))
    # Compose would put its own variables in the place of $NAME.
    assert not re.search(r"(?<!\$)\$(?!\$)", each["command"][0] + services()["nats"]["command"][0])


def test_there_is_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    drain = configuration(monkeypatch).gateway.limits.drain_timeout
    for name, each in OURS.items():
        if name.startswith("gateway"):
            assert seconds(each["stop_grace_period"]) >= drain + 10


def test_gateways_wait_for_nobody_and_their_health_is_their_own() -> None:
    for name, each in OURS.items():
        kind, program, method, path, *where = each["healthcheck"]["test"]
        assert (kind, program, method) == ("CMD", "banyan-ask", "GET")
        if name.startswith("gateway"):
            assert "depends_on" not in each
            assert (path, where) == ("/readyz", [])  # BANYAN_ADMIN says where
        else:
            listens = next(word for word in words(each["command"]) if word.startswith("0.0.0.0:"))
            assert where == [f"127.0.0.1:{listens.rpartition(':')[2]}"]


def test_what_steers_is_for_this_machine_alone() -> None:
    for name, each in services().items():
        for port in each.get("ports", []):
            assert name.startswith("gateway") or port.startswith("127.0.0.1:"), port


def test_secrets_are_made_once(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    shutil.copy(COMPOSE / "secrets.sh", script)
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert {f"secrets/{name}" for name in made} == {secret["file"] for secret in DECLARED["secrets"].values()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert len(set(made.values())) == len(made)
    check_token(made["UNLEASH_TOKEN"], "flags.token")
    check_token(made["UNLEASH_ADMIN_TOKEN"], "flags.admin_token")
    assert made["UNLEASH_TOKEN"].startswith("default:development.")
    assert all(len(value) >= 48 for value in made.values())
    (folder / "DB_PASSWORD").unlink()
    again = subprocess.run([script], check=True, capture_output=True, text=True, timeout=30)
    assert again.stdout == "made secrets/DB_PASSWORD\n"
    assert {path.name: path.read_text() for path in folder.iterdir() if path.name != "DB_PASSWORD"}.items() <= made.items()


def test_nobody_commits_the_secrets() -> None:
    folders = {str((COMPOSE / secret["file"]).parent.relative_to(DOCKER.parent)) for secret in DECLARED["secrets"].values()}
    assert folders == {"compose/secrets"}
    assert (DOCKER.parent / ".gitignore").read_text() == "/compose/secrets/\n"
