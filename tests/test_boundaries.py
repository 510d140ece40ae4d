"""The walls of the house: which package may import which (docs: design, folders)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it the import stands, but for those under TYPE_CHECKING."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from package import module` imports the module too.
            found |= {module} | {
                f"{module}.{alias.name}"
                for alias in node.names
                if (ROOT / f"{module}.{alias.name}".replace(".", "/")).with_suffix(".py").exists()
            }
    return found


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py")) if (ROOT / folder).is_dir() else [ROOT / folder]
    assert found, f"{folder} is empty: the test would check nothing"
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("path", modules("gateway/policy"), ids=lambda path: path.name)
def test_policy_imports_only_the_standard_library_the_snapshot_and_itself(path: Path) -> None:
    for name in imports(path):
        top = name.partition(".")[0]
        assert top in sys.stdlib_module_names or within(name, "gateway.policy", "flags.snapshot"), f"{path.name} imports {name}"
        assert top not in {"asyncio", "socket", "ssl", "time", "random", "secrets", "threading"}, f"{path.name} imports {name}: not sans-io"


@pytest.mark.parametrize("path", modules("gateway/policy"), ids=lambda path: path.name)
def test_policy_does_not_import_net(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "gateway.net")]


@pytest.mark.parametrize("path", modules("gateway"), ids=lambda path: path.name)
def test_nothing_in_the_gateway_imports_django_or_the_comparison(path: Path) -> None:
    verb = ROOT / "gateway" / "cli" in path.parents  # the command line alone may start the console
    bad = [
        name
        for name in imports(path)
        if within(name, "django", "shadow.compare", "shadow.models", "deepdiff", *(() if verb else ("console",)))
    ]
    assert not bad


def test_the_command_line_loads_a_verb_only_when_it_is_asked_for() -> None:
    loaded = "import sys, gateway.cli.__main__, gateway.cli.verbs; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "gateway" in found
    assert not {"django", "deepdiff", "mitmproxy", "console", "uvloop"} & set(found)


@pytest.mark.parametrize("path", modules("gateway/net"), ids=lambda path: path.name)
def test_net_knows_neither_mitmproxy_nor_the_supervisor(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "mitmproxy", "gateway.supervisor", "gateway.mitm", "gateway.worker")]


@pytest.mark.parametrize("path", modules("inspecting"), ids=lambda path: path.name)
def test_what_shows_requests_knows_neither_the_console_nor_the_edge(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "console", "django", "gateway.net", "gateway.worker", "gateway.supervisor")]


@pytest.mark.parametrize("path", modules("gateway/mitm"), ids=lambda path: path.name)
def test_the_mitmproxy_engine_does_not_know_who_looks(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "inspecting", "mitmproxy.tools", "mitmproxy.addons.view")]


def test_the_comparison_imports_neither_django_nor_mitmproxy() -> None:
    seen: set[str] = set()
    todo = ["shadow.compare"]
    while todo:
        name = todo.pop()
        path = (ROOT / name.replace(".", "/")).with_suffix(".py")
        if name in seen or not path.exists():
            continue
        seen.add(name)
        for other in imports(path):
            assert not within(other, "django", "mitmproxy"), f"{name} imports {other}"
            if within(other, "shadow"):
                todo.append(other)
    assert "shadow.compare" in seen


@pytest.mark.parametrize("path", modules("shadow/replay"), ids=lambda path: path.name)
def test_a_replay_needs_no_mitmproxy_and_only_its_report_django(path: Path) -> None:
    # CI has no database; and of the reports' classes only those who make one know that they stand beside Django's models.
    bad = [name for name in imports(path) if within(name, "mitmproxy", *(() if path.name == "report.py" else ("django", "shadow.models")))]
    assert not bad


@pytest.mark.parametrize("path", modules("recorded"), ids=lambda path: path.name)
def test_recordings_are_read_without_django_and_the_engine(path: Path) -> None:
    own = () if path.name == "flows.py" else ("mitmproxy",)
    assert not [name for name in imports(path) if within(name, "django", "gateway.net", "shadow", *own)]


def test_only_flow_files_load_mitmproxy() -> None:
    loaded = "import sys, recorded.reading, recorded.writing; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "recorded" in found
    assert not {"mitmproxy", "django", "gateway"} & set(found)


@pytest.mark.parametrize("path", modules("gateway/ledger"), ids=lambda path: path.name)
def test_the_ledger_knows_no_engine(path: Path) -> None:
    # The command line and the console read it, too.
    assert not [name for name in imports(path) if within(name, "gateway.net", "gateway.mitm", "gateway.supervisor", "mitmproxy", "uvloop")]


@pytest.mark.parametrize("path", modules("gateway/export"), ids=lambda path: path.name)
def test_what_is_exported_is_worked_out_of_what_it_is_given(path: Path) -> None:
    # No file, no clock and no engine: of equal configurations and flags the export is the same.
    own = ("gateway.export", "gateway.policy", "gateway.settings", "flags.settled", "flags.plans")
    for name in imports(path):
        assert name.partition(".")[0] in sys.stdlib_module_names or within(name, *own), f"{path.name} imports {name}"
        assert name.partition(".")[0] not in {"os", "socket", "time", "random", "subprocess", "asyncio"}


@pytest.mark.parametrize("path", modules("flags/snapshot.py"), ids=lambda path: path.name)
def test_the_snapshot_is_standard_library_only(path: Path) -> None:
    assert all(name.partition(".")[0] in sys.stdlib_module_names for name in imports(path))


@pytest.mark.parametrize("path", modules("gateway/mitm"), ids=lambda path: path.name)
def test_the_mitmproxy_engine_shares_nothing_with_net(path: Path) -> None:
    # Two readings of the same rules are worth something only while neither borrows from the other.
    assert not [name for name in imports(path) if within(name, "gateway.net", "gateway.worker", "gateway.identity.introspection")]


@pytest.mark.parametrize("name", ["gateway/engine.py", "gateway/build.py", "gateway/identity/callers.py"])
def test_what_both_engines_share_knows_neither(name: str) -> None:
    assert not [other for other in imports(ROOT / name) if within(other, "gateway.net", "gateway.mitm", "mitmproxy", "httpx", "uvloop")]


@pytest.mark.parametrize("path", modules("events"), ids=lambda path: path.name)
def test_events_know_neither_side(path: Path) -> None:
    # A user's own project may be on either; and who only wants an outbox takes neither the gateway nor Django's models with it.
    assert not [name for name in imports(path) if within(name, "django", "gateway", "services", "legacy_django", "console", "demo")]


@pytest.mark.parametrize("path", [*modules("legacy_django"), *modules("services")], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shop_and_its_services_do_not_know_the_gateway(path: Path) -> None:
    if "banyan_identity" in path.parts:
        return  # made to be copied into another project, so its imports are relative
    assert not [name for name in imports(path) if within(name, "gateway", "console")]


@pytest.mark.parametrize("path", modules("services"), ids=lambda path: str(path.relative_to(ROOT)))
def test_services_need_no_django(path: Path) -> None:
    if path.parent.name == "stamp":
        return  # it offers its check to Django as well, in a file of its own
    assert not [name for name in imports(path) if within(name, "django", "legacy_django")]
