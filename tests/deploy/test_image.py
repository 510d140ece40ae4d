"""The Dockerfile and the two programs that it puts into the image. The image itself is built by none of these tests."""

from __future__ import annotations

import fnmatch
import json
import os
import socket
import subprocess
import sys
import sysconfig
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.verbs import app
from tests.support.deploying import DOCKER, ROOT, adapted_program, instructions

DOCKERFILE = DOCKER / "Dockerfile"
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, timeout=30, check=False)


def test_hadolint_finds_nothing_to_say(tmp_path: Path) -> None:
    ended = hadolint(DOCKERFILE)
    assert (ended.returncode, ended.stdout) == (0, "")
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.read_text().replace("ARG PYTHON=3.13-slim-trixie\n\nFROM python:${PYTHON}", "FROM python:latest"))
    assert "DL3007" in hadolint(worse).stdout


def ignored(path: str, rules: list[str]) -> bool:
    """Whether the builder is not sent a file, by the last rule that fits it or a folder above it."""
    verdict = False
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for rule in rules:
        pattern = rule.removeprefix("!")
        patterns = [pattern, pattern.removeprefix("**/")] if pattern.startswith("**/") else [pattern]
        if any(fnmatch.fnmatchcase(each, wanted) for each in above for wanted in patterns):
            verdict = not rule.startswith("!")
    return verdict


def test_what_is_copied_is_there_and_comes_through() -> None:
    rules = [line for line in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sources = [
        word.rstrip("/")
        for instruction, rest in instructions(DOCKERFILE)
        if instruction == "COPY" and "--from" not in rest
        for word in [each for each in rest.split() if not each.startswith("--")][:-1]
    ]
    assert {"gateway", "shadow", "requirements", "deploy/docker/banyan"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source, rules), source
    assert not ignored("gateway/net/edge.py", rules)
    for path in (
        ".git/config",
        "tests/conftest.py",
        "var/redact.key",
        "gateway/net/edge.cpython-313.so",
        "demo/node/node_modules/x.js",
        ".venv/bin/python",
    ):
        assert ignored(path, rules), path
    assert ignored("deploy/compose/secrets/DB_PASSWORD", rules)


def test_every_package_of_the_product_is_in_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    copied = {rest.split("/")[0] for instruction, rest in instructions(DOCKERFILE) if instruction == "COPY" and not rest.startswith("-")}
    assert packages <= copied
    for instruction, rest in instructions(DOCKERFILE):
        for extra in rest.split("--extra ")[1:] if instruction == "RUN" else ():
            assert extra.split()[0] in project["project"]["optional-dependencies"]


def test_what_comes_from_a_registry_is_what_the_lock_says() -> None:
    installed = [
        part.split() for word, rest in instructions(DOCKERFILE) if word == "RUN" for part in rest.split("&&") if "pip install" in part
    ]
    assert len(installed) == 4
    for words in installed:
        locked = "--require-hashes" in words and any(word.endswith(".lock") for word in words)
        assert locked or {"--no-deps", "--no-build-isolation"} <= set(words)  # the product itself
    for file in ("requirements.lock", "uv.lock"):
        text = (ROOT / "requirements" / file).read_text()
        assert text.count("==") <= text.count("--hash=sha256:")
    assert "\nuv==" in "\n" + (ROOT / "requirements" / "uv.lock").read_text()


def test_it_starts_a_command_that_there_is() -> None:
    found = dict(instructions(DOCKERFILE))
    assert json.loads(found["ENTRYPOINT"]) == ["banyan"]
    app.parse_args(json.loads(found["CMD"]), exit_on_error=False, print_error=False)
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert not found["USER"].startswith(("0", "root"))


def run(program: Path, *arguments: str, **env: str) -> str:
    """What it writes."""
    env = {"PATH": os.environ["PATH"], **env}
    return subprocess.run([program, *arguments], env=env, capture_output=True, text=True, timeout=10, check=True).stdout


def test_secrets_become_variables_of_the_command_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "DB_PASSWORD").write_text("p'a $(ss) \"w\\o`rd\n")
    (folder / "tls.crt").write_text("-----BEGIN")
    (folder / "1ST").write_text("no name of a variable")
    (folder / "FOLDER").mkdir()
    program = adapted_program(DOCKER / "banyan", tmp_path, {"/opt/banyan/venv/bin/banyan": "/usr/bin/env"})
    ended = subprocess.run(
        [program, "--null"], env={"BANYAN_SECRETS": str(folder), "PATH": os.environ["PATH"]}, capture_output=True, timeout=10, check=True
    )
    found = dict(line.split("=", 1) for line in ended.stdout.decode().split("\0") if line)
    assert found["DB_PASSWORD"] == "p'a $(ss) \"w\\o`rd"  # as a shell has it: without the line's end
    assert set(found) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"BANYAN_SECRETS", "PATH", "DB_PASSWORD"}


def test_without_secrets_it_is_the_command(tmp_path: Path) -> None:
    program = adapted_program(DOCKER / "banyan", tmp_path, {"/opt/banyan/venv/bin/banyan": "/bin/echo"})
    ended = subprocess.run(
        [program, "check", "a b"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=10, check=True
    )
    assert ended.stdout == "check a b\n"


@contextmanager
def answering(sock: socket.socket, answer: bytes, asked: list[bytes]) -> Iterator[None]:
    """Answers one question."""

    def run() -> None:
        connection, _ = sock.accept()
        with connection:
            while b"\r\n\r\n" not in (data := connection.recv(65536)):
                pass
            asked.append(data)
            connection.sendall(answer)

    thread = threading.Thread(target=run, name="answering")
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        sock.close()


def ask(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", str(DOCKER / "ask.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("status", "exit_status"), [("200 OK", 0), ("204 No Content", 0), ("503 Service Unavailable", 1), ("301 Moved", 1)]
)
def test_a_question_goes_by_its_answers_status(status: str, exit_status: int) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []
    with answering(sock, f"HTTP/1.1 {status}\r\n\r\nready".encode(), asked):
        ended = ask("GET", "/readyz", f"127.0.0.1:{sock.getsockname()[1]}")
    assert (ended.returncode, ended.stdout) == (exit_status, "ready")
    assert asked[0].startswith(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n")


def test_a_question_to_a_socket_and_the_address_of_the_environment(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    path = os.path.relpath(tmp_path / "s")  # a socket's path may have about 100 characters
    sock.bind(path)
    sock.listen()
    with answering(sock, b"HTTP/1.1 200 OK\r\n\r\n", []):
        assert ask("POST", "/drain", BANYAN_ADMIN=f"unix:{path}").returncode == 0


@pytest.mark.parametrize(
    "arguments", [("GET",), ("GET", "/readyz", "127.0.0.1:1"), ("GET", "/readyz", "nowhere"), ("GET", "/", "unix:/nowhere")]
)
def test_no_answer_is_no(arguments: tuple[str, ...]) -> None:
    ended = ask(*arguments)
    assert ended.returncode == (2 if len(arguments) == 1 else 1)
    assert "banyan-ask" in ended.stderr
    assert "Traceback" not in ended.stderr
