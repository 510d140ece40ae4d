"""`banyan init`: what it writes of real Django projects is loaded, and `banyan check` has nothing against it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from demo.processes import python
from flags.admin import is_on, set_flag
from gateway.cli.init.chosen import Found, Wanted, ranked
from gateway.cli.init.writing import text
from gateway.config import load, parse

SETTINGS = 'SECRET_KEY = "x"\nROOT_URLCONF = "shop.urls"\nINSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]\n'
MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.dev")\n'
URLS = """
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import path, re_path
from django.views.decorators.http import require_GET, require_POST

def plain(request, *args, **kwargs):
    return HttpResponse("ok")

urlpatterns = [
    path("", plain),
    path("admin/reports/", plain),
    path("about/", plain),
    path("api/v1/orders/", login_required(plain)),
    path("api/v1/reviews/<int:pk>/", require_GET(plain)),
    path("api/v1/reviews/", plain),
    path("api/v1/payments/", require_POST(plain)),
    re_path(r"^reports/(?P<year>[0-9]{4})-(?P<name>[a-z]+)/$", plain),
    path("<path:page>", plain),
]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose settings are several files, as many have them: manage.py says which."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    settings = tmp_path / "project" / "shop" / "settings"
    settings.mkdir(parents=True)
    (settings / "__init__.py").touch()
    (settings / "dev.py").write_text(SETTINGS)
    (settings.parent / "__init__.py").touch()
    (settings.parent / "urls.py").write_text(URLS)
    (tmp_path / "project" / "manage.py").write_text(MANAGE)
    return tmp_path


