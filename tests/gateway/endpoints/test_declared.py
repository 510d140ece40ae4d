"""Endpoints that an OpenAPI document or a Django URLconf declares. The URLconfs here are real: Django, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.cli.shared import RefusalError
from gateway.cli.top.known import declared
from gateway.endpoints.declared import DeclarationError, Declared, from_openapi, from_urlconf, sample

SETTINGS = """
SECRET_KEY = "x"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
MIDDLEWARE = {middleware}
LANGUAGES = [("en", "English"), ("pt-br", "Português")]
print("noise on standard output")
"""
URLS = r"""
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.decorators import login_not_required, login_required, permission_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.http import require_GET, require_http_methods

def plain(request, *args, **kwargs):
    return HttpResponse("ok")

class Mixed(LoginRequiredMixin, View):
    def get(self, request): return HttpResponse("ok")

@method_decorator(login_required, name="dispatch")
class Decorated(View):
    def post(self, request): return HttpResponse("ok")

class AllowAny: pass
class IsAuthenticated: pass

def viewset(*permissions):
    def view(request): return HttpResponse("ok")
    view.cls = type("ViewSet", (), {"permission_classes": permissions})
    view.actions = {"get": "list", "post": "create"}
    return view

urlpatterns = [
    path("", plain),
    path("items/<int:pk>/", require_GET(plain)),
    path("items/search", plain),
    path("items/<slug:slug>", login_required(require_http_methods(["GET", "POST"])(plain))),
    path("orders/", include([path("<uuid:order>/lines/<int:line>", permission_required("x")(plain))])),
    path("mixed", Mixed.as_view()),
    path("decorated", Decorated.as_view()),
    path("drf", viewset(IsAuthenticated)),
    path("open", login_not_required(viewset(AllowAny))),
    path("files/<path:rest>", plain),
    path("report-<int:year>.pdf", plain),
    re_path(r"^old/(?P<year>[0-9]{4})/(?P<slug>[\w-]+)/$", plain),
    re_path(r"^old/(\d+)\.(?:html|json)$", plain),
    re_path(r"^any/(?P<rest>.*)$", plain),
    re_path(r"^twice/(?P<a>\w+)/(?P=a)$", plain),
] + i18n_patterns(path("news/<int:pk>", plain))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "settings.py").write_text(SETTINGS.format(middleware="[]"))
    (tmp_path / "shop" / "urls.py").write_text(URLS)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_urlconf_names_endpoints(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = declared("shop.urls", None, "")
    assert found is not None
    expected = {
        "/": "/",
        "/items/7/": "/items/{pk}/",
        "/items/search": "/items/search",
        "/items/red-shoes": "/items/{slug}",
        "/items/red-shoes/": None,
        "/orders/00000000-0000-4000-8000-000000000000/lines/3": "/orders/{order}/lines/{line}",
        "/orders/1/lines/3": None,
        "/files/a/b.txt": "/files/*",
        "/report-2026.pdf": "/report-{year}.pdf",
        "/old/2026/some-title/": "/old/{year}/{slug}/",
        "/old/17.json": "/old/{value}.{value}",
        "/any/": "/any/*",
        "/any/thing/at/all": "/any/*",
        "/en/news/3": "/{lang}/news/{pk}",
        "/pt-br/news/3": "/{lang}/news/{pk}",
        "/xx/news/3": None,
        "/items/caf%C3%A9": None,
        "/nowhere": None,
    }
    assert {path: found.template(path.encode()) for path in expected} == expected
    said = capsys.readouterr().err
    assert "1 of shop.urls's patterns cannot be used" in said
    assert "refers back" in said


def test_a_urlconf_says_who_needs_a_login_and_which_methods_there_are(project: Path) -> None:
    found = declared("shop.urls", None, "")
    assert found is not None
    logins = {one.template: one.login for one in found.endpoints}
    assert {template: needs for template, needs in logins.items() if needs is not None} == {
        "/items/{slug}": True,
        "/orders/{order}/lines/{line}": True,
        "/mixed": True,
        "/decorated": True,
        "/drf": True,
        "/open": False,
    }
    methods = {one.template: one.methods for one in found.endpoints}
    assert methods["/items/{pk}/"] == ("GET",)
    assert methods["/items/{slug}"] == ("GET", "POST")
    assert methods["/decorated"] == ("POST",)
    assert methods["/drf"] == ("GET", "POST")
    assert methods["/items/search"] == ()


def test_where_a_middleware_wants_a_login_all_views_do_but_those_that_do_not(project: Path) -> None:
    (project / "shop" / "settings.py").write_text(SETTINGS.format(middleware='["django.contrib.auth.middleware.LoginRequiredMiddleware"]'))
    found = declared("shop.urls", None, "")
    assert found is not None
    logins = {one.template: one.login for one in found.endpoints}
    assert logins["/items/search"] is True
    assert logins["/open"] is False


@pytest.mark.parametrize(
    ("urlconf", "change", "said"),
    [
        ("shop.nothing", "", "can't be imported with the settings shop.settings"),
        ("shop.urls", "raise RuntimeError('boom')", "boom"),
        ("shop.urls; import os", "", "is the name of a module"),
        ("elsewhere.urls", "", "needs its project's settings"),
    ],
)
def test_a_urlconf_that_cannot_be_told_is_refused(project: Path, urlconf: str, change: str, said: str) -> None:
    with (project / "shop" / "urls.py").open("a") as file:
        file.write(change)
    with pytest.raises(RefusalError, match=said):
        declared(urlconf, None, "")


def test_settings_are_those_of_manage_py_where_there_are_none_beside_it(project: Path) -> None:
    (project / "shop" / "settings.py").rename(project / "configured.py")
    (project / "manage.py").write_text('import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "configured")\n')
    assert declared("shop.urls", None, "") is not None


# OpenAPI

YAML = """
openapi: 3.0.0
servers:
  - url: https://shop.example/api/v1
paths:
  /items/{id}:
    get: {}
  /items/search:
    get: {}
"""


def test_an_openapi_document_is_read_as_yaml_or_json(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(YAML)
    (tmp_path / "api.json").write_text(
        '{"swagger": "2.0", "basePath": "/api/v1", "paths": {"/items/{id}": {"get": {}}, "/items/search": {"get": {}}}}'
    )
    for name in ("api.yaml", "api.json"):
        found = declared("", tmp_path / name, "")
        assert found is not None
        assert found.template(b"/api/v1/items/7") == "/api/v1/items/{id}"
        assert found.template(b"/api/v1/items/search") == "/api/v1/items/search", "literals go before parameters"
        assert found.template(b"/items/7") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "no OpenAPI document"),
        ("{", "is no JSON"),
        ("a: [", "neither JSON nor YAML"),
        ("paths: {}", "declares no endpoints"),
        ("paths:\n  /a: 3\n  b: {get: {}}\n  4: {get: {}}", "declares no endpoints"),
        ("\x00\xff", "neither JSON nor YAML"),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "api.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RefusalError, match=said):
        declared("", tmp_path / "api.yaml", "")


def test_a_document_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="can't be read: No such file"):
        declared("", tmp_path / "none.yaml", "")


