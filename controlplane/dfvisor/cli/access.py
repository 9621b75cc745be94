"""`dfvctl access`: who may write what in the global database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dfvisor.cli.change import Refused
from dfvisor.cli.output import Output, dump, say
from dfvisor.cli.session import run
from dfvisor.errors import DescriptionError, Problem
from dfvisor.model.plain import Problems
from dfvisor.model.source import read_yaml
from dfvisor.store.acl import Access, digest_id, parse_access, render_access
from dfvisor.store.database import GlobalDatabase

access_app = typer.Typer(
    no_args_is_help=True, help="Who may write what in the global database; for the provider."
)


def load_access(file: Path) -> Access:
    """Read who is who; DescriptionError lists everything wrong with the file."""
    try:
        found = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problem = Problem(path="file", message=f"cannot be read: {reason}")
        raise DescriptionError([problem], str(file)) from error
    problems = Problems(found.lines)
    problems.found.extend(found.problems)
    access = parse_access(found.value, problems)
    if problems.found:
        raise DescriptionError(sorted(problems.found), str(file))
    return access


@access_app.command("close")
def close(
    file: Annotated[
        Path | None, typer.Argument(help="Who is who, in YAML; without, as said before.")
    ] = None,
) -> None:
    """Give everything in the database its access control list, for the first time or anew."""
    said = load_access(file) if file is not None else None

    async def work(db: GlobalDatabase) -> int:
        access = said or await db.read_access()
        if access is None:
            raise Refused("the database is open to all: say in a file who is who")
        return await db.close_tree(access)

    say(f"{run(work)} nodes have their access control lists")


@access_app.command("show")
def show() -> None:
    """Print who is who, as a file for `close`."""
    access = run(lambda db: db.read_access())
    if access is None:
        raise Refused("the database is open to all")
    dump(render_access(access), Output.YAML)


@access_app.command("id")
def identify(user: Annotated[str, typer.Argument(help="A user of scheme digest.")]) -> None:
    """Print how to name a user whose password is read from standard input."""
    password = sys.stdin.readline().rstrip("\n")
    if not password or ":" in user:
        raise Refused("a user without colon, and a password on standard input, are needed")
    say(f"digest:{digest_id(user, password)}")
