"""Versions of the records in the database: pure.

A record says its version; a struct without one is of version 1. One that is older is brought up
to date step by step when it is read, and written as the newest when it is next changed. One that is
newer than this program knows cannot be understood, so it is a bad record.

To change the form of a kind of record incompatibly, append to `MIGRATIONS[kind]` what makes the new
form of the old one. Kinds are names of structs, or of plain records (`page`, `switch`, ...).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""From a record of one version, without its `schema`, to the next."""

MIGRATIONS: dict[str, tuple[Migration, ...]] = {}


class WrongVersion(ValueError):
    """The record says a version that is not known here."""


def newest(kind: str) -> int:
    """The version that is written."""
    return 1 + len(MIGRATIONS.get(kind, ()))


def upgrade(kind: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record in the newest form, without its version; WrongVersion if it is not known."""
    body = dict(record)
    version = body.pop("schema", 1)
    known = newest(kind)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise WrongVersion(f"schema {version!r} is no version")
    if version > known:
        raise WrongVersion(
            f"schema is {version}, newer than {known}, the newest known here: update this program"
        )
    for migrate in MIGRATIONS.get(kind, ())[version - 1 :]:
        body = migrate(body)
    return body
