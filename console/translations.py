"""`python -m console.translations` brings the console's other languages up to date with its English: it reads every message of the sources
into console/locale/*/LC_MESSAGES/django.po, keeps what is translated, drops what no source says any more, and compiles django.mo.

Django's own makemessages needs GNU gettext on the machine; Babel, of the `test` extra, does the same within Python. Whoever only runs the
console needs neither: django.mo is in the repository and in the wheel."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.utils.translation.template import templatize

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

CONSOLE = Path(__file__).resolve().parent
LOCALE = CONSOLE / "locale"

# What Django calls its functions, and which argument is what: (1, 2) singular and plural, (1, "c") the context.
type Arguments = tuple[int | tuple[int, str], ...]
_PLAIN: Arguments | None = None
_PLURAL: Arguments = (1, 2)
_CONTEXT: Arguments = ((1, "c"), 2)
_BOTH: Arguments = ((1, "c"), 2, 3)
KEYWORDS: dict[str, Arguments | None] = {
    "_": _PLAIN,
    "gettext": _PLAIN,
    "gettext_lazy": _PLAIN,
    "gettext_noop": _PLAIN,
    "ngettext": _PLURAL,
    "ngettext_lazy": _PLURAL,
    "pgettext": _CONTEXT,
    "pgettext_lazy": _CONTEXT,
    "npgettext": _BOTH,
    "npgettext_lazy": _BOTH,
}

_HEADER = """\
Language: {language}
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit
Plural-Forms: {plurals}
"""
_ABOUT = "# Messages come and go by `python -m console.translations`; what they are in this language is written here.\n"

type Key = tuple[str, str | tuple[str, ...]]
"""Context ("" without one), and the message: singular and plural where it has both."""


class NoBabelError(Exception):
    """Babel is not installed."""

    def __init__(self) -> None:
        super().__init__("translations are made with Babel, of the `test` extra: make setup, or pip install babel")


def sources(root: Path = CONSOLE) -> list[Path]:
    """The files that may hold messages, always in the same order."""
    return sorted([*root.rglob("*.py"), *root.rglob("templates/**/*.html")])


def messages(root: Path = CONSOLE) -> dict[Key, list[str]]:
    """Every message of the sources in the order of its first file, with the files that say it. NoBabelError."""
    found: dict[Key, list[str]] = {}
    for path in sources(root):
        name = path.relative_to(root.parent).as_posix()
        for key in _of(path):
            files = found.setdefault(key, [])
            if name not in files:
                files.append(name)
    return found


def _of(path: Path) -> Iterator[Key]:
    try:
        from babel.messages.extract import extract
    except ImportError as e:
        raise NoBabelError from e
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Django's own reader of templates turns them into calls, one a line at most; their indentation is no Python.
        text = "\n".join(line.lstrip() for line in templatize(text, origin=str(path)).splitlines())
    for _line, said, _comments, context in extract("python", io.BytesIO(text.encode()), keywords=KEYWORDS, options={"encoding": "utf-8"}):
        yield context or "", said if isinstance(said, str) else tuple(said)


def languages() -> list[str]:
    """Those that have a folder."""
    return sorted(path.name for path in LOCALE.iterdir() if path.is_dir())


def source(language: str) -> Path:
    """Where the messages of `language` are written; django.mo is beside it."""
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def read(language: str) -> Catalog:
    """The catalogue as it is kept; empty where there is none yet. NoBabelError."""
    try:
        from babel.messages.pofile import read_po
    except ImportError as e:
        raise NoBabelError from e
    path = source(language)
    return read_po(io.BytesIO(path.read_bytes() if path.exists() else b""), locale=language, abort_invalid=True)


def fresh(kept: Catalog, root: Path = CONSOLE) -> Catalog:
    """A catalogue of exactly the sources' messages, with what `kept` has of them. NoBabelError."""
    from babel.messages.catalog import Catalog

    made = Catalog(locale=kept.locale, domain="django", fuzzy=False)
    none = ("",) * made.num_plurals
    for (context, said), files in messages(root).items():
        old = kept.get(said, context or None)
        plural = not isinstance(said, str)
        # A message that got a plural since, or lost it, is to be looked at anew.
        same = old is not None and isinstance(old.id, tuple) is plural
        translated = old.string if old is not None and same else none if plural else ""
        made.add(
            said,
            translated,
            context=context or None,
            locations=[(name, 0) for name in files],
            flags=sorted(old.flags & {"fuzzy"}) if old is not None and same else (),
            user_comments=old.user_comments if old is not None and same else (),
        )
    return made


def po(catalog: Catalog) -> bytes:
    """The bytes of django.po: no dates, versions or line numbers, so that it changes when a message does."""
    from babel.messages.pofile import write_po

    out = io.BytesIO()
    write_po(out, catalog, width=0, omit_header=True, include_lineno=False)
    header = "".join(f'"{line}\\n"\n' for line in _header(catalog).splitlines())
    return f'{_ABOUT}msgid ""\nmsgstr ""\n{header}\n'.encode() + out.getvalue()


def _header(catalog: Catalog) -> str:
    return _HEADER.format(language=catalog.locale, plurals=catalog.plural_forms)


def mo(catalog: Catalog) -> bytes:
    """The bytes of django.mo. What is fuzzy or not translated is left out, so English is shown."""
    from babel.messages.catalog import Catalog, Message
    from babel.messages.mofile import write_mo

    class Plain(Catalog):
        """The same messages below a header without dates and versions."""

        def __iter__(self) -> Iterator[Message]:
            yield Message("", _header(catalog))
            yield from (message for message in catalog if message.id and any(message.string or ()))

    out = io.BytesIO()
    write_mo(out, Plain(locale=catalog.locale))
    return out.getvalue()


def main() -> int:
    """Writes both files of every language, and says how many messages are not translated yet."""
    for language in languages():
        try:
            catalog = fresh(read(language))
        except NoBabelError as e:
            sys.stderr.write(f"{e}\n")
            return 1
        path = source(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(po(catalog))
        path.with_suffix(".mo").write_bytes(mo(catalog))
        empty = sum(1 for message in catalog if message.id and not any(message.string or ()))
        sys.stdout.write(f"{len(catalog)} messages, {empty} of them to be translated in {path.relative_to(CONSOLE.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
