"""Compiles the edge engine's modules with mypyc, in place: the same sources, as C extensions beside them.

The engine is written in typed Python and runs interpreted wherever this was not done, or could not be for want of a C compiler; compiled,
its own code costs less than half (docs/benchmarks.md, docs/adr/0004). `make setup` runs it. What it made is out of date as soon as a source
changes, so a stamp beside it holds their digest, and tests refuse to run on a stale one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ROOT / "gateway" / "net" / ".compiled"
# What runs for every request. Not: enums with an __init__ (failure, problems), and msgspec's structs (telemetry), which mypyc cannot do.
MODULES = (
    "flags/decisions.py",
    "flags/plans.py",
    "gateway/access.py",
    "gateway/identity/caller.py",
    "gateway/identity/callers.py",
    "gateway/identity/credential.py",
    "gateway/identity/introspection.py",
    "gateway/identity/remembered.py",
    "gateway/identity/rules.py",
    "gateway/identity/stamp.py",
    "gateway/policy/admission.py",
    "gateway/policy/breaker.py",
    "gateway/policy/budget.py",
    "gateway/log_target.py",
    "gateway/net/*.py",
    "gateway/policy/concurrency.py",
    "gateway/policy/decision.py",
    "gateway/policy/ejection.py",
    "gateway/limiting.py",
    "gateway/policy/failover.py",
    "gateway/policy/limits.py",
    "gateway/policy/properties.py",
    "gateway/policy/routing.py",
    "gateway/policy/splitter.py",
    "gateway/policy/waiting.py",
    "gateway/sampling.py",
    "gateway/shipping.py",
    "gateway/tally.py",
    "gateway/trace.py",
)

FLAGS = ["-fvisibility=hidden", *(["-fno-plt"] if sys.platform == "linux" else [])]
"""What else the C compiler is told. Functions that another library could put its own in the place of, as those of a shared library are by
default, are called by way of a table and never inlined, and CPython's would be by two jumps."""


def sources() -> list[Path]:
    """The modules that are compiled."""
    found = [path for pattern in MODULES for path in sorted(ROOT.glob(pattern)) if path.name != "__init__.py"]
    return [path for path in found if path.suffix == ".py"]


def digest() -> str:
    """Changes with the sources and the interpreter."""
    total = hashlib.sha256(sys.version.encode())
    for path in sources():
        total.update(path.read_bytes())
    return total.hexdigest()


def _built() -> list[Path]:
    return [library for folder in ("flags", "gateway") for library in (ROOT / folder).rglob("*.so")]


def state() -> str:
    """compiled, interpreted, or stale: compiled from other sources than those that are here."""
    built = _built()
    if not built:
        return "interpreted"
    return "compiled" if STAMP.exists() and STAMP.read_text() == digest() else "stale"


def clean() -> None:
    """Back to interpreted. What lies beside our packages is other people's, where they were installed and are no clone."""
    for path in _built():
        path.unlink()
    STAMP.unlink(missing_ok=True)


def build() -> bool:
    """Compiles, unless that is done already. False: this machine cannot; the engine runs interpreted."""
    if state() == "compiled":
        return True
    clean()
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        print("setup: no C compiler: the edge engine runs interpreted, at about 1.5 times the CPU per request")
        return False
    print("setup: compiling the edge engine (half a minute)")
    names = [str(path.relative_to(ROOT)) for path in sources()]
    code = (
        "from setuptools import setup\nfrom mypyc.build import mypycify\n"
        # The part that they share lies within the package: whoever finds that finds it too.
        f"modules = mypycify({names!r}, opt_level='3', debug_level='0', group_name='gateway.edge')\n"
        # Another compiler's new warning is no reason to run interpreted.
        "for module in modules:\n"
        f" module.extra_compile_args = [flag for flag in module.extra_compile_args if flag != '-Werror'] + {FLAGS!r}\n"
        "setup(name='banyan-edge', packages=[], py_modules=[], ext_modules=modules)"
    )
    ended = subprocess.run(  # noqa: S603 - this interpreter, on these sources
        [sys.executable, "-c", code, "build_ext", "--inplace", "--build-temp", "build/edge", "--build-lib", "build/edge-lib"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        clean()
        log = ROOT / "build" / "edge.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(ended.stdout + ended.stderr)
        print(f"setup: compiling failed (build/{log.name} says why): the edge engine runs interpreted", file=sys.stderr)
        return False
    STAMP.write_text(digest())
    return True


if __name__ == "__main__":
    if "--clean" in sys.argv:
        clean()
    else:
        build()
