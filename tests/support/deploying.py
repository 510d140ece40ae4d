"""What deploy/ comes to: the chart's objects, Compose's services, and banyan.toml of either with addresses that a test may listen on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from gateway.config import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "banyan"
COMPOSE = DEPLOY / "compose"
DOCKER = DEPLOY / "docker"
SYSTEMD = DEPLOY / "systemd"
VALUES = {"defaults": None, **{path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}}
"""Values to render the chart with, by their names."""

Tree = dict[str, Any]


def values(name: str) -> Tree:
    """The file's; {} for the chart's own."""
    path = VALUES[name]
    return helm.values_from_yaml(path.read_text()) if path else {}


@cache
def _chart() -> helm.Chart:
    return helm.Chart.load(CHART)


def rendered(given: Tree, release: str = "shop") -> list[Tree]:
    """The objects that `helm install` would send, with these values.

    Raises:
        helm.HelmError: the chart refuses them.
    """
    manifests = _chart().render(given, name=release, namespace="edge")
    return [found for name, text in sorted(manifests.items()) if name.endswith(".yaml") for found in yaml.safe_load_all(text) if found]


@cache
def objects(name: str) -> list[Tree]:
    """Those of a file of values."""
    return rendered(values(name))


def of_kind(found: list[Tree], kind: str) -> dict[str, Tree]:
    """By their component, or name where they have none."""
    return {each["metadata"]["name"].removeprefix("shop-banyan").lstrip("-"): each for each in found if each["kind"] == kind}


def pods(found: list[Tree]) -> dict[str, Tree]:
    """Each Deployment's pod template, by component."""
    return {name: each["spec"]["template"] for name, each in of_kind(found, "Deployment").items()}


def container(pod: Tree, name: str) -> Tree:
    """One of a pod's."""
    found: Tree = next(each for each in pod["spec"]["containers"] if each["name"] == name)
    return found


def configuration(found: list[Tree]) -> str:
    """banyan.toml, as the chart has it."""
    text: str = of_kind(found, "ConfigMap")[""]["data"]["banyan.toml"]
    return text


def services() -> Tree:
    """Compose's services."""
    found: Tree = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    return found


def variables(text: str) -> set[str]:
    """The names of ${NAME} in banyan.toml, but not in its comments."""
    return set(VARIABLE.findall(re.sub(r"(?m)#.*$", "", text)))


def secrets_for(text: str) -> dict[str, str]:
    """Something for each variable."""
    return {name: f"{name.lower().replace('_', '-')}-0123456789abcdef0123456789" for name in variables(text)}


def adapted(text: str, addresses: Mapping[str, str]) -> str:
    """`text` with addresses that a cluster has replaced by others. Each has to be there: none is adapted that the text has no more."""
    for old, new in addresses.items():
        assert old in text, f"{old} is not in it"
        text = text.replace(old, new)
    return text


def adapted_program(path: Path, place: Path, replaced: Mapping[str, str]) -> Path:
    """A program of the image, with its paths in the image replaced; executable, in `place`."""
    made = place / path.stem
    made.write_text(adapted(path.read_text(), replaced))
    made.chmod(0o755)
    return made


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """(instruction, what follows), continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", dockerfile.read_text()).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest


def seconds(text: str) -> float:
    """Of a duration such as 40s."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return float(found[1])


def words(command: str | list[str]) -> list[str]:
    """A command as Compose takes it, in either form."""
    return shlex.split(command) if isinstance(command, str) else command
