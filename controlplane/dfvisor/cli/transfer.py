"""`dfvctl export` and `import`: the whole database to a file, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dfvisor.cli.change import Refused
from dfvisor.cli.output import complain, say
from dfvisor.cli.session import run
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.export import parse, restore, take

ExportFile = Annotated[Path, typer.Argument(metavar="FILE", help="JSON.")]


def export_command(file: ExportFile) -> None:
    """Write fabric, tenants, grants and virtual networks with their revisions to a file.

    Histories, reports of daemons and access control lists are not in it.
    """
    data, bad = run(take)
    fresh = file.with_name(f"{file.name}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}") from error
    for name, reason in sorted(bad.items()):
        complain(f"vns.{name}: {reason}")
    if bad:
        raise Refused(f"{file}: written without the networks that cannot be read")
    say(f"{file}: written")


def import_command(
    file: ExportFile,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what the database holds and the file has not.")
    ] = False,
) -> None:
    """Make the database say what a file of `export` says, with a new epoch."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}") from error
    copy = parse(data, str(file))

    async def work(db: GlobalDatabase) -> None:
        done = await restore(db, copy, replace=replace)
        for name in done.deleted:
            say(f"deleted vn {name}")
        for name, revision in done.written.items():
            say(f"vn {name}: revision {revision}")
        say(f"the database has epoch {done.epoch}")

    run(work)
