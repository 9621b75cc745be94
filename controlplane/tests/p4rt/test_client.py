"""The client against a real switch process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from dfvisor.agent.pipeline import Pipeline
from dfvisor.p4rt.client import ElectionId, P4RuntimeClient
from dfvisor.p4rt.entries import Exact, MulticastGroup, TableEntry
from dfvisor.p4rt.errors import NotPrimary, RpcFailed, SwitchUnavailable, WriteError
from dfvisor.p4rt.inspect import read_entries

from .conftest import SwitchProcess

pytestmark = pytest.mark.switch

WAIT_S = 5.0


def policy(slice_id: int) -> TableEntry:
    names = "gre_key qos_level miss_policy queue dscp best_effort_slice best_effort_key"
    args = tuple((name, 1) for name in names.split())
    return TableEntry("slice_policy", (("slice_id", Exact(slice_id)),), 0, "set_slice_policy", args)


@asynccontextmanager
async def client_of(
    switch: SwitchProcess, pipeline: Pipeline, election_id: ElectionId | None = (0, 1)
) -> AsyncIterator[P4RuntimeClient]:
    client = P4RuntimeClient(
        switch.address, switch.device_id, election_id=election_id, schema=pipeline.schema
    )
    try:
        await client.connect(WAIT_S)
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def primary_of(switch: SwitchProcess, pipeline: Pipeline) -> AsyncIterator[P4RuntimeClient]:
    async with client_of(switch, pipeline) as client:
        await client.become_primary(WAIT_S)
        await client.set_pipeline(pipeline.schema, pipeline.device_config, pipeline.cookie)
        yield client


async def test_pipeline_pushed_is_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    async with client_of(switch, pipeline) as client:
        await client.become_primary(WAIT_S)
        assert await client.get_pipeline_cookie() is None
        assert await client.get_schema() is None
        await client.set_pipeline(pipeline.schema, pipeline.device_config, pipeline.cookie)
        assert await client.get_pipeline_cookie() == pipeline.cookie
        held = await client.get_schema()
        assert held is not None and held.tables == pipeline.schema.tables


async def test_entries_written_are_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    schema = pipeline.schema
    items = [policy(number) for number in range(1, 1201)]  # more than one batch
    group = MulticastGroup(5, frozenset({(1, 0), (2, 7)}))
    async with primary_of(switch, pipeline) as client:
        await client.write([schema.insert(item) for item in (*items, group)])
        assert set(await client.read_entries("slice_policy")) == set(items)
        assert set(await client.read_entries()) == set(items)
        assert await client.read_entries("vtep", "peer") == []
        assert await client.read_multicast() == [group]
        await client.write([schema.delete(item) for item in (*items, group)])
        assert await client.read_entries() == []
        assert await client.read_multicast() == []


async def test_write_that_fails_in_part_lists_every_failure(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    schema = pipeline.schema
    async with primary_of(switch, pipeline) as client:
        await client.write([schema.insert(policy(number)) for number in (3, 700)])
        with pytest.raises(WriteError) as refused:
            await client.write([schema.insert(policy(number)) for number in range(1, 1001)])
        sent = [schema.decode(failure.update.entity) for failure in refused.value.failures]
        assert sent == [policy(3), policy(700)]
        assert {failure.code for failure in refused.value.failures} == {6}  # ALREADY_EXISTS
        assert "2 of 1000 updates failed: ALREADY_EXISTS" in str(refused.value)
        assert len(await client.read_entries("slice_policy")) == 1000


async def test_batch_that_fails_whole_lists_every_failure(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    """500 errors are more trailing metadata than gRPC allows by default."""
    schema = pipeline.schema
    async with primary_of(switch, pipeline) as client:
        with pytest.raises(WriteError) as refused:
            await client.write([schema.delete(policy(number)) for number in range(1, 501)])
        assert len(refused.value.failures) == 500


async def test_default_entry_set_is_read_back(switch: SwitchProcess, pipeline: Pipeline) -> None:
    args = (("vtep", 0xC0000201), ("mac", 0x02DF00000001))
    source = TableEntry("tunnel_source", (), 0, "set_tunnel_source", args, is_default=True)
    async with primary_of(switch, pipeline) as client:
        assert (await client.read_default("tunnel_source")).action == "NoAction"
        await client.write([pipeline.schema.modify(source)])
        assert await client.read_default("tunnel_source") == source
        reset = TableEntry("tunnel_source", (), 0, "", (), is_default=True)
        await client.write([pipeline.schema.modify(reset)])
        assert (await client.read_default("tunnel_source")).action == "NoAction"


async def test_counters_of_entries_and_cells_are_read(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    fabric = TableEntry("access_port", (("port", Exact(1)),), 0, "set_fabric")
    async with primary_of(switch, pipeline) as client:
        await client.write([pipeline.schema.insert(fabric)])
        (counted,) = await client.read_direct("access_port", "slice")
        assert counted.entry == fabric
        assert (counted.counter.packets, counted.counter.bytes) == (0, 0)
        cells = await client.read_counters("drops", range(0, 9000, 2))
        assert sorted(cells) == list(range(0, 9000, 2))


async def test_second_client_with_a_lower_id_is_not_primary(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    async with client_of(switch, pipeline, (0, 5)) as first:
        await first.become_primary(WAIT_S)
        async with client_of(switch, pipeline, (0, 4)) as second:
            with pytest.raises(NotPrimary) as refused:
                await second.become_primary(WAIT_S)
            assert not refused.value.vacant
            assert second.highest_election_id == (0, 5)
            with pytest.raises(RpcFailed):
                await second.write([pipeline.schema.insert(policy(1))])
        assert first.is_primary


async def test_client_outranked_is_told(switch: SwitchProcess, pipeline: Pipeline) -> None:
    standings: list[bool] = []
    lost = asyncio.Event()

    def on_standing(primary: bool) -> None:
        standings.append(primary)
        if not primary:
            lost.set()

    first = P4RuntimeClient(
        switch.address, switch.device_id, election_id=(0, 5), on_standing=on_standing
    )
    try:
        await first.become_primary(WAIT_S)
        async with client_of(switch, pipeline, (1, 0)) as second:
            await second.become_primary(WAIT_S)
            async with asyncio.timeout(WAIT_S):
                await lost.wait()
            assert not first.is_primary
    finally:
        await first.close()
    assert standings == [True, False]


async def test_late_comer_below_the_highest_id_learns_that_nobody_is_primary(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    async with client_of(switch, pipeline, (0, 5)) as first:
        await first.become_primary(WAIT_S)
    async with client_of(switch, pipeline, (0, 1)) as second, asyncio.timeout(WAIT_S):
        vacant = False
        while not vacant:  # the switch may not have noticed yet that the first one has left
            with pytest.raises(NotPrimary) as refused:
                await second.become_primary(WAIT_S)
            vacant = refused.value.vacant
        assert second.highest_election_id == (0, 5)


async def test_switch_that_dies_ends_the_stream(switch: SwitchProcess, pipeline: Pipeline) -> None:
    async with primary_of(switch, pipeline) as client:
        switch.kill()
        async with asyncio.timeout(WAIT_S):
            await client.wait_lost()
        assert not client.is_primary
        with pytest.raises(SwitchUnavailable):
            await client.write([pipeline.schema.insert(policy(1))])


async def test_address_without_server_is_unavailable(pipeline: Pipeline) -> None:
    client = P4RuntimeClient("unix:/nonexistent", 1, election_id=(0, 1))
    try:
        with pytest.raises(SwitchUnavailable, match="no answer in"):
            await client.connect(0.2)
    finally:
        await client.close()


async def test_inspect_shows_entries_as_people_write_them(
    switch: SwitchProcess, pipeline: Pipeline
) -> None:
    with pytest.raises(SwitchUnavailable, match="no pipeline"):
        await read_entries(switch.address, switch.device_id)
    async with primary_of(switch, pipeline) as client:
        key = (("vn", Exact(2)), ("eth_dst", Exact(0x020000000001)))
        bridge = TableEntry("bridge", key, 0, "bridge_local", (("next_hop", 4),))
        group = MulticastGroup(5, frozenset({(1, 0), (2, 7)}))
        await client.write([pipeline.schema.insert(item) for item in (bridge, group)])
        first, second = await read_entries(switch.address, switch.device_id)
    assert (first.table, first.match) == ("bridge", "vn=2 eth_dst=02:00:00:00:00:01")
    assert (first.action, first.packets) == ("bridge_local next_hop=4", 0)
    assert (second.table, second.match, second.action) == (
        "multicast",
        "group=5",
        "port=1 port=2 rid=7",
    )
