"""`banyan console users`: who may log in to the console, and as what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gateway.cli.shared import RefusalError, load_config, who

ConfigFile = Annotated[Path, Parameter(name="--config", help="The configuration, which says where the database is.")]
RoleName = Literal["viewer", "reviewer", "operator"]
Name = Annotated[str, Parameter(help="The user's.")]
Role = Annotated[RoleName, Parameter(help="viewer, reviewer or operator.")]

app = App(
    name="users",
    help="""Who may log in to the console: a viewer looks, a reviewer decides about differences, an operator also steers traffic.

    Example: banyan console users add bob --role reviewer

    A password is asked for on the terminal, or else read from standard input; BANYAN_CONSOLE_NEW_PASSWORD comes before both.""",
)


@contextmanager
def _people(config: Path) -> Iterator[None]:
    """The console's users, ready to be changed.

    Raises:
        RefusalError: they are not to be had; or what was asked for is refused.
    """
    loaded = load_config(config)
    from console.prepare import ConsoleError, in_short, prepare

    try:
        prepare(loaded)
    except ConsoleError as error:
        raise RefusalError(str(error)) from error
    from console.people import PersonError
    from shadow.store import FAILURES

    try:
        yield
    except PersonError as error:
        raise RefusalError(str(error), status=1 if error.answer else 2) from error
    except FAILURES as error:
        raise RefusalError(f"{loaded.path}: shadow.database: {in_short(error)}") from error


@app.command(name="list", sort_key=1)
def show(
    *,
    config: ConfigFile = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")] = False,
) -> int:
    """Lists them with their roles.

    Example: banyan console users list
    """
    with _people(config):
        from console import people

        found = people.everybody()
    if as_json:
        listed = [{"name": each.name, "role": each.role, "active": each.active, "last_login": each.last_login} for each in found]
        print(json.dumps({"users": listed}, indent=2))
        return 0
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        last = f"last login {time.strftime('%Y-%m-%d %H:%M', time.localtime(each.last_login))}" if each.last_login else "never logged in"
        print(f"{each.name:<{width}}  {each.role:<8}  {last}{'' if each.active else ', shut out'}")
    if not found:
        print("nobody yet")
    return 0


@app.command(sort_key=2)
def add(name: Name, /, *, role: Role = "viewer", config: ConfigFile = Path("banyan.toml")) -> int:
    """Makes a user, with a password that is asked for.

    Example: banyan console users add bob --role reviewer

    Exit status 1: there is one of that name.
    """
    with _people(config):
        from console import people
        from console.roles import GROUPS

        people.check_name(name)
        people.add(name, GROUPS[role], people.given_password(name), by=who())
    print(f"{name} may log in now, as {role}")
    return 0


@app.command(name="role", sort_key=3)
def give_role(name: Name, role: Role, /, *, config: ConfigFile = Path("banyan.toml")) -> int:
    """Gives a role, from the next request on.

    Example: banyan console users role bob operator

    Exit status 1: there is nobody of that name.
    """
    with _people(config):
        from console import people
        from console.roles import GROUPS

        before = people.set_role(name, GROUPS[role], by=who())
        left = _operators()
    print(f"{name} is {role} now, and was {before}" if before != role else f"{name} is {role} already")
    _warn(left)
    return 0


@app.command(sort_key=4)
def password(name: Name, /, *, config: ConfigFile = Path("banyan.toml")) -> int:
    """Gives a password, which is asked for. All sessions of that user end.

    Example: banyan console users password bob

    Exit status 1: there is nobody of that name.
    """
    with _people(config):
        from console import people

        people.known(name)
        people.set_password(name, people.given_password(name), by=who())
    print(f"{name} has a new password, and no session any more")
    return 0


@app.command(sort_key=5)
def remove(name: Name, /, *, config: ConfigFile = Path("banyan.toml")) -> int:
    """Removes a user. What was done by that name stays in the audit, rules and histories.

    Example: banyan console users remove bob

    Exit status 1: there is nobody of that name.
    """
    with _people(config):
        from console import people

        people.remove(name, by=who())
        left = _operators()
    print(f"{name} may not log in any more")
    _warn(left)
    return 0


def _operators() -> int:
    from console import people

    return sum(person.role == "operator" for person in people.everybody())


def _warn(operators: int) -> None:
    import sys

    if not operators:
        print("banyan: nobody is an operator now: `banyan console users role NAME operator` makes one", file=sys.stderr)
