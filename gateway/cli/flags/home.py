"""Where flags live, the file or Unleash, as one thing to the verbs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from flags.admin import FlagState, Synced, UnleashAdmin, Wanted
    from gateway.cli.flags.steering import Steering


class Home(Protocol):
    """Every method raises flags.admin.AdminError where it cannot do what it says."""

    def states(self) -> Sequence[FlagState]:
        """Every flag."""
        ...

    def has(self, name: str) -> bool:
        """Whether the flag exists."""
        ...

    def set(self, name: str, enabled: bool, rollout: int | None, stickiness: str | None) -> FlagState:
        """Made where it is missing."""
        ...

    def off(self, name: str) -> FlagState:
        """By as few steps as possible. Made where it is missing."""
        ...

    def sync(self, wanted: Sequence[Wanted], dry_run: bool) -> Iterable[Synced]:
        """See UnleashAdmin.sync."""
        ...


class _File:
    def __init__(self, steering: Steering) -> None:
        self._path = steering.file

    def states(self) -> Sequence[FlagState]:
        from flags.admin import list_flags

        return list_flags(self._path)

    def has(self, name: str) -> bool:
        from flags.admin import has_flag

        return has_flag(self._path, name)

    def set(self, name: str, enabled: bool, rollout: int | None, stickiness: str | None) -> FlagState:
        from flags.admin import set_flag

        return set_flag(self._path, name, enabled, rollout, stickiness)

    def off(self, name: str) -> FlagState:
        return self.set(name, False, None, None)

    def sync(self, wanted: Sequence[Wanted], dry_run: bool) -> Iterable[Synced]:
        from flags.admin import sync_flags

        return sync_flags(self._path, wanted, dry_run=dry_run)


class _Unleash:
    def __init__(self, admin: UnleashAdmin) -> None:
        self._admin = admin

    def states(self) -> Sequence[FlagState]:
        return self._admin.list()

    def has(self, name: str) -> bool:
        return self._admin.exists(name)

    def set(self, name: str, enabled: bool, rollout: int | None, stickiness: str | None) -> FlagState:
        self._admin.ensure_flag(name)
        return self._admin.set(name, enabled, rollout, stickiness)

    def off(self, name: str) -> FlagState:
        from flags.admin import AdminError, ArchivedError, FlagState

        try:
            return self._admin.off(name)
        except ArchivedError:  # delivered to nobody
            return FlagState(name, False, None, "archived in Unleash")
        except AdminError as error:
            # A flag that does not exist yet is made, and is off. That it exists means that the environment does not.
            if error.status != 404 or not self._admin.ensure_flag(name):
                raise
        return self._admin.state(name, False)

    def sync(self, wanted: Sequence[Wanted], dry_run: bool) -> Iterable[Synced]:
        return self._admin.sync(wanted, dry_run=dry_run)


@contextmanager
def home(steering: Steering) -> Iterator[Home]:
    """
    Raises:
        AdminError: for Unleash: no usable admin token.
    """
    if steering.source == "file":
        yield _File(steering)
        return
    from flags.admin import UnleashAdmin

    with UnleashAdmin(steering.url, steering.admin_token, project=steering.project, environment=steering.environment) as admin:
        yield _Unleash(admin)


@contextmanager
def refusing() -> Iterator[None]:
    """
    Raises:
        RefusalError: in the place of an AdminError.
    """
    from flags.admin import AdminError

    try:
        yield
    except AdminError as error:
        raise RefusalError(str(error)) from error