def banyan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", *arguments)
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_it_begins_with_the_easiest_endpoint_of_the_urlconf(folder: Path) -> None:
    done = banyan(folder, "init", "--project", "project", "--legacy", "http://127.0.0.1:8011")
    assert (done.returncode, done.stderr) == (0, "")
    config = load(folder / "banyan.toml")
    assert [(route.name, route.match, list(route.methods)) for route in config.routes] == [
        ("reviews", "/api/v1/reviews/", ["GET", "HEAD"]),
    ]
    assert config.upstreams["legacy"].url == "http://127.0.0.1:8011"
    checked = banyan(folder, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "fine. Routes: reviews" in checked.stdout
    assert "note:" not in checked.stdout, "the flags are there"
    assert not is_on(folder / "flags.json", "reviews")
    steps = re.findall(r"(?m)^  (\d)\.  (banyan \S+)", done.stdout)
    assert steps == [("1", "banyan doctor"), ("2", "banyan run"), ("3", "banyan flags")]


def test_what_stands_there_as_a_comment_is_right_as_well(folder: Path) -> None:
    assert banyan(folder, "init", "--project", "project").returncode == 0
    written = (folder / "banyan.toml").read_text()
    before, _, comments = written.partition("# To go on with")
    routes = "".join(f"{line.removeprefix('# ')}\n" for line in comments.splitlines()[1:] if re.match(r"# (\[|\w+ = )", line))
    config = parse(folder / "banyan.toml", before + routes)
    matches = [route.match for route in config.routes]
    assert matches == ["/api/v1/reviews/", "/api/v1/reviews/{pk}/", "/api/v1/orders/", "/about/", *matches[4:]]
    assert "# Its view needs a login" in comments
    nobodys = ("/admin", "/api/v1/payments")
    assert not [match for match in matches if match in ("/", "/*") or match.startswith(nobodys)]


def test_nothing_is_overwritten_without_being_told(folder: Path) -> None:
    (folder / "banyan.toml").write_text("# mine\n")
    refused = banyan(folder, "init", "--project", "project")
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    assert (folder / "banyan.toml").read_text() == "# mine\n"
    assert not (folder / "flags.json").exists()
    set_flag(folder / "flags.json", "reviews", True)
    assert banyan(folder, "init", "--project", "project", "--overwrite").returncode == 0
    assert load(folder / "banyan.toml").routes[0].name == "reviews"
    assert is_on(folder / "flags.json", "reviews"), "a flag that is there stays as it is"


@pytest.mark.parametrize("broken", ["{", '{"version": 1}', '{"version": 1, "features": [{"name": "reviews"}, {"name": "reviews"}]}'])
def test_beside_broken_flags_nothing_is_written(folder: Path, broken: str) -> None:
    (folder / "flags.json").write_text(broken)
    refused = banyan(folder, "init", "--project", "project")
    assert (refused.returncode, "Correct it first; nothing was changed" in refused.stderr) == (2, True), refused.stderr
    assert not (folder / "banyan.toml").exists()
    assert (folder / "flags.json").read_text() == broken


def test_what_was_asked_for_stands_there(folder: Path) -> None:
    done = banyan(
        folder, "init", "--project", "project", "--json", "--candidate", "http://127.0.0.1:8012", "--config", "other.toml",
        "--listen", "127.0.0.1:8088", "--admin", "127.0.0.1:9988", "--route", "/api/v1/orders/", "--route", "/basket/*",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = load(folder / "other.toml")
    assert (config.gateway.listen, config.gateway.admin) == (["127.0.0.1:8088"], "127.0.0.1:9988")
    assert [(route.match, config.upstreams[route.candidate].url) for route in config.routes] == [
        ("/api/v1/orders/", "http://127.0.0.1:8012"),
        ("/basket/*", "http://127.0.0.1:8012"),
    ]
    told = json.loads(done.stdout)
    assert told["routes"] == [{"name": "orders", "match": "/api/v1/orders/"}, {"name": "basket", "match": "/basket/*"}]
    assert [step["command"] for step in told["next"]] == [
        "banyan doctor --config other.toml",
        "banyan run --config other.toml",
        "banyan flags on orders.shadow --config other.toml",
    ]


def test_without_a_project_there_is_a_file_to_begin_with_all_the_same(tmp_path: Path) -> None:
    assert banyan(tmp_path, "init").returncode == 0
    assert load(tmp_path / "banyan.toml").routes == []
    checked = banyan(tmp_path, "check")
    assert (checked.returncode, "Routes: none" in checked.stdout) == (0, True), checked.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--legacy", "127.0.0.1:8001"), "upstreams.legacy"),
        (("--route", "reviews"), "is a path such as"),
        (("--route", "/a/{b"), "routes[0]"),
        (("--listen", "nowhere"), "gateway.listen"),
        (("--project", "elsewhere"), "there is no such folder"),
        (("--project", "project/shop"), "manage.py: there is no such file"),
        (("--project", "project", "--urlconf", "shop.nothing"), "shop.nothing can't be imported"),
    ],
)
def test_what_cannot_stand_there_is_refused_and_nothing_written(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = banyan(folder, "init", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (folder / "banyan.toml").exists()


def test_a_project_that_cannot_be_imported_is_told_and_done_without(folder: Path) -> None:
    with (folder / "project" / "shop" / "urls.py").open("a") as file:
        file.write("import a_module_that_nobody_has\n")
    done = banyan(folder / "project", "init", "--route", "/api/v1/reviews/*")
    assert done.returncode == 0
    assert "a_module_that_nobody_has" in done.stderr
    assert [route.match for route in load(folder / "project" / "banyan.toml").routes] == ["/api/v1/reviews/*"]


def test_on_a_terminal_it_asks(folder: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        python("-m", "gateway.cli", "init", "--project", "project"), cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    try:
        for question, answer in (
            ("Where is your monolith?", "127.0.0.1:8001"),  # no scheme: it says so, and asks again
            ("Where is your monolith?", ""),
            ("Which one?", "2"),
            ("the new service?", "http://127.0.0.1:8013"),
        ):
            _until(master, question)
            os.write(master, f"{answer}\n".encode())
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    config = load(folder / "banyan.toml")
    assert config.upstreams["legacy"].url == "http://127.0.0.1:8001"
    assert [(route.match, config.upstreams[route.candidate].url) for route in config.routes] == [
        ("/api/v1/reviews/{pk}/", "http://127.0.0.1:8013")
    ]


def _until(terminal: int, question: str) -> None:
    seen = b""
    deadline = time.monotonic() + 30
    while question.encode() not in seen or not seen.endswith(b"] "):
        assert time.monotonic() < deadline, seen
        seen += os.read(terminal, 4096)


def test_names_that_toml_would_misread_are_quoted() -> None:
    odd = Found('/api/caf"é.json', (), None, "")
    written, routes = text(Wanted(), [odd], Path("banyan.toml"))
    config = parse(Path("banyan.toml"), written)
    assert config.routes[0].match == odd.template
    assert [route.name for route in routes] == [config.routes[0].name]


def test_the_first_of_a_path_counts_and_what_changes_things_is_left_out() -> None:
    one = {"template": "/a/", "pattern": "/a/", "methods": ["GET"], "login": None, "why": ""}
    found = ranked({"endpoints": [one, {**one, "login": True}, {**one, "template": "/b/", "methods": ["POST"]}]})
    assert [(each.template, each.login) for each in found] == [("/a/", None)]
