"""docs/guide/tutorial.md, followed: its own commands, in order, from `git clone` to a comparison of a Django project that is not ours.

What is taken from this machine instead of being fetched: the clone is of this working tree, and what `make setup` would install for Banyan
is what these tests run with. The project is installed from the package registry, by pip, whose own cache makes it quick the second time.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from gateway import compiled
from tests.support.required import missing
from tests.support.tutorial import Shell, ShellError, Step, steps, unseen

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guide" / "tutorial.md"
ADDRESS = "https://example.org/banyan.git"
PORTS = ("8001", "8002", "8080", "9900")
"""Those that the page uses. Each becomes one that is free here."""
CONSTRAINTS = """
Django==6.1.3
djangorestframework==3.18.3
django-filter==26.2
django-modelcluster==6.5
django-taggit==6.1.0
django-tasks==0.12.0
django-treebeard==5.3.1
modelsearch==1.3.2
pillow==13.0.0
Willow==1.12.0
"""
"""What the project's requirements leave open, as it was when the page was followed last: a release of tomorrow breaks no test of today."""
LONGEST = 240.0
"""Seconds for a block: that which installs takes ten where nothing else runs, and pip's cache has it."""
PATIENCE = 60.0
"""Seconds for an answer to be as the page says: comparisons are stored a little later than their requests."""

pytestmark = pytest.mark.timeout(600)


def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    page = steps(PAGE.read_text())
    for tool in ("git", "make", "curl", "bash"):
        if shutil.which(tool) is None:
            missing(f"the tutorial needs {tool}")
    origin = repository(tmp_path / "origin")
    ports = free_ports()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "DJANGO_", "PYTHON", "VIRTUAL_ENV"))
    }
    # The python3 of this test: a machine's own may be too old for the project.
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined] # venv goes by it, too
    environment["PIP_NO_COMPILE"] = "1"  # most of what is installed is never imported
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(CONSTRAINTS)
    environment["PIP_CONSTRAINT"] = str(constraints)
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    with Shell(tmp_path, environment) as shell:
        for step in page:
            commands = adapted(step.commands, origin, ports)
            wanted = tuple(adapted(line, origin, ports) for line in step.printed)
            if "make -C banyan setup" in commands:
                clone, _, rest = commands.partition("make")
                shell.run(clone, LONGEST)
                installed(tmp_path / "tutorial" / "banyan")
                commands = f"make{rest}"
            try:
                follow(shell, Step(commands, wanted))
            except ShellError as error:
                if "pip install" in commands and re.search(r"No matching distribution|Could not find|onnection", str(error)):
                    missing(f"the project cannot be installed here: {error}")
                raise
    shutil.rmtree(tmp_path / "tutorial")  # some hundred MB, which pytest would keep three times
    shown = [line.split()[:4] for step in page if step.commands.startswith("banyan report") for line in step.printed]
    assert ["match", "rate", "50.00", "%"] in shown, "one match and one difference are what the page is for"


QUESTIONS = ("banyan report", "banyan signatures", "banyan explain", "grep")
"""How blocks begin that only ask for what came of those before them."""


def follow(shell: Shell, step: Step) -> None:
    """Runs a block. One that only asks is asked again until the answer is as the page says, or time is over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            output = shell.run(step.commands, LONGEST)
            lacking = unseen(step.printed, output)
            wrong = f"{step.commands}\nprinted nothing like\n  {'\n  '.join(lacking)}\nbut\n{output}" if lacking else ""
        except ShellError as error:
            wrong = str(error)
        if not wrong:
            return
        if time.monotonic() > deadline or not step.commands.startswith(QUESTIONS):
            raise ShellError(wrong)
        time.sleep(0.5)


def adapted(text: str, origin: Path, ports: dict[str, str]) -> str:
    text = text.replace(ADDRESS, str(origin))
    return re.sub(rf"\b(?:{'|'.join(PORTS)})\b", lambda found: ports[found[0]], text)


def free_ports() -> dict[str, str]:
    """The page's ports, and those here. They are given free, since the page's programs take them by number: below those that the system
    hands out by itself, so that until then none goes to a connection of somebody else's."""
    held: list[socket.socket] = []
    while len(held) < len(PORTS):
        try:
            held.append(socket.create_server(("127.0.0.1", random.randrange(20_000, 32_768))))
        except OSError:  # somebody has it
            continue
    found = {port: str(sock.getsockname()[1]) for port, sock in zip(PORTS, held, strict=True)}
    for sock in held:
        sock.close()
    return found


def repository(folder: Path) -> Path:
    """A repository with this working tree in it, as it is: named banyan.git, which is what a clone takes its folder's name from."""
    bare = folder / "banyan.git"
    git = ["git", "-c", "user.name=tutorial", "-c", "user.email=tutorial@example.org", "-c", "init.defaultBranch=main"]
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    tree = folder / "tree"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".uv", "__pycache__", "*.so", ".compiled", "*.egg-info", "build", "var", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, tree, ignore=ignored)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "as it is"], ["clone", "-q", "--bare", ".", str(bare)]):
        subprocess.run([*git, *command], cwd=tree, env=environment, check=True, timeout=60, capture_output=True)
    return bare


def installed(clone: Path) -> None:
    """What `make setup` would leave behind, in two minutes and from the network: an environment with everything in it, and the compiled
    engine. Banyan itself is the clone's."""
    environment = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "all.pth").write_text(f"{clone}\n{sysconfig.get_path('purelib')}\n")
    script = environment / "bin" / "banyan"
    script.write_text(f"#!{environment}/bin/python\nfrom gateway.cli.__main__ import main\nmain()\n")
    script.chmod(0o755)
    if compiled.state() == "compiled":
        for library in (*ROOT.glob("*__mypyc*.so"), *(ROOT / "gateway").rglob("*.so"), *(ROOT / "flags").rglob("*.so"), compiled.STAMP):
            shutil.copy2(library, clone / library.relative_to(ROOT))
    names = ("requirements/requirements.lock", "requirements/uv.lock", "pyproject.toml", "scripts/setup")
    together = b"".join((clone / name).read_bytes() for name in names)
    summed = subprocess.run(["cksum"], input=together, capture_output=True, check=True, timeout=60).stdout.decode()
    (environment / "banyan-setup").write_text(summed)


def test_lines_that_a_page_promises_are_looked_for_in_their_order() -> None:
    output = "first   line\nsecond: 12 of 13\nthird\n"
    assert unseen(("first line", "second: … of 13", "third"), output) == []
    assert unseen(("third", "first line"), output) == ["first line"]
    assert unseen(("second: 12 of 14",), output) == ["second: 12 of 14"]


def test_a_block_ends_at_the_command_that_fails(tmp_path: Path) -> None:
    with Shell(tmp_path, os.environ) as shell:
        assert shell.run("export NAME=there\necho one\n", 30) == "one\n"
        with pytest.raises(ShellError, match="status 3"):
            shell.run("echo two\n(exit 3)\ntouch never\n", 30)
        assert shell.run("echo $NAME\n", 30) == "there\n"
        with pytest.raises(ShellError, match="not done within"):
            shell.run("sleep 30\n", 0.2)
    assert not (tmp_path / "never").exists()
