# noqa: INP001 - scripts/ is a folder of commands, not a package
"""What the documentation's site does beyond Markdown: mkdocs calls it (`hooks` in mkdocs.yml).

Files of the root that belong on the site are pages of it, and are written once. A link that leads out of docs/ leads to the source where
the site knows where that can be read (`extra.source`), and is plain text where it does not; either way the file has to be there.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
FROM_ROOT: Final = {"SECURITY.md": "explanation/security.md", "CHANGELOG.md": "reference/changes.md"}
"""A file of the root → the page that it is on the site."""
PAGES: Final = {page: name for name, page in FROM_ROOT.items()}

LINK: Final = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
FENCE: Final = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text stands in the root."""
    for name, page in FROM_ROOT.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with every link of it as the site needs it. What stands in an example stays as it is."""
    del files
    here = PAGES.get(page.file.src_uri)
    source = str(config.extra.get("source", ""))
    written = here or f"docs/{page.file.src_uri}"

    def link(found: re.Match[str]) -> str:
        return _link(found, written, page.file.src_uri, source)

    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in FENCE.split(markdown))


def _link(found: re.Match[str], written: str, page: str, source: str) -> str:
    """One link. `written`: the file that it stands in, from the root; `page`: what that is on the site, from docs/."""
    target, hash_, anchor = found["target"].partition("#")
    if not target or re.match(r"[a-z][a-z+.-]*:|/", target):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(written), target))
    inside = FROM_ROOT.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    if inside:
        return f"{found['image']}[{found['text']}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{hash_}{anchor})"
    if path.startswith("../") or not (ROOT / path).exists():
        log.warning("%s: %s leads nowhere", written, found["target"])
        return found[0]
    if found["image"]:
        log.warning("%s: %s is a picture outside of docs/, which the site does not have", written, found["target"])
    return f"[{found['text']}]({source}{path}{hash_}{anchor})" if source else found["text"]
