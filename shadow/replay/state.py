"""How far a replay came, in a file: so that one that was interrupted goes on where it was.

It is written whole, under another name first, at moments when everything that was asked is compared: an entry is counted once, however the
process ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from shadow.replay.tally import Tally, plain, read

VERSION: Final = 1
_LOOK: Final = 1024 * 1024
"""Bytes by which a recording is known, with its length."""


class StateError(Exception):
    """The file cannot be gone on from. The message says why and what to do."""


def known_by(recording: Path) -> dict[str, Any]:
    """By what a recording is known again.

    Raises:
        OSError: it cannot be read.
    """
    with recording.open("rb") as file:
        return {"bytes": recording.stat().st_size, "digest": hashlib.sha256(file.read(_LOOK)).hexdigest()}


def write(path: Path, about: dict[str, Any], tally: Tally) -> None:
    """`about`: the recording, and what was asked of it. For its owner alone: examples show what answers held.

    Raises:
        OSError: it cannot be written.
    """
    data = json.dumps({"version": VERSION, "about": about, "tally": plain(tally)}, separators=(",", ":")).encode()
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def resumed(path: Path, about: dict[str, Any]) -> Tally:
    """What was found up to there.

    Raises:
        StateError: it is no state, or that of another replay.
    """
    try:
        told = json.loads(path.read_bytes())
        found, version, tally = told["about"], told["version"], told["tally"]
        if version != VERSION:
            raise StateError(f"{path}: it was written by another version; begin anew without --resume, with another file")
        if found != about:
            names = ", ".join(sorted(key for key in {*found, *about} if found.get(key) != about.get(key)))
            raise StateError(f"{path}: it is of another replay ({names} differ); resume with the same recording and options, or begin anew")
        return read(tally)
    except FileNotFoundError:
        raise StateError(f"{path}: there is nothing to go on from; begin without --resume") from None
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise StateError(f"{path}: it is no state of a replay; remove it, or name another file") from None
