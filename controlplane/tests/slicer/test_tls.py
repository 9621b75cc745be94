"""Certificates: what they allow, and that without them only this machine is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dfvisor.cli.pki import PkiError, init, issue
from dfvisor.errors import SlicerError
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.errors import RpcFailed, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.tls import Credentials, is_local
from dfvisor.slicer import streams
from dfvisor.slicer.server import SlicerServer

from controlplane.tests.slicer.fakes import DEVICE, RED_GOLD, FakeDirectory, FakeSwitch, flow

WILDCARD = p4r.Entity(table_entry=p4r.TableEntry())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    init(directory)
    issue(directory, "slicer", hosts=["127.0.0.1", "localhost"])
    issue(directory, "vnc", tenant="*", roles=["vn/*", "slice/*/*"])
    issue(directory, "red", tenant="Red", roles=["slice/red/gold", "slice/blue/gold"])
    issue(directory, "whole", tenant="Red", roles=["vn/red", "slice/red/*"])
    issue(directory, "plain")
    other = directory / "other"
    init(other)
    issue(other, "vnc", tenant="*", roles=["vn/*", "slice/*/*"])
    return directory


def credentials(directory: Path, name: str) -> Credentials:
    return Credentials.load(
        directory / f"{name}.pem", directory / f"{name}.key", directory / "ca.pem"
    )


@pytest.fixture
async def secure(
    authority: Path, schema: Schema, switch: FakeSwitch, directory: FakeDirectory
) -> AsyncIterator[str]:
    server = SlicerServer(directory, switch, schema, DEVICE, tls=credentials(authority, "slicer"))
    yield await server.start("127.0.0.1:0")
    await server.stop()


class Clients:
    def __init__(self, address: str, authority: Path) -> None:
        self._address = address
        self._authority = authority
        self._made: list[P4RuntimeClient] = []

    def make(self, name: str | None, role: str, election_id: int = 1) -> P4RuntimeClient:
        tls = credentials(self._authority, name) if name else None
        client = P4RuntimeClient(
            self._address, DEVICE, election_id=(0, election_id), role=role, tls=tls
        )
        self._made.append(client)
        return client

    async def close(self) -> None:
        for client in self._made:
            await client.close()


@pytest.fixture
async def clients(secure: str, authority: Path) -> AsyncIterator[Clients]:
    made = Clients(secure, authority)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("name", "role"),
    [("vnc", "vn/red"), ("vnc", "slice/blue/gold"), ("red", "slice/red/gold"), ("whole", "vn/red")],
)
async def test_certificate_that_names_the_role_lets_in(
    clients: Clients, switch: FakeSwitch, name: str, role: str
) -> None:
    client = clients.make(name, role)
    await client.become_primary()
    client.schema = await client.get_schema()
    assert client.schema is not None
    whole = role.startswith("vn/")
    entry: TableEntry = flow(RED_GOLD.key if whole else None)
    await client.write([client.schema.insert(entry)])
    assert await client.read_entries() == [entry]


@pytest.mark.parametrize(
    ("name", "role", "why"),
    [
        ("red", "vn/red", "does not name role"),
        ("red", "slice/red/silver", "does not name role"),
        ("red", "slice/blue/gold", "is not tenant Red's"),
        ("whole", "vn/blue", "does not name role"),
        ("whole", "slice/blue/gold", "does not name role"),
        ("plain", "slice/red/gold", "names 0 tenants"),
    ],
)
async def test_certificate_for_something_else_is_refused(
    clients: Clients, name: str, role: str, why: str
) -> None:
    client = clients.make(name, role)
    with pytest.raises(SwitchUnavailable, match=f"PERMISSION_DENIED.*{why}"):
        await client.become_primary()
    with pytest.raises(RpcFailed, match="PERMISSION_DENIED"):
        await client.read([WILDCARD])


async def test_client_without_a_certificate_or_with_anothers_does_not_connect(
    secure: str, authority: Path
) -> None:
    for tls in (None, credentials(authority / "other", "vnc")):
        client = P4RuntimeClient(secure, DEVICE, election_id=(0, 1), role="vn/red", tls=tls)
        try:
            with pytest.raises(SwitchUnavailable):
                await client.connect(0.5)
        finally:
            await client.close()


async def test_write_with_another_certificate_is_refused(clients: Clients) -> None:
    """The primary's role and election id are no secret; its connection is its own."""
    owner = clients.make("red", "slice/red/gold")
    await owner.become_primary()
    owner.schema = await owner.get_schema()
    assert owner.schema is not None
    thief = clients.make("vnc", "slice/red/gold")
    with pytest.raises(RpcFailed, match=r"PERMISSION_DENIED.*not the primary"):
        await thief.write([owner.schema.insert(flow(None))])


