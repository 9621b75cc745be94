"""Learned hosts through the database: what one switch sees, another one's agent writes."""

from __future__ import annotations

import dataclasses
import time

import pytest
from dfvisor.model.learned import Claim, with_hosts
from dfvisor.model.records import Network
from dfvisor.model.types import Mac
from dfvisor.store.learned import LearnedRecord

from .networks import demo
from .rig import SWITCH, Rig, eventually
from .test_agent import HELLO, STRANGER, give, with_vn

pytestmark = pytest.mark.zk

HOST = Mac(STRANGER)


def learning() -> Network:
    return with_vn(demo(), dataclasses.replace(demo().vns["red"], learning=True))


def with_host(network: Network, switch: str, port: int) -> Network:
    """The network with the stranger at a port."""
    vn = with_hosts(network.vns["red"], {HOST: (switch, Claim(port, 1.0))})
    assert vn is not network.vns["red"]
    return with_vn(network, vn)


async def claim(rig: Rig, switch: str, port: int, since: float) -> None:
    assert rig.database is not None
    record = LearnedRecord(hosts={str(HOST): (port, since)})
    await rig.database.publish_learned("red", switch, record)


async def records(rig: Rig) -> dict[str, LearnedRecord]:
    assert rig.database is not None
    return dict(await rig.database.read_learned("red"))


async def test_host_learned_elsewhere_is_reached_there_and_follows_its_moves(rig: Rig) -> None:
    network = learning()
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await claim(rig, "s4", 11, time.time() - 60)
        await rig.wait_until_equal(with_host(network, "s4", 11))
        await give(rig, HELLO, 11)  # it has moved here
        await rig.wait_until_equal(network, {"red": {STRANGER: 11}})

        async def claimed() -> bool:
            found = (await records(rig)).get(SWITCH)
            return found is not None and found.hosts[str(HOST)][0] == 11

        await eventually(claimed, "the host is claimed")
        await claim(rig, "s4", 11, time.time() + 1)  # and back again
        await rig.wait_until_equal(with_host(network, "s4", 11))

        async def given_up() -> bool:
            return SWITCH not in await records(rig)

        await eventually(given_up, "the claim is given up")


async def test_address_that_is_elsewhere_since_a_moment_ago_is_reported_and_not_believed(
    rig: Rig,
) -> None:
    network = learning()
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await claim(rig, "s4", 11, time.time() + 60)
        await rig.wait_until_equal(with_host(network, "s4", 11))
        await give(rig, HELLO, 11)

        async def reported() -> bool:
            found = (await records(rig)).get(SWITCH)
            return found is not None and "s4:11" in found.conflicts.get(str(HOST), "")

        await eventually(reported, "the duplicate is reported")
        assert (await records(rig))[SWITCH].hosts == {}
        await rig.wait_until_equal(with_host(network, "s4", 11))


async def test_address_of_an_endpoint_is_not_learned_elsewhere(rig: Rig) -> None:
    network = learning()
    await rig.put(network)
    spoofed = HELLO[:6] + network.vns["red"].endpoints["r2"].mac.value.to_bytes(6) + HELLO[12:]
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await rig.wait_until_equal(network)
        await give(rig, spoofed, 11)

        async def reported() -> bool:
            found = (await records(rig)).get(SWITCH)
            return found is not None and "endpoint r2" in str(found.conflicts)

        await eventually(reported, "the spoofed address is reported")
        await rig.wait_until_equal(network)


async def test_claims_survive_a_restart_of_the_agent(rig: Rig) -> None:
    network = learning()
    await rig.put(network)
    async with rig.agent():
        await rig.wait_until_applied("red", 1)
        await give(rig, HELLO, 11)

        async def claimed() -> bool:
            return SWITCH in await records(rig)

        await eventually(claimed, "the host is claimed")
    async with rig.agent():
        await rig.wait_until_equal(network, {"red": {STRANGER: 11}})
        assert str(HOST) in (await records(rig))[SWITCH].hosts
