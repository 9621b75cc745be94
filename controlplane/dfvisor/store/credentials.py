"""How to reach the global database, and as whom: one small file, named on the command line.

    zookeeper: zk1:2281,zk2:2281,zk3:2281/dfvisor
    role: tenant                       # provider (default), tenant, controller or agent
    tls: {authorities: ca.pem, certificate: red.pem, key: red.key}
    digest: {user: red, password_file: red.password}

Paths are relative to the file. Without such a file connections are plain and anonymous.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dfvisor.errors import DescriptionError, DFVisorError, Problem
from dfvisor.model import plain as form
from dfvisor.model.plain import Fields, Problems
from dfvisor.model.source import Path as At
from dfvisor.model.source import Plain, read_yaml

T = TypeVar("T")


class Role(StrEnum):
    """What somebody is here, which decides what he tries to write; the server has the last word."""

    PROVIDER = "provider"
    TENANT = "tenant"
    CONTROLLER = "controller"  # a VN controller
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files: the authorities of the servers' certificates, and our own."""

    authorities: Path
    certificate: Path
    key: Path
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user with a password; never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """As whom to connect. `zookeeper` empty: said elsewhere."""

    zookeeper: str = ""
    role: Role = Role.PROVIDER
    tls: Tls | None = None
    digest: Login | None = None
    sasl: Login | None = None

    @property
    def anonymous(self) -> bool:
        """Whether the server is not told who we are."""
        return self.tls is None and self.digest is None and self.sasl is None


ANONYMOUS = Credentials()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--zookeeper` and `--credentials` of a daemon; for `given`."""
    parser.add_argument(
        "--zookeeper",
        metavar="HOSTS/CHROOT",
        default=os.environ.get("DFVISOR_ZOOKEEPER", ""),
        help="host:port[,host:port...]/chroot (default: $DFVISOR_ZOOKEEPER, or as in the file)",
    )
    parser.add_argument(
        "--credentials",
        metavar="FILE",
        default=os.environ.get("DFVISOR_CREDENTIALS"),
        help="credentials for ZooKeeper (default: $DFVISOR_CREDENTIALS, or none)",
    )


def given(options: argparse.Namespace, role: Role) -> tuple[str, Credentials]:
    """Where the database is, and as whom to come there. DFVisorError when nothing says where."""
    found = load(options.credentials) if options.credentials else ANONYMOUS
    address = options.zookeeper or found.zookeeper
    if not address:
        raise DFVisorError("where is ZooKeeper? give --zookeeper, or name it in --credentials")
    return address, replace(found, role=role)


def load(path: Path | str) -> Credentials:
    """Read a credentials file; DescriptionError lists everything wrong with it."""
    file = Path(path)
    try:
        found = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problem = Problem(path="file", message=f"cannot be read: {reason}")
        raise DescriptionError([problem], str(path)) from error
    problems = Problems(found.lines)
    problems.found.extend(found.problems)
    fields = Fields(found.value, (), problems)
    folder = file.parent
    credentials = Credentials(
        zookeeper=fields.take("zookeeper", form.text, ""),
        role=fields.take("role", form.choice(Role), Role.PROVIDER),
        tls=_section(fields, "tls", lambda value, at: _tls(value, at, folder, problems)),
        digest=_section(fields, "digest", lambda value, at: _login(value, at, folder, problems)),
        sasl=_section(fields, "sasl", lambda value, at: _login(value, at, folder, problems)),
    )
    fields.end()
    if problems.found:
        raise DescriptionError(sorted(problems.found), str(path))
    return credentials


def _section(fields: Fields, key: str, read: Callable[[Plain, At], T]) -> T | None:
    value = fields.take(key, form.anything, None)
    return None if value is None else read(value, (key,))


def _tls(value: Plain, at: At, folder: Path, problems: Problems) -> Tls:
    fields = Fields(value, at, problems)

    def file(said: Plain) -> Path:
        path = folder / form.text(said)
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path

    tls = Tls(
        authorities=fields.need("authorities", file, Path()),
        certificate=fields.need("certificate", file, Path()),
        key=fields.need("key", file, Path()),
        check_hostname=fields.take("check_hostname", form.boolean, True),
    )
    fields.end()
    return tls


def _login(value: Plain, at: At, folder: Path, problems: Problems) -> Login:
    fields = Fields(value, at, problems)

    def secret(said: Plain) -> str:
        path = folder / form.text(said)
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read") from error

    user = fields.need("user", _user, "")
    password = fields.take("password", form.text, "") or fields.take("password_file", secret, "")
    if not password and fields.ok:
        fields.fail((), "password or password_file is missing")
    fields.end()
    return Login(user=user, password=password)


def _user(value: Plain) -> str:
    found = form.text(value)
    if ":" in found or not found:
        raise ValueError(f"{found!r} is no user name: it may have no colon")
    return found
