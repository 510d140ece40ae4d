"""The wheel is built from what the tree holds, has all that it needs, and works where nothing but it is installed.

Without a network: built without isolation, and installed into a fresh environment that has this one's packages behind its own, but not this
tree. What is built is a copy of what Git knows, so that no leftover of an earlier build helps; of a tree without its history, of what
.gitignore does not name.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

from demo.processes import answers, listen, start

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = tuple(pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
ELSEWHERE = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def run(*command: str | Path, cwd: Path, timeout: float = 60, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**ELSEWHERE, **env}, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def known(but: str = "--exclude-standard") -> list[str]:
    """What Git knows and has not been deleted; and what it will know, in the tree of somebody who is at work."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return walked(ROOT)
    # In a container the checkout may be another user's, whom Git does not trust by itself.
    listed = run("git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", but, cwd=ROOT).splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def walked(root: Path) -> list[str]:
    """The files below it that no .gitignore names: as far as ours go, which have neither `!` nor `**`."""
    rules: list[tuple[Path, str]] = []
    found: list[str] = []

    def ignored(path: Path, folder: bool) -> bool:
        for base, rule in rules:
            pattern = rule.removesuffix("/")
            if path.is_relative_to(base) and (folder or pattern == rule):
                anchored = "/" in pattern
                name = path.relative_to(base).as_posix() if anchored else path.name
                if fnmatch.fnmatchcase(name, pattern.removeprefix("/")):
                    return True
        return path.name == ".git"

    for place, folders, names in os.walk(root):
        here = Path(place)
        if ".gitignore" in names:
            lines = (line.strip() for line in (here / ".gitignore").read_text().splitlines())
            rules += [(here, line) for line in lines if line and not line.startswith("#")]
        folders[:] = [name for name in folders if not ignored(here / name, folder=True)]
        found += [(here / name).relative_to(root).as_posix() for name in names if not ignored(here / name, folder=False)]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in known():
        if name.startswith(tuple(f"{package}/" for package in PACKAGES)) or name in ("pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder / "dist", ".", cwd=source, timeout=100)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder of commands."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, cwd=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # The folder of this environment, whose own .pth files (the editable installation of this tree) are not read so.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    place = run(python, "-c", "import gateway, console, shadow; print(gateway.__file__, console.__file__, shadow.__file__)", cwd=folder)
    assert all(Path(each).is_relative_to(site) for each in place.split())
    return python.parent


def test_a_tree_without_its_history_is_read_as_git_would() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("there is nothing to compare with: this tree is without its history")
    folders = tuple(f"{package}/" for package in PACKAGES)
    of_git = known("--exclude-per-directory=.gitignore")
    assert {name for name in walked(ROOT) if name.startswith(folders)} == {name for name in of_git if name.startswith(folders)}


def test_it_holds_every_file_of_every_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name for name in known() if name.startswith(tuple(f"{package}/" for package in PACKAGES))}


def test_the_console_s_parts_are_among_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = archive.namelist()
    for part in (r"console/templates/.+\.html", r"console/static/.+\.js", r"console/static/.+\.css", r"console/locale/ko/.+\.mo"):
        assert [name for name in held if re.fullmatch(part, name)], part


def test_it_says_its_version_licence_and_entry_point(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(about).decode()
        assert f"Version: {PROJECT['project']['version']}\n" in text
        assert "License-Expression: Apache-2.0\n" in text
        assert [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]


def test_banyan_says_its_version_and_its_verbs(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "banyan", "--version", cwd=tmp_path).strip() == PROJECT["project"]["version"]
    text = run(installed / "banyan", "--help", cwd=tmp_path, COLUMNS="120")
    for verb in ("run", "check", "console", "flags", "gate", "completion"):
        assert re.search(rf"^│ {verb} ", text, re.MULTILINE), verb


def test_a_file_is_checked_from_there(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text('[upstreams]\nlegacy = "http://127.0.0.1:8001"\n')
    (tmp_path / "flags.json").write_text('{"version": 1, "features": []}')
    run(installed / "banyan", "check", cwd=tmp_path)


def test_the_console_serves_its_pages_assets_and_languages_from_there(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text('[upstreams]\nlegacy = "http://127.0.0.1:8001"\n')
    away = {"PYTHONSAFEPATH": "1", "PYTHONPATH": ""}  # it is started in this tree, and must not look there
    place = run(installed / "python", "-c", "import console; print(console.__file__)", cwd=ROOT, **away)
    assert Path(place.strip()).is_relative_to(installed.parent)
    running = start(
        "console",
        [str(installed / "python"), "-m", "console", "--config", str(tmp_path / "banyan.toml"), "--fd", "{fd}"],
        log_dir=tmp_path,
        sock=listen(),
        env={"BANYAN_CONSOLE_USER": "ada", "BANYAN_CONSOLE_PASSWORD": "correct horse battery", **away},
        ready=answers("/login/"),
    )
    try:
        with httpx.Client(base_url=running.url, timeout=10) as client:
            page = client.get("/login/").text
            assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
            assert assets
            for asset in assets:
                assert client.get(asset).status_code == 200, asset
            korean = client.get("/login/", headers={"Accept-Language": "ko"}).text
            assert 'lang="ko"' in korean
            assert re.search("[가-힣]", korean)
        assert running.stop() == 0, running.tail()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def script(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bash is given."""
    path = tmp_path_factory.mktemp("completion") / "banyan"
    path.write_text(run(installed / "banyan", "completion", "bash", cwd=path.parent))
    return path


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_their_own(installed: Path, tmp_path: Path, shell: str) -> None:
    (tmp_path / "script").write_text(run(installed / "banyan", "completion", shell, cwd=tmp_path))
    assert "burndown" in (tmp_path / "script").read_text()
    if shutil.which(shell):
        run(shell, "-n", "script", cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["banyan", "burn"], {"burndown"}),
        (["banyan", "flags", "o"], {"on", "off", "override"}),
        (["banyan", "report", "--for"], {"--format"}),
    ],
)
def test_bash_completes_by_it(installed: Path, script: Path, words: list[str], expected: set[str]) -> None:
    line = " ".join(words)
    asked = f"source {script} || exit 3; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
    asked += "_banyan; printf '%s\\n' \"${COMPREPLY[@]}\""
    path = f"{installed}{os.pathsep}{os.environ['PATH']}"
    assert {each.strip() for each in run("bash", "-c", asked, cwd=script.parent, PATH=path).split()} == expected
