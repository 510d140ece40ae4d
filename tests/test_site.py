"""The documentation's site builds strictly, names every page, and fetches nothing from anywhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.chromium import ARGUMENTS, CHROMIUM, required

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def hooks() -> ModuleType:
    """scripts/site_pages.py, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def configuration() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "mkdocs.yml").read_text()))


def pages(navigation: list[Any]) -> Iterator[str]:
    """Every page that the navigation names."""
    for entry in navigation:
        (target,) = entry.values()
        if isinstance(target, str):
            yield target
        else:
            yield from pages(target)


def build(folder: Path, configuration_file: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(configuration_file), "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_navigation_once() -> None:
    named = list(pages(configuration()["nav"]))
    assert len(named) == len(set(named))
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(named) == written | set(hooks().FROM_ROOT.values())


def test_the_four_parts_are_there_in_order() -> None:
    assert [next(iter(entry)) for entry in configuration()["nav"]] == ["Banyan", "Tutorial", "How-to guides", "Reference", "Explanation"]


def test_every_page_is_built_and_can_be_found(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text()
    for page in pages(configuration()["nav"]):
        built = page.removesuffix(".md") + ".html"
        assert (site / built).exists(), page
        assert f'"location":"{built}"' in index, page


def test_no_page_asks_for_anything_from_elsewhere(site: Path) -> None:
    """Nor for a diagram, for whose language the theme's script would be fetched."""
    for path in site.rglob("*.html"):
        text = path.read_text()
        asked = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\" >]+)", text)
        asked += re.findall(r"<link\b[^>]*\bhref=\"?([^\" >]+)", text)
        assert asked
        assert not [each for each in asked if re.match(r"(https?:)?//", each)], path
        assert 'class="mermaid"' not in text, path
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text()), path


def test_links_out_of_the_pages_lead_to_no_folder_of_this_machine(site: Path) -> None:
    for path in set(site.rglob("*.html")) - {site / "404.html"}:  # which is shown at any path, and so names its own from the top
        for link in re.findall(r"<a\b[^>]*\bhref=\"?([^\" >]+)", path.read_text()):
            if not re.match(r"[a-z]+:|#", link):
                target = (path.parent / link.partition("#")[0]).resolve()
                assert target.is_relative_to(site.resolve()), (path, link)
                assert target.exists(), (path, link)


def test_what_stands_in_the_root_is_a_page_with_links_of_the_site(site: Path) -> None:
    text = (site / "explanation" / "security.html").read_text()
    assert "Reporting a vulnerability" in text
    assert (site / "reference" / "changes.html").exists()


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_what_stands_in_the_root_links_to_what_is_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        assert re.match(r"[a-z]+:|#", target) or (ROOT / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("[nobody](nowhere.md)", "nowhere.md"),
        ("[nothing](../nothing.toml)", "leads nowhere"),
        ("[no place](index.md#nobody-wrote-this)", "nobody-wrote-this"),
    ],
)
def test_a_link_that_leads_nowhere_fails_it(tmp_path: Path, spoilt: str, said: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# A page\n\n{spoilt}\n")
    (tmp_path / "mkdocs.yml").write_text(_small(""))
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(("source", "shown"), [("", "<p>the licence</p>"), ("https://a.example/b/", 'href="https://a.example/b/LICENSE"')])
def test_a_link_into_the_tree_is_text_unless_the_tree_can_be_read_somewhere(tmp_path: Path, source: str, shown: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# A page\n\n[the licence](../LICENSE)\n")
    (tmp_path / "mkdocs.yml").write_text(_small(source))
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 0, done.stderr
    assert shown in (tmp_path / "site" / "index.html").read_text()


def _small(source: str) -> str:
    """A site of one page, under the rules and with the hooks of this one, without its theme."""
    whole = configuration()
    return yaml.safe_dump(
        {
            "site_name": "small",
            "theme": {"name": None, "custom_dir": str(ROOT / "tests" / "support" / "bare_theme")},
            "plugins": [],
            "hooks": [str(ROOT / "scripts" / "site_pages.py")],
            "validation": whole["validation"],
            "extra": {"source": source},
        }
    )


@pytest.mark.browser
def test_a_browser_asks_nobody_else_and_finds_what_is_searched_for(site: Path) -> None:
    required()
    from playwright.sync_api import expect, sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, name="site", daemon=True).start()
    here = f"http://127.0.0.1:{server.server_address[1]}/"
    asked: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            for path in ("index.html", "explanation/architecture.html", "reference/settings.html"):
                page.goto(here + path)
                expect(page.locator("h1")).to_be_visible(timeout=30_000)
            page.locator("input[name=query]").first.fill("breaker-open")
            expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=30_000)
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert asked
    assert not [url for url in asked if not url.startswith((here, "data:", "blob:"))]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: what it is asked for is the test's."""
