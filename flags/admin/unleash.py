"""Flags in Unleash, through its Admin API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from flags.admin import answers
from flags.admin.calls import TIMEOUT, Calls, said_by
from flags.admin.states import MARK, AdminError, ArchivedError, FlagState, Synced, Wanted
from flags.admin.strategies import (
    ROLLOUT,
    Strategy,
    check_percent,
    conditional_of,
    in_force,
    only_rollout,
    parameters,
    rollout_of,
    stickiness_of,
    variants,
)

_OFF_TRIES: Final = 3


class UnleashAdmin:
    """Unleash's Admin API, as far as a migration needs it. Synchronous; close it, or use it in a `with`."""

    def __init__(self, url: str, admin_token: str, *, project: str = "default", environment: str = "development", timeout: float = TIMEOUT):
        """`url` is the API's base, as in [flags] url: http://host:4242/api.

        Raises:
            AdminError: the token can't be one.
        """
        self._calls = Calls(url, admin_token, project=project, environment=environment, timeout=timeout)
        self._project = project
        self._environment = environment
        self._features = f"/admin/projects/{quote(project, safe='')}/features"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._calls.close()

    def exists(self, name: str) -> bool:
        """Whether the project has the flag."""
        return self._calls.answer(answers.Feature, "GET", self._flag(name), fine=(404,)) is not None

    def ensure_flag(self, name: str, description: str = "", type: str = "release") -> bool:  # noqa: A002 - Unleash's own word
        """Makes the flag, off, where it does not exist. Returns whether it was made.

        Raises:
            ArchivedError: Unleash keeps an archived flag of that name.
            AdminError: another project has the name, or the flag could not be made.
        """
        body = {"name": name, "description": description, "type": type}
        response = self._calls.call("POST", self._features, json=body, fine=(409,))
        if response.status_code == 409:
            self._check_taken(name, said_by(response))
            return False
        if self._calls.decoded(answers.Feature, response)["name"] != name:
            raise AdminError(f"Unleash at {self._calls.url} was asked for a flag {name!r} and made another. Is there a proxy in between?")
        return True

    def set(self, name: str, enabled: bool, rollout: int | None = None, stickiness: str | None = None) -> FlagState:
        """Turns the flag on or off in the environment, for `rollout` percent; None keeps the percentage that it has.

        Raises:
            AdminError: as `Calls.call`; or the flag has strategies that a percentage would destroy, or that are all disabled.
        """
        check_percent(rollout)
        strategies = self._strategies(name)
        if rollout is not None:
            self._set_rollout(name, rollout, stickiness, strategies)
        elif enabled and strategies and not in_force(strategies):
            # Unleash would add a strategy of its own then, for everybody.
            raise AdminError(
                f"every strategy of flag {name!r} is disabled in Unleash, which would add one for everybody and turn the flag on for them: "
                "enable a strategy there first" + (f", or say for how many: `banyan flags set {name} 100%`" if len(strategies) == 1 else "")
            )
        if not enabled:
            return self.off(name)
        self._calls.call("POST", f"{self._place(name)}/on")
        state = self.state(name, True)
        if rollout is not None and rollout not in (state.rollout, state.conditional):
            raise self._otherwise(name, f"has another share than {rollout} %")
        return state

    def off(self, name: str) -> FlagState:
        """Turns the flag off: legacy answers. Tried up to three times within PATIENCE, where Unleash does not answer or has an error of its
        own."""
        self._calls.call("POST", f"{self._place(name)}/off", tries=_OFF_TRIES)
        return self.state(name, False, tries=_OFF_TRIES)

    def enabled(self, name: str) -> bool:
        """Whether it is on in the environment. A flag that is not there, or archived, is on for nobody.

        Raises:
            AdminError: it cannot be seen.
        """
        try:
            found = self._calls.answer(answers.Environment, "GET", self._place(name), fine=(404,), tries=_OFF_TRIES)
        except ArchivedError:
            return False
        return found is not None and bool(found["enabled"])

    def state(self, name: str, expected: bool, *, tries: int = 1) -> FlagState:
        """The flag as it is now, which was turned on (or off: `expected`) a moment ago.

        Raises:
            AdminError: it is not as it was asked for, or that cannot be seen: 200 has been said by many a proxy.
        """
        try:
            found = self._calls.answer(answers.Environment, "GET", self._place(name), tries=tries)
        except AdminError as error:
            raise AdminError(
                f"flag {name!r} was to be turned {'on' if expected else 'off'} in Unleash, and whether it is could not be seen: {error}",
                error.status if error.status != 404 else 0,
            ) from None
        if found["enabled"] != expected:
            raise self._otherwise(name, f"is {'off' if expected else 'on'}")
        strategies = found.get("strategies") or []
        return FlagState(
            name, expected, rollout_of(strategies), stickiness=stickiness_of(strategies), conditional=conditional_of(strategies)
        )

    def list(self) -> list[FlagState]:
        """Every flag of the project, as it is in the environment: two requests, however many flags there are.

        Raises:
            AdminError: as `Calls.call`; or there is no such project or environment.
        """
        features = self._listed()
        if not features:
            return []
        # Of all that Unleash has, its playground alone tells every flag's strategies at once, fresh, and leaves no event behind.
        body = {"context": {"appName": "banyan"}, "environment": self._environment, "projects": [self._project]}
        found = self._calls.answer(answers.Playground, "POST", "/admin/playground", json=body)["features"]
        strategies = {feature["name"]: feature["strategies"]["data"] for feature in found}
        return [self._state(feature, strategies.get(feature["name"], [])) for feature in features]

    def sync(self, wanted: Sequence[Wanted], *, dry_run: bool = False) -> Iterable[Synced]:
        """Makes, off, what is missing of the `wanted`, and tags what has no tag; states, strategies and descriptions stay. One by one, as
        it is done; `dry_run` only says what would be. Last come flags with our tag that are not among the wanted.

        Raises:
            AdminError: Unleash cannot be asked, or the token may not do that.
        """
        there = {feature["name"]: feature for feature in self._listed()}
        for flag in wanted:
            feature = there.get(flag.name)
            if feature is not None and _is_ours(feature):
                yield Synced(flag.name, "kept")
            elif feature is not None:
                if not dry_run:
                    # The tag comes last: one without it may have been left half made.
                    if flag.variants and not self._strategies(flag.name):
                        self._add_variants(flag.name, flag.variants)
                    self._tag(flag.name)
                yield Synced(flag.name, "tagged")
            else:
                yield self._made(flag, dry_run)
        names = {flag.name for flag in wanted}
        for name, feature in there.items():
            if name not in names and _is_ours(feature):
                yield Synced(name, "unread")

    def _made(self, flag: Wanted, dry_run: bool) -> Synced:
        try:
            if dry_run:
                response = self._calls.call("POST", "/admin/features/validate", json={"name": flag.name}, fine=(409,))
                if response.status_code == 409:
                    self._check_taken(flag.name, said_by(response))
            else:
                self.ensure_flag(flag.name, flag.description, flag.type)
                if flag.variants:
                    self._add_variants(flag.name, flag.variants)
                self._tag(flag.name)
        except _TakenError as error:
            return Synced(flag.name, "refused", str(error))
        return Synced(flag.name, "made")

    def _check_taken(self, name: str, said: str) -> None:
        """Whose the name is that could not be had: the project's own is all right.

        Raises:
            ArchivedError, AdminError: it is not.
        """
        place = f"Unleash at {self._calls.url}"
        if "archived" in said.lower():
            raise _ArchivedNameError(
                f"{place} has an archived flag {name!r}, and gives the name to no other: revive it in its UI (project {self._project!r}, "
                "Archived flags, Revive), or delete it there for good; then do this again"
            )
        response = self._calls.call("GET", self._flag(name), fine=(404,))
        if response.status_code == 404:
            raise _TakenError(
                f"{place} has a flag {name!r} that is not in project {self._project!r} ({said_by(response)}): set flags.project to its "
                "project, move it, or give the route another flag (flag = …)"
            )

    def _otherwise(self, name: str, how: str) -> AdminError:
        return AdminError(
            f"Unleash at {self._calls.url} took the change, and says now that flag {name!r} {how} in environment {self._environment!r}. "
            "Somebody may have changed it in the same moment: `banyan flags list` shows it; then do this again"
        )

    def _set_rollout(self, name: str, rollout: int, stickiness: str | None, strategies: Sequence[Strategy]) -> None:
        place = f"{self._place(name)}/strategies"
        current = only_rollout(name, strategies, "Unleash")
        wanted = parameters(name, rollout, stickiness, current)
        if current is None:
            self._calls.call("POST", place, json={"name": ROLLOUT, "constraints": [], "parameters": wanted})
            return
        # Piece by piece: what a whole new strategy leaves out, its variants for one, would be gone. One that is disabled would stay so.
        patch = [{"op": "replace", "path": "/name", "value": ROLLOUT}, {"op": "replace", "path": "/parameters", "value": wanted}]
        if current.get("disabled"):
            patch.append({"op": "replace", "path": "/disabled", "value": False})
        self._calls.call("PATCH", f"{place}/{quote(current['id'], safe='')}", json=patch)

    def _add_variants(self, name: str, weights: Mapping[str, int]) -> None:
        """To a flag that has just been made: for everybody, in the environment."""
        strategy = {"name": ROLLOUT, "constraints": [], "parameters": parameters(name, 100, None), "variants": variants(weights)}
        self._calls.call("POST", f"{self._place(name)}/strategies", json=strategy)

    def _tag(self, name: str) -> None:
        # Not along with the flag: Unleash 8.2 answers 500 there to a tag that it meets for the first time.
        kind, _, value = MARK.partition(":")
        self._calls.call("POST", f"/admin/features/{quote(name, safe='')}/tags", json={"type": kind, "value": value})

    def _strategies(self, name: str) -> Sequence[Strategy]:
        found: Sequence[Strategy] = self._calls.answer(list[answers.Strategy], "GET", f"{self._place(name)}/strategies")
        return found

    def _listed(self) -> Sequence[dict[str, Any]]:
        features: Sequence[dict[str, Any]] = self._calls.answer(answers.Features, "GET", self._features)["features"]
        if not features:  # which is also what it says of a project that does not exist
            projects = [project["id"] for project in self._calls.answer(answers.Projects, "GET", "/admin/projects")["projects"]]
            if self._project not in projects:
                raise AdminError(
                    f"Unleash at {self._calls.url} has no project {self._project!r}: set flags.project to one of {', '.join(projects)}"
                )
        elif not any(place["name"] == self._environment for place in features[0]["environments"]):
            known = ", ".join(place["name"] for place in features[0]["environments"])
            raise AdminError(
                f"Unleash's project {self._project!r} at {self._calls.url} has no environment {self._environment!r}: set flags.environment "
                f"to one of {known}"
            )
        return features

    def _state(self, feature: dict[str, Any], strategies: Sequence[Strategy]) -> FlagState:
        return FlagState(
            feature["name"],
            any(place["enabled"] for place in feature["environments"] if place["name"] == self._environment),
            rollout_of(strategies),
            feature.get("description") or "",
            feature.get("type") or "release",
            stickiness_of(strategies),
            bool(feature.get("stale")),
            _tags(feature),
            conditional_of(strategies),
        )

    def _flag(self, name: str) -> str:
        return f"{self._features}/{quote(name, safe='')}"

    def _place(self, name: str) -> str:
        return f"{self._flag(name)}/environments/{quote(self._environment, safe='')}"


class _TakenError(AdminError):
    """The name is another flag's."""


class _ArchivedNameError(_TakenError, ArchivedError):
    """The name is an archived flag's."""


def _tags(feature: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{tag['type']}:{tag['value']}" for tag in feature.get("tags") or ())


def _is_ours(feature: dict[str, Any]) -> bool:
    return MARK in _tags(feature)
