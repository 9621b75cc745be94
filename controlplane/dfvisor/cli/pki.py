"""`dfvctl pki`: a development authority for certificates, by the `openssl` command.

For a laboratory, not for production: its key lies beside what it signs, and nothing is revoked. One
authority serves all connections: P4Runtime (agents, VN controllers, tenants) and ZooKeeper. Keys
are on curve P-256, PKCS#8, readable by their owner only.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dfvisor.errors import DFVisorError
from dfvisor.slicer.identity import ANY, ROLE, TENANT
from dfvisor.slicer.roles import Role

AUTHORITY = "ca"
DAYS = 825
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

pki_app = typer.Typer(no_args_is_help=True, help="A development authority for certificates.")


class PkiError(DFVisorError):
    """A certificate can't be made."""


@pki_app.command("init")
def init_command(
    directory: Annotated[Path, typer.Argument(help="Where the authority keeps everything.")],
) -> None:
    """Make an authority: ca.pem and ca.key."""
    init(directory)
    typer.echo(f"{directory / AUTHORITY}.pem")


@pki_app.command("issue")
def issue_command(
    directory: Annotated[Path, typer.Argument(help="The authority's directory.")],
    name: Annotated[str, typer.Argument(help="Whom it is for; names the files.")],
    tenant: Annotated[
        str | None, typer.Option(help="The tenant whose controllers may use it.")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="A role that it may take: slice/VN/SLICE or vn/VN; * for any part."),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address at which a server uses it.")
    ] = None,
    provider: Annotated[
        bool, typer.Option("--provider", help="For the provider's own: every tenant, every role.")
    ] = False,
) -> None:
    """Make a certificate NAME.pem with its key NAME.key."""
    if provider and (tenant or role):
        raise PkiError("--provider has every tenant and role already")
    if provider:
        tenant, role = ANY, ["vn/*", "slice/*/*"]
    issue(directory, name, tenant=tenant, roles=role or (), hosts=host or ())
    typer.echo(f"{directory / name}.pem")


def init(directory: Path) -> None:
    """Make an authority; PkiError if there is one."""
    certificate, key = directory / f"{AUTHORITY}.pem", directory / f"{AUTHORITY}.key"
    if certificate.exists() or key.exists():
        raise PkiError(f"{directory}: there is an authority already")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PkiError(f"{directory}: {error.strerror}") from error
    _make_key(key)
    extensions = [
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]
    _openssl(
        *("req", "-x509", "-new", "-key", str(key), "-sha256", "-days", str(10 * DAYS)),
        *("-subj", "/O=DFVisor/CN=DFVisor development authority", "-out", str(certificate)),
        *(part for one in extensions for part in ("-addext", one)),
    )


def issue(
    directory: Path,
    name: str,
    *,
    tenant: str | None = None,
    roles: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> None:
    """Make a certificate and its key; PkiError says what is wrong. One of the name is replaced."""
    authority, authority_key = directory / f"{AUTHORITY}.pem", directory / f"{AUTHORITY}.key"
    if not authority_key.exists():
        raise PkiError(f"{directory}: no authority here; make one with `dfvctl pki init`")
    if name == AUTHORITY or not NAME.fullmatch(name):
        raise PkiError(f"name {name!r}, expected letters, digits, '.', '_' and '-', and not 'ca'")
    if bool(tenant) != bool(roles):
        raise PkiError("a tenant's certificate names the tenant and at least one role")
    alternatives = [*_names(tenant, roles), *map(_host, hosts)]
    key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
    _make_key(key)
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth" + (",serverAuth" if hosts else ""),
    ]
    if alternatives:
        extensions.append("subjectAltName=" + ",".join(alternatives))
    with tempfile.TemporaryDirectory() as scratch:
        request, wanted = Path(scratch) / "request.pem", Path(scratch) / "extensions"
        wanted.write_text("\n".join(extensions) + "\n")
        _openssl(
            *("req", "-new", "-key", str(key), "-subj", f"/O=DFVisor/CN={name}"),
            *("-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(authority)),
            *("-CAkey", str(authority_key), "-sha256", "-days", str(DAYS)),
            *("-extfile", str(wanted), "-out", str(certificate)),
        )


def _names(tenant: str | None, roles: Sequence[str]) -> list[str]:
    if tenant is None:
        return []
    if tenant != ANY and not NAME.fullmatch(tenant):
        raise PkiError(f"tenant {tenant!r}, expected a tenant's name")
    for role in roles:
        if Role.parse(role) is None or not all(
            part == ANY or NAME.fullmatch(part) for part in role.split("/")
        ):
            raise PkiError(f"role {role!r}, expected slice/VN/SLICE or vn/VN")
    return [f"URI:{TENANT}{tenant}", *(f"URI:{ROLE}{role}" for role in roles)]


def _host(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        if not NAME.fullmatch(host):
            raise PkiError(f"host {host!r}, expected a name or an address") from None
        return f"DNS:{host}"


def _make_key(path: Path) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    _openssl(
        *("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-out", str(path)),
    )


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PkiError("openssl is missing: apt-get install openssl") from error
    if done.returncode:
        raise PkiError(f"openssl {arguments[0]}: {done.stderr.strip() or done.returncode}")
