"""A file's name, as a setting."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

_LONGEST = 255
"""Characters of a name between two slashes: no file system has longer ones."""


def pem_file(value: str) -> str:
    """`value`, if it can be a file's name."""
    if "-----" in value or not value.isprintable() or any(len(part) > _LONGEST for part in value.split("/")):
        raise ValueError("this is no file's name, but perhaps what is in one; write the name of a PEM file")
    return value


PemFile = Annotated[str, AfterValidator(pem_file)]
"""The name of a file with a certificate or a key. What is in the file may not stand in its place: names are shown in errors."""
