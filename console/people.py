"""Who may log in: added, given a role and a password, removed, by whoever has the command line. The caller has prepared Django."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getpass
from typing import TYPE_CHECKING, Final

from console.prepare import ConsoleError
from console.roles import GROUPS, Role, role_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PASSWORD_VARIABLE: Final = "BANYAN_CONSOLE_NEW_PASSWORD"  # noqa: S105 - its name
"""Not the first user's variable: in a container that has it, everybody who is added would get the same password."""


@dataclass(frozen=True, slots=True)
class Person:
    """One user."""

    name: str
    role: str
    active: bool
    last_login: float | None
    """Unix seconds."""


class PersonError(ConsoleError):
    """There is no such user, or can't be; `answer` where it is a plain no, and not wrong use."""

    def __init__(self, message: str, *, answer: bool = False) -> None:
        super().__init__(message)
        self.answer = answer


def everybody() -> list[Person]:
    """All users by name, with two queries."""
    from django.contrib.auth.models import User

    found = []
    for user in User.objects.prefetch_related("groups").order_by("username"):
        names = {group.name for group in user.groups.all()}
        role = Role.OPERATOR if user.is_superuser else max((GROUPS[name] for name in names if name in GROUPS), default=Role.VIEWER)
        last = user.last_login.timestamp() if user.last_login is not None else None
        found.append(Person(user.username, role.word, user.is_active, last))
    return found


def add(name: str, role: Role, password: str, *, by: str) -> None:
    """Makes a user.

    Raises:
        PersonError: there is one of that name, it can't be one, or the password is a bad one.
    """
    from django.contrib.auth.models import User
    from django.db import IntegrityError, transaction

    from console import audit

    check_name(name)
    if User.objects.filter(username=name).exists():
        raise PersonError(f"there is somebody called {name} already: give a role with `role`, a password with `password`", answer=True)
    check_password(name, password)
    try:
        with transaction.atomic():
            user = User.objects.create_user(name, password=password)
            _give(user, role)
            audit.record_command(by, "user-added", name, detail={"role": role.word})
    except IntegrityError:
        raise PersonError(f"somebody has just added {name}", answer=True) from None


def set_role(name: str, role: Role, *, by: str) -> str:
    """Gives somebody a role; what it was before. It holds from his next request on.

    Raises:
        PersonError: there is nobody of that name.
    """
    from django.db import transaction

    from console import audit

    with transaction.atomic():
        user = known(name)
        before = role_of(user).word
        _give(user, role)
        audit.record_command(by, "role-given", name, detail={"before": before, "role": role.word})
    return before


def set_password(name: str, password: str, *, by: str) -> None:
    """Gives somebody a password, which ends all his sessions, and lets him in where he was shut out.

    Raises:
        PersonError: there is nobody of that name, or the password is a bad one.
    """
    from django.db import transaction

    from console import audit, limits

    user = known(name)
    check_password(name, password)
    with transaction.atomic():
        user.set_password(password)
        user.is_active = True
        user.save(update_fields=["password", "is_active"])
        limits.give_back((), 0.0, whole=[limits.name_key(name)])
        audit.record_command(by, "password-given", name)


def remove(name: str, *, by: str) -> None:
    """Removes somebody, whose sessions end; what he did stays, with his name.

    Raises:
        PersonError: there is nobody of that name.
    """
    from django.db import transaction

    from console import audit

    with transaction.atomic():
        user = known(name)
        role = role_of(user).word
        user.delete()
        audit.record_command(by, "user-removed", name, detail={"role": role})


def first_user(warn: Callable[[str], None]) -> None:
    """Sees to it that somebody can log in: whom the environment names, else, where there is nobody, who is asked for on the terminal.

    BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD, where both are set: such a user is made, or has that password from now on. Who is made
    so is an operator; so is he who was there, where nobody is one.

    Raises:
        ConsoleError: it can't be made as asked.
    """
    from django.contrib.auth.models import User

    name, password = os.environ.get("BANYAN_CONSOLE_USER", ""), os.environ.pop("BANYAN_CONSOLE_PASSWORD", "")
    if bool(name) != bool(password):
        raise ConsoleError("set both BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD, or neither")
    if name:
        _from_environment(name, password)
    elif not User.objects.exists():
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            warn(
                "nobody can log in yet: set BANYAN_CONSOLE_USER and BANYAN_CONSOLE_PASSWORD and start again, or `banyan console users add`"
            )
            return
        _asked()


