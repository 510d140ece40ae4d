"""Where a flag lives, as the guard needs it: turned off there, or asked whether it is on. Both block; whoever calls has a thread for it."""

from __future__ import annotations

from typing import Protocol

from flags.admin import ArchivedError, is_on, switch_off
from gateway.config import Config


class Place(Protocol):
    """Both methods raise flags.admin.AdminError where they cannot do what they say."""

    def off(self, flag: str) -> bool:
        """Turned off, for everybody. Whether it was on."""
        ...

    def enabled(self, flag: str) -> bool:
        """Whether it is on."""
        ...


class _File:
    def __init__(self, config: Config) -> None:
        self._path = config.resolve(config.flags.path)

    def off(self, flag: str) -> bool:
        return switch_off(self._path, flag)

    def enabled(self, flag: str) -> bool:
        return is_on(self._path, flag)


class _Unleash:
    def __init__(self, config: Config) -> None:
        self._flags = config.flags

    def off(self, flag: str) -> bool:
        """Of several gateways that do it at once, more than one may be told that it was on; Unleash itself turns it off, and writes it
        down, once."""
        from flags.admin import UnleashAdmin

        flags = self._flags
        with UnleashAdmin(flags.url, flags.admin_token.get_secret_value(), project=flags.project, environment=flags.environment) as admin:
            if not admin.enabled(flag):
                return False
            try:
                admin.off(flag)
            except ArchivedError:  # in this moment: it is delivered to nobody any more
                return False
        return True

    def enabled(self, flag: str) -> bool:
        from flags.admin import UnleashAdmin

        flags = self._flags
        with UnleashAdmin(flags.url, flags.admin_token.get_secret_value(), project=flags.project, environment=flags.environment) as admin:
            return admin.enabled(flag)


def place(config: Config) -> Place:
    """Where the flags of this configuration live."""
    return _Unleash(config) if config.flags.source == "unleash" else _File(config)
