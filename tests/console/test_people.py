"""Who may log in: the first user, and those whom the command line adds. Real processes, and a real terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import Group, User

from console import limits, people
from console.models import Audit
from console.people import PersonError
from console.roles import Role, role_of
from demo.processes import Running, StartError, answers, listen, start
from tests.support.console import PASSWORD, USER, log_in, running_console, send, users

TOML = """
[gateway]
admin = "127.0.0.1:0"
[upstreams]
legacy = "http://127.0.0.1:1"
"""


@pytest.fixture
def config() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    (folder / "banyan.toml").write_text(TOML)
    yield folder / "banyan.toml"
    shutil.rmtree(folder)


def text(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))


def test_users_are_added_given_roles_and_passwords_and_removed(config: Path) -> None:
    added = users(config, "add", "bob", "--role", "reviewer")
    assert (added.returncode, added.stdout) == (0, "bob may log in now, as reviewer\n")
    with running_console(config) as running:
        client = log_in(running, "bob")
        assert "reviewer" in text(client.get("/account/"))
        twice = users(config, "add", "bob")
        assert twice.returncode == 1
        assert "already" in twice.stderr
        assert "bob is operator now, and was reviewer" in users(config, "role", "bob", "operator").stdout
        assert "operator" in text(client.get("/account/")), "the role holds at once"
        listed = {each["name"]: each for each in json.loads(users(config, "list", "--json").stdout)["users"]}
        assert {name: each["role"] for name, each in listed.items()} == {USER: "operator", "bob": "operator"}
        assert listed["bob"]["last_login"] > time.time() - 120
        assert users(config, "password", "bob", given="another horse 77").returncode == 0
        assert client.get("/account/").url.path == "/login/", "his sessions are over"
        assert send(client, "/login/", username="bob", password="another horse 77").url.path == "/"
        assert users(config, "remove", "bob").returncode == 0
        assert client.get("/account/").url.path == "/login/"
        client.close()
    for arguments, status in (
        (("remove", "bob"), 1),
        (("role", "bob", "viewer"), 1),
        (("role", USER, "boss"), 2),
        (("password", "bob"), 1),
    ):
        assert users(config, *arguments).returncode == status, arguments
    assert "nobody is an operator now" in users(config, "role", USER, "viewer").stderr


@pytest.mark.parametrize("given", ["short", "", "password1234"])
def test_a_bad_password_is_refused_and_nobody_is_added(config: Path, given: str) -> None:
    refused = users(config, "add", "bob", given=given)
    assert refused.returncode == 2
    assert refused.stderr.startswith("banyan: ")
    assert "Traceback" not in refused.stderr
    assert users(config, "list").stdout == "nobody yet\n"


@pytest.mark.django_db
def test_what_the_command_does_is_kept_and_other_groups_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    people.add("bob", Role.REVIEWER, PASSWORD, by="ana@host")
    bob = User.objects.get()
    bob.groups.add(Group.objects.create(name="staff of the shop"))
    bob.is_superuser = True
    bob.save()
    assert people.set_role("bob", Role.VIEWER, by="ana@host") == "operator"
    bob = User.objects.get()
    assert (bob.is_superuser, role_of(bob)) == (False, Role.VIEWER)
    assert set(bob.groups.values_list("name", flat=True)) == {"viewer", "staff of the shop"}
    for _ in range(5):
        limits.take([limits.name_key("bob")], time.time())
    monkeypatch.setenv(people.PASSWORD_VARIABLE, "another horse 77")
    people.set_password("bob", people.given_password("bob"), by="ana@host")
    assert people.PASSWORD_VARIABLE not in os.environ
    assert limits.take([limits.name_key("bob")], time.time()) == 0, "whoever was locked out is not any more"
    people.remove("bob", by="ana@host")
    kept = list(Audit.objects.order_by("pk").values_list("by", "role", "action", "subject"))
    assert kept == [("ana@host", "command", action, "bob") for action in ("user-added", "role-given", "password-given", "user-removed")]
    assert "horse" not in str(list(Audit.objects.values()))
    for name in ("", "a b", "x" * 151, "<b>", "\uff41da"):
        with pytest.raises(PersonError):
            people.add(name, Role.VIEWER, PASSWORD, by="x")


@pytest.mark.django_db
def test_the_first_user_of_the_environment_is_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115 - no terminal
    people.first_user(told.append)
    assert "nobody can log in yet" in told[0]

    def named(name: str, password: str) -> None:
        monkeypatch.setenv("BANYAN_CONSOLE_USER", name)
        monkeypatch.setenv("BANYAN_CONSOLE_PASSWORD", password)
        people.first_user(told.append)

    User.objects.create_user("old", password="another horse 77")  # as a console of before roles left him
    named("old", PASSWORD)
    assert User.objects.get(username="old").check_password(PASSWORD)
    assert {person.name: person.role for person in people.everybody()} == {"old": "operator"}
    people.add("ana", Role.VIEWER, PASSWORD, by="x")
    named("ana", PASSWORD)
    assert {person.name: person.role for person in people.everybody()} == {"ana": "viewer", "old": "operator"}, "that would be a way up"
    named("new", PASSWORD)
    assert people.everybody()[1].role == "operator"
    with monkeypatch.context() as patched:  # two consoles begin at once: the other is first
        real = people.check_password

        def other(name: str, password: str) -> None:
            real(name, password)
            if not User.objects.filter(username=name).exists():
                User.objects.create_user(name, password=password)

        patched.setattr(people, "check_password", other)
        named("late", PASSWORD)
    assert User.objects.get(username="late").check_password(PASSWORD)
    with pytest.raises(people.ConsoleError, match="BANYAN_CONSOLE_PASSWORD"):
        named("bad", "short")
    assert "BANYAN_CONSOLE_PASSWORD" not in os.environ
    monkeypatch.setenv("BANYAN_CONSOLE_PASSWORD", "")
    with pytest.raises(people.ConsoleError, match="both"):
        people.first_user(told.append)
    sys.stdin.close()


OWN_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""The child's standard input becomes its controlling terminal, which is where passwords are asked for."""


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self._next = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, sys.executable, *command],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=cwd, env={**os.environ, "PYTHONPATH": os.getcwd()},  # noqa: PTH109
        )  # fmt: skip
        os.close(theirs)

    def until(self, words: str, seconds: float = 60.0) -> None:
        """Reads on as far as these."""
        deadline = time.monotonic() + seconds
        while words not in self._next:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    read = os.read(self._ours, 65536).decode()
                except OSError as error:
                    raise AssertionError(self.shown) from error
                self.shown += read
                self._next += read
        self._next = self._next.partition(words)[2]

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def end(self) -> int:
        try:
            self.process.send_signal(signal.SIGTERM)
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._ours)