def _from_environment(name: str, password: str) -> None:
    from django.contrib.auth.models import User

    from console import audit

    user = User.objects.filter(username=name).first()
    try:
        if user is None:
            check_name(name)
    except PersonError as error:
        raise ConsoleError(f"BANYAN_CONSOLE_USER: {error}") from None
    try:
        check_password(name, password)
    except PersonError as error:
        raise ConsoleError(f"BANYAN_CONSOLE_PASSWORD: {error}") from None
    if user is None:
        try:
            add(name, Role.OPERATOR, password, by="BANYAN_CONSOLE_USER")
        except PersonError:  # another console, which begins at the same time, was first
            user = known(name)
        else:
            return
    if not user.check_password(password):  # an unchanged password keeps its sessions
        set_password(name, password, by="BANYAN_CONSOLE_USER")
    if not any(person.role == Role.OPERATOR.word for person in everybody()):
        _give(user, Role.OPERATOR)
        audit.record_command("BANYAN_CONSOLE_USER", "role-given", name, detail={"role": Role.OPERATOR.word})


def _asked() -> None:
    """Asks on the terminal for the first user, an operator, until it is one."""
    print("Nobody can log in yet. Who is the first, an operator?", file=sys.stderr)
    while True:
        try:
            name = _line("Name: ")
            check_name(name)
            add(name, Role.OPERATOR, ask_password(name), by="the terminal")
        except PersonError as error:
            print(f"{error}.", file=sys.stderr)
        except EOFError:
            raise ConsoleError("nobody can log in yet, and nobody was named") from None
        else:
            return


def _line(prompt: str) -> str:
    """Not by `input`, which would write to standard output.

    Raises:
        EOFError: the terminal was closed.
    """
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def ask_password(name: str) -> str:
    """Asks for it twice, without showing it.

    Raises:
        PersonError: the two differ, or it is a bad one.
        EOFError: the terminal was closed.
    """
    password = getpass(f"Password for {name}: ", stream=sys.stderr)
    check_password(name, password)
    if getpass("The same again: ", stream=sys.stderr) != password:
        raise PersonError("the two passwords are not the same")
    return password


def given_password(name: str) -> str:
    """From the environment, else asked for on the terminal, else the first line of standard input. Never from arguments, which every
    user of the machine can read.

    Raises:
        PersonError: there is none.
    """
    given = os.environ.pop(PASSWORD_VARIABLE, "")
    if given:
        return given
    if sys.stdin.isatty():
        try:
            return ask_password(name)
        except EOFError:
            raise PersonError("no password was given") from None
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise PersonError(f"there is no password: write it to standard input, or set {PASSWORD_VARIABLE}")
    return password


def check_name(name: str) -> None:
    """
    Raises:
        PersonError: it can't be a user's name.
    """
    from django.contrib.auth.models import User
    from django.core.exceptions import ValidationError

    try:
        User._meta.get_field("username").clean(name, None)  # noqa: SLF001 - Django's documented way to a model's fields
    except ValidationError:
        raise PersonError("a name has up to 150 letters, digits and @ . + - _") from None
    if User.normalize_username(name) != name:
        raise PersonError("write the name in its plain form (Unicode's NFKC)")


def check_password(name: str, password: str) -> None:
    """
    Raises:
        PersonError: nobody should use it.
    """
    from django.contrib.auth.models import User
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    from console.accountviews import MAX_PASSWORD

    if len(password) > MAX_PASSWORD:
        raise PersonError(f"a password has {MAX_PASSWORD} characters at most")
    try:
        validate_password(password, User(username=name))
    except ValidationError as error:
        raise PersonError(f"{' '.join(error.messages)} Choose another") from None


def known(name: str) -> User:
    """The user of that name.

    Raises:
        PersonError: there is nobody.
    """
    from django.contrib.auth.models import User

    user = User.objects.filter(username=name).first()
    if user is None:
        raise PersonError(f"there is nobody called {name!r}: `banyan console users list` says who there is", answer=True)
    return user


def _give(user: User, role: Role) -> None:
    """Exactly this role; other groups stay."""
    from django.contrib.auth.models import Group

    user.groups.remove(*Group.objects.filter(name__in=GROUPS))
    user.groups.add(Group.objects.get(name=role.word))
    if user.is_superuser and role is not Role.OPERATOR:
        user.is_superuser = False
        user.save(update_fields=["is_superuser"])
