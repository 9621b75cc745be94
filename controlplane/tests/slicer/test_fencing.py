"""Role `vn/<vn>` belongs to the one leader that the database names."""

from __future__ import annotations

import asyncio

import pytest
from dfvisor.p4rt.client import P4RuntimeClient
from dfvisor.p4rt.errors import SwitchUnavailable
from dfvisor.p4rt.ports import Fence
from dfvisor.slicer import service

from controlplane.tests.slicer.conftest import Connect
from controlplane.tests.slicer.fakes import DEVICE, RED_GOLD, FakeDirectory, FakeSwitch, flow


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FENCE_WAIT_S", 0.3)


async def test_leader_that_the_database_names_is_primary(
    connect: Connect, directory: FakeDirectory, address: str
) -> None:
    directory.fences["red"] = Fence(3, 700)
    client = P4RuntimeClient(address, DEVICE, election_id=(3, 700), role="vn/red")
    try:
        await client.become_primary()
        assert client.is_primary
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("election_id", "code"),
    [
        ((0, 700), "PERMISSION_DENIED"),
        ((2, 9999), "PERMISSION_DENIED"),
        ((3, 699), "PERMISSION_DENIED"),
        ((3, 701), "UNAVAILABLE"),
        ((4, 0), "UNAVAILABLE"),
        ((1 << 63, 5), "UNAVAILABLE"),
    ],
    ids=["no epoch", "older epoch", "older leader", "newer leader", "newer epoch", "anything"],
)
async def test_any_other_election_id_is_refused(
    address: str, directory: FakeDirectory, election_id: tuple[int, int], code: str
) -> None:
    directory.fences["red"] = Fence(3, 700)
    client = P4RuntimeClient(address, DEVICE, election_id=election_id, role="vn/red")
    try:
        with pytest.raises(SwitchUnavailable, match=code):
            await client.become_primary()
    finally:
        await client.close()


async def test_leader_is_not_known_yet_nobody_gets_in(
    connect: Connect, directory: FakeDirectory
) -> None:
    directory.fences["red"] = None
    client = await connect("vn/red", 700, primary=False)
    with pytest.raises(SwitchUnavailable, match="does not know yet who leads"):
        await client.become_primary()


async def test_leader_that_is_faster_than_the_news_waits_for_it(
    connect: Connect, directory: FakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FENCE_WAIT_S", 10.0)
    directory.fences["red"] = Fence(0, 700)
    client = await connect("vn/red", 800, primary=False)
    becoming = asyncio.create_task(client.become_primary())
    done, _ = await asyncio.wait((becoming,), timeout=0.1)
    assert not done
    directory.fences["red"] = Fence(0, 800)
    directory.change("red")
    await becoming
    assert client.is_primary


async def test_older_leader_is_cut_off_when_the_database_names_another(
    connect: Connect, directory: FakeDirectory, switch: FakeSwitch
) -> None:
    directory.fences["red"] = Fence(0, 700)
    old, tenant = await connect("vn/red", 700), await connect("slice/red/gold", 5)
    assert old.schema is not None
    directory.fences["red"] = Fence(0, 800)
    with pytest.raises(Exception, match="PERMISSION_DENIED"):  # before the stream has ended
        await old.write([old.schema.insert(flow(RED_GOLD.key))])
    directory.change("red")
    await asyncio.wait_for(old.wait_lost(), 5)
    assert tenant.is_primary
    new = await connect("vn/red", 800)
    await new.write([old.schema.insert(flow(RED_GOLD.key))])
    assert len(switch.entries) == 1


async def test_stream_without_an_election_id_reads_whoever_leads(
    address: str, directory: FakeDirectory
) -> None:
    from controlplane.tests.slicer.plain import PlainClient

    directory.fences["red"] = Fence(0, 700)
    async with PlainClient.opened(address, "vn/red", None) as reader:
        assert (await reader.next()).arbitration.status.code == 5