def test_the_first_start_asks_on_the_terminal(config: Path) -> None:
    terminal = Terminal("-m", "gateway.cli", "console", "--listen", "127.0.0.1:0", cwd=config.parent)
    try:
        terminal.until("Name: ")
        terminal.type("a b")
        terminal.until("a name has up to 150 letters")
        terminal.until("Name: ")
        terminal.type("eve")
        terminal.until("Password for eve: ")
        terminal.type(PASSWORD)
        terminal.until("The same again: ")
        terminal.type("something else")
        terminal.until("are not the same")
        terminal.until("Name: ")
        terminal.type("eve")
        terminal.until("Password for eve: ")
        terminal.type(PASSWORD)
        terminal.until("The same again: ")
        terminal.type(PASSWORD)
        deadline = time.monotonic() + 60
        while "eve  operator" not in (listed := users(config, "list").stdout):
            assert time.monotonic() < deadline, listed
        assert PASSWORD not in terminal.shown
    finally:
        terminal.end()


def test_without_a_terminal_it_starts_and_says_so(config: Path) -> None:
    running: Running = start(
        "console",
        [sys.executable, "-m", "console", "--config", str(config), "--fd", "{fd}"],
        log_dir=config.parent,
        sock=listen(),
        ready=answers("/login/"),
    )
    assert running.stop() == 0
    assert "nobody can log in yet" in running.log.read_text()


def test_wrong_proxies_are_one_line(config: Path) -> None:
    with pytest.raises(StartError, match="BANYAN_CONSOLE_PROXIES is a number"), running_console(config, BANYAN_CONSOLE_PROXIES="many"):
        pass


def test_tries_at_once_and_across_processes_and_restarts_count_together(config: Path) -> None:
    statuses: list[int] = []

    def attempt(running: Running) -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            statuses.append(send(client, "/login/", username=USER, password="wrong").status_code)

    with running_console(config) as one, running_console(config) as other:
        threads = [threading.Thread(target=attempt, args=[running]) for running in (one, other) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * limits.NAME.burst + [429] * (8 - limits.NAME.burst)
    with running_console(config) as again:
        attempt(again)
    assert statuses[-1] == 429
