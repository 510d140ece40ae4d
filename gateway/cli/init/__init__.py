"""`banyan init`: a banyan.toml to begin with, from what a Django project's URLconf has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.shared import RefusalError

LEGACY = "http://127.0.0.1:8001"
CANDIDATE = "http://127.0.0.1:8101"


def init(
    *,
    legacy: str = "",
    candidate: str = "",
    route: Annotated[list[str] | None, Parameter(negative=())] = None,
    project: Path = Path(),
    urlconf: str = "",
    python: str = "",
    listen: str = "",
    admin: str = "",
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    yes: Annotated[bool, Parameter(negative=())] = False,
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Looks at a Django project's URLconf, writes banyan.toml and the flags of its routes (off: legacy answers everything), and says
    what to do next. On a terminal it asks for what no option said.

    Example: banyan init --project shop --python shop/venv/bin/python --legacy http://127.0.0.1:8001 --route /api/v1/reviews/

    Parameters
    ----------
    legacy
        Where the monolith is: http://host:port, https://host:port or unix:/path. By default http://127.0.0.1:8001.
    candidate
        Where the new service is, or will be. By default http://127.0.0.1:8101.
    route
        An endpoint to begin with, such as /api/v1/reviews/{pk}/ or '/api/v1/reviews/*'; may be repeated. By default the one of the
        URLconf that is easiest to begin with.
    project
        The folder with the project's manage.py.
    urlconf
        The module of its URLconf, such as shop.urls, if it is not its settings' ROOT_URLCONF. It is imported in a process of its own,
        with DJANGO_SETTINGS_MODULE or the settings that manage.py names.
    python
        The Python that has the project's Django, if it is not the one that Banyan runs with.
    listen
        host:port on which the gateway is to listen; by default 127.0.0.1:8080.
    admin
        Its admin port; by default 127.0.0.1:9900.
    overwrite
        Replaces a banyan.toml that is there. Flags that are there stay as they are in any case.
    yes
        Asks nothing.
    config
        The file to write.
    as_json
        For machines; asks nothing.
    """
    from gateway.cli.init import asked, chosen, writing

    if config.exists() and not overwrite:
        raise RefusalError(f"{config} is there already: --overwrite replaces it, --config FILE writes another", 1)
    found = chosen.endpoints(project, urlconf, python)
    wanted = chosen.Wanted(legacy, candidate, tuple(route or ()), listen, admin)
    if not (yes or as_json) and asked.possible():
        wanted = asked.completed(wanted, found)
    text, routes = writing.text(wanted, found, config)
    writing.usable(config, text)
    writing.write(config, text, overwrite)
    flags = writing.flags(config)
    writing.say(config, flags, routes, found, as_json)
    return 0
