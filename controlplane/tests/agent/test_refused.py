"""What an agent does with what it may not or cannot have."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import msgspec
import pytest
from dfvisor.model.grants import Grant, Span
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.store import vns
from dfvisor.store.acl import Access, Principal, digest_id
from dfvisor.store.credentials import Credentials, Login, Role
from dfvisor.store.zk import Operation
from dfvisor.vnc.daemon import Daemon

from controlplane.tests.store.harness import AtOnce

from .changing import change, snapshot, with_vn, without_slice, without_vn
from .networks import demo
from .rig import PIPELINE, SWITCH, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]


async def test_write_that_the_switch_refuses_is_reported_and_repaired(rig: Rig) -> None:
    """Somebody else has put an entry where the agent will want one."""
    await rig.put(demo())
    red = demo().vns["red"]
    end = next(iter(red.endpoints.values()))
    more = dataclasses.replace(
        end,
        name="more",
        mac=dataclasses.replace(end.mac, value=0x0200000000FE),
        ips=(),
        port=dataclasses.replace(end.port, switch="s1", port=300),
    )
    changed = dataclasses.replace(red, endpoints={**red.endpoints, "more": more})
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.database is not None
        database = rig.database
        obstacle = TableEntry("access_port", (("port", Exact(300)),), 1, "set_fabric")
        async with rig.client(boot=1) as client:
            await client.write([PIPELINE.schema.insert(obstacle)])
        revision = await change(rig, changed)
        errors: list[str | None] = []

        async def repaired() -> bool:
            record = (await database.read_applied())[SWITCH].vns["red"]
            errors.append(record.error)
            return record.revision == revision

        await eventually(repaired, "the entry is written after all")
        assert any(error and "access_port port=0x12c" in error for error in errors)
        assert errors[-1] is None
        await rig.wait_until_equal(with_vn(demo(), changed))


async def test_bad_record_keeps_the_last_good_state_of_that_vn_alone(rig: Rig) -> None:
    await rig.put(demo())
    red, blue = demo().vns["red"], demo().vns["blue"]
    stray = msgspec.structs.replace(red.flowspaces["gold-tcp"], slice="nowhere")
    bad = dataclasses.replace(red, flowspaces={"gold-tcp": stray})
    fewer = without_slice(blue, "gold")
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.database is not None
        database = rig.database
        await change(rig, bad)

        async def reported() -> bool:
            error = (await database.read_applied())[SWITCH].vns["red"].error
            return error is not None and "nowhere" in error

        await eventually(reported, "the error is visible")
        assert (await database.read_applied())[SWITCH].vns["red"].revision == 1
        changed = await change(rig, fewer)
        await rig.wait_until_applied("blue", changed)
        assert rig.slicer is not None
        rig.slicer.directory.flows_completed("blue", changed)
        await rig.wait_until_equal(with_vn(demo(), fewer))
        revision = await change(rig, red)
        await rig.wait_until_applied("red", revision)
        assert (await database.read_applied())[SWITCH].vns["red"].error is None


async def test_vn_that_wants_anothers_key_gets_it_once_it_is_free(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unasked(*_: object) -> list[Operation]:
        return []

    monkeypatch.setattr(vns, "take_keys", unasked)  # a writer that does not keep to the rules
    await rig.put(demo())
    red = demo().vns["red"]
    thief = dataclasses.replace(red, name="a-thief", endpoints={}, flowspaces={})
    end = next(end for end in red.endpoints.values() if end.port.switch == "s1")
    own = dataclasses.replace(end, port=dataclasses.replace(end.port, port=300))
    thief = dataclasses.replace(thief, endpoints={end.name: own})
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.database is not None
        database = rig.database
        await database.apply(None, thief)

        async def refused() -> bool:
            vn = (await database.read_applied())[SWITCH].vns.get("a-thief")
            return vn is not None and "belongs to red already" in str(vn.error)

        await eventually(refused, "the clash is reported")
        assert await rig.held() == rig.expected(demo())
        await database.delete_vn(await snapshot(rig, "red"))
        await rig.wait_until_equal(with_vn(without_vn(demo(), "red"), thief))
        await rig.wait_until_applied("a-thief", 1)


async def test_record_outside_its_grant_waits_for_a_larger_grant(rig: Rig) -> None:
    await rig.put(demo())
    red = demo().vns["red"]
    bronze = dataclasses.replace(red.slices["silver"], name="bronze", key=70009)
    larger = dataclasses.replace(red, slices={**red.slices, "bronze": bronze})
    async with rig.agent():
        await rig.wait_until_equal(demo())
        assert rig.database is not None
        database = rig.database
        granted = Grant(vn="red", tenant="red", max_slices=3)
        await database.apply_grants(await database.read_network(), {"red": granted})
        revision = await change(rig, larger)  # past the checks of dfvctl

        async def refused() -> bool:
            vn = (await database.read_applied())[SWITCH].vns["red"]
            return "4 slices, 3 granted" in str(vn.error) and vn.revision < revision

        await eventually(refused, "the error is reported")
        assert await rig.held() == rig.expected(demo())
        await database.apply_grants(
            await database.read_network(), {"red": dataclasses.replace(granted, max_slices=4)}
        )
        await rig.wait_until_equal(with_vn(demo(), larger))
        await rig.wait_until_applied("red", revision)


async def test_daemons_work_in_a_closed_database_each_with_a_credential_of_its_own(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logins = {
        role: Credentials(role=role, digest=Login(user=role.value, password=f"secret-{role}"))
        for role in (Role.PROVIDER, Role.CONTROLLER, Role.AGENT, Role.TENANT)
    }
    ids = {role: (Principal("digest", digest_id(role.value, f"secret-{role}")),) for role in logins}
    access = Access(
        provider=ids[Role.PROVIDER],
        controllers=ids[Role.CONTROLLER],
        agents={SWITCH: ids[Role.AGENT]},
        tenants={"red": ids[Role.TENANT]},
    )
    provider = await AtOnce.connect(rig.zookeeper, credentials=logins[Role.PROVIDER])
    async with provider:
        await provider.close_tree(access)
    provider = await AtOnce.connect(rig.zookeeper, credentials=logins[Role.PROVIDER])
    tenant = await AtOnce.connect(rig.zookeeper, credentials=logins[Role.TENANT])
    rig.credentials = logins[Role.AGENT]
    controller = Daemon(rig.zookeeper, tmp_path, "vnc-1", None, logins[Role.CONTROLLER])
    async with provider, tenant:
        anonymous, rig.database = rig.database, provider
        await rig.put(demo())
        granted = Grant(vn="red", tenant="red", keys=(Span(70000, 70099),))
        await provider.apply_grants(await provider.read_network(), {"red": granted})
        running = asyncio.create_task(controller.run())
        try:
            async with rig.agent():
                await rig.wait_until_equal(demo())
                await rig.wait_until_applied("red", 1)

                async def led() -> bool:
                    active = await provider.read_active("red")
                    return active is not None and active.leader == "vnc-1"

                await eventually(led, "the VN controller leads")
                base = await tenant.read_vn("red")
                assert base is not None
                new = without_slice(base.vn, "silver")
                written = await tenant.apply(base, new)  # no index and no activation of its own
                await rig.wait_until_applied("red", written.revision)

                async def counted() -> bool:
                    return await provider.read_stats(SWITCH) is not None

                await eventually(counted, "counters are pushed")
                assert SWITCH in await provider.read_agents()
        finally:
            running.cancel()
            await asyncio.wait((running,))
            rig.database = anonymous
    assert "not allowed" not in caplog.text