@pytest.mark.parametrize("told", [None, {}, {"endpoints": 3, "refused": []}, {"endpoints": [{}], "refused": []}])
def test_what_is_told_of_a_urlconf_and_is_none_is_refused(told: Any) -> None:
    with pytest.raises(DeclarationError):
        from_urlconf(told)


def test_how_many_paths_are_remembered_is_bounded() -> None:
    found = from_openapi({"paths": {"/items/{id}": {"get": {}}}})
    for number in range(50_000):
        assert found.template(b"/items/%d" % number) == "/items/{id}"
    assert len(found._remembered) <= 20_000
    assert found.template(b"/items/" + b"x" * 2000) == "/items/{id}"
    assert found.template(b"/items/" + b"x" * 3000) is None
    assert all(len(path) <= 200 for path in found._remembered)


def test_what_was_learned_is_found_among_what_is_declared() -> None:
    found: Declared = from_openapi({"paths": {"/items/{slug}": {"get": {}}, "/a/{b}.pdf": {"get": {}}, "/never": {"get": {}}}})
    learned = ["/items/{id}", "/items/{uuid}", "/items/{…}", "/other"]
    assert [found.template(sample(template)) for template in learned] == ["/items/{slug}"] * 3 + [None]
    assert found.unasked(["/items/{slug}"]) == ["/never", "/a/{b}.pdf"]


def test_the_teller_reads_expressions_as_they_are_written() -> None:
    namespace: dict[str, Any] = {"__name__": "teller"}
    source = Path(__file__).resolve().parents[3] / "shadow" / "urlconf.py"
    exec(compile(source.read_text(), source.name, "exec"), namespace)  # noqa: S102 - it is run this way
    for expression, template in {
        r"^a/(?P<b>[^/()]+)/c$": "a/{b}/c",
        r"^a/(?P<b>(x|y)z)/\.json\Z": "a/{b}/.json",
        r"^(?P<rest>.+)$": "*",
        r"^a(?=/b)/b/?$": "a/b/",
        r"^[a-z]{2}/x$": "{value}/x",
        r"^a/\d{4}$": "a/{value}",
    }.items():
        assert namespace["of_expression"](expression) == template, expression
    for expression, pattern in {
        r"^a/(?P<b>[^/()]+)/(c|d)$": r"a/(?:[^/()]+)/(?:c|d)",
        r"^\(a\)[)(]$": r"\(a\)[)(]",
        r"^[]a(]b$": r"[]a(]b",
        r"a\$": r"a\$",
    }.items():
        assert namespace["uncaught"](expression) == pattern, expression