async def test_certificate_with_too_many_streams_is_refused_another(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their roles; others', and the provider's, who serves all, are not counted."""
    monkeypatch.setattr(streams, "MAX_STREAMS_PER_CERTIFICATE", 2)
    first, second = clients.make("whole", "slice/red/gold"), clients.make("whole", "vn/red")
    await first.become_primary()
    await second.become_primary()
    with pytest.raises(SwitchUnavailable, match=r"RESOURCE_EXHAUSTED.*2 streams open already"):
        await clients.make("whole", "slice/red/silver").become_primary()
    await clients.make("red", "slice/red/gold", 2).become_primary()
    for number, vn in enumerate(("slice/red/silver", "slice/blue/gold", "vn/blue")):
        await clients.make("vnc", vn, number + 1).become_primary()
    await first.close()

    async def another() -> bool:
        try:
            await clients.make("whole", "slice/red/silver", 9).become_primary()
        except SwitchUnavailable:
            return False
        return True

    async with asyncio.timeout(5):
        while not await another():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_stream_ends_when_the_vn_becomes_anothers(
    clients: Clients, directory: FakeDirectory
) -> None:
    owner, provider = clients.make("red", "slice/red/gold"), clients.make("vnc", "vn/red")
    await owner.become_primary()
    await provider.become_primary()
    directory.tenants["red"] = "Green"
    directory.change("red")
    await owner.wait_lost()
    assert provider.is_primary


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:0", True),
        ("127.8.9.10:1", True),
        ("[::1]:5", True),
        ("localhost:5", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:0", False),
        ("[::]:0", False),
        ("10.0.0.1:0", False),
        ("example.net:1", False),
    ],
)
async def test_without_tls_only_loopback_is_served(
    slicer: SlicerServer, address: str, local: bool
) -> None:
    assert is_local(address) is local
    if not local:
        with pytest.raises(SlicerError, match="without TLS"):
            await slicer.start(address)


def test_authority_is_made_once_and_keys_are_private(tmp_path: Path) -> None:
    init(tmp_path)
    with pytest.raises(PkiError, match="already"):
        init(tmp_path)
    issue(tmp_path, "a", tenant="T", roles=["vn/a"])
    for name in ("ca", "a"):
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("ca", {}, "not 'ca'"),
        ("../x", {}, "name '../x'"),
        ("a", {"tenant": "T"}, "at least one role"),
        ("a", {"roles": ["vn/a"]}, "names the tenant"),
        ("a", {"tenant": "T", "roles": ["admin"]}, "role 'admin'"),
        ("a", {"tenant": "T,URI:x", "roles": ["vn/a"]}, "tenant 'T,URI:x'"),
        ("a", {"tenant": "T", "roles": ["vn/a,URI:dfvisor://tenant/b"]}, "expected slice/VN"),
        ("a", {"hosts": ["a b"]}, "host 'a b'"),
    ],
)
def test_certificate_that_makes_no_sense_is_refused(
    authority: Path, name: str, arguments: dict[str, object], why: str
) -> None:
    with pytest.raises(PkiError, match=why):
        issue(authority, name, **arguments)  # type: ignore[arg-type]
