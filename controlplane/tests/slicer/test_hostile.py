"""A hostile tenant against a real switch: every attempt, and what must be so after each of them.

The attacker is primary of slice/red/gold and, in some cases, of vn/green (a VN of its own with one
slice). The victims are slice/blue/gold and slice/red/silver. After each attempt the switch's own
tables hold exactly the victims' entries, the victims are primary still, and have heard nothing;
the attempt is counted as refused, for the attacker alone. A victim writes during each attempt and
after it: in the end the ones have taken no longer than the others.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from dfvisor.p4rt.entries import TableEntry
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r, rpc_status
from dfvisor.p4rt.ports import NEIGHBOUR, AccessVlans, SliceInfo
from dfvisor.slicer import service
from dfvisor.slicer.limits import Limits, Rate
from dfvisor.slicer.view import role_view

from controlplane.tests.agent.rig import DEVICE_ID, SwitchProcess
from controlplane.tests.slicer.fakes import (
    BLUE_GOLD,
    RED_BEST_EFFORT,
    RED_GOLD,
    RED_SILVER,
    FakeDirectory,
    flow,
    forward,
    path,
)
from controlplane.tests.slicer.live import SCHEMA, Live, live
from controlplane.tests.slicer.plain import PlainClient

pytestmark = [pytest.mark.switch, pytest.mark.asyncio(loop_scope="module")]

GREEN_GOLD = SliceInfo(90_000, 31, False)
SLICE_VIEW = Schema(role_view(SCHEMA.proto, False))
VN_VIEW = Schema(role_view(SCHEMA.proto, True))
NAMES = {code.value[0]: name for name, code in grpc.StatusCode.__members__.items()}
INSERT, MODIFY, DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE
TYPES = {"insert": INSERT, "modify": MODIFY, "delete": DELETE}
FRAME = bytes.fromhex("0200000000020200000000010800") + bytes(46)
# nothing here is about waiting; that is in test_limits and test_flooding
FAST = Limits(
    writes=Rate(per_s=1e6, burst=1e6),
    reads=Rate(per_s=1e6, burst=1e6),
    requests=Rate(per_s=1e6, burst=1e6),
    packet_outs=Rate(per_s=1e6, burst=1e6),
)


class Scene:
    """The rig with attacker and victims in place."""

    def __init__(self, rig: Live, attacker: PlainClient, own: PlainClient) -> None:
        self.rig = rig
        self.attacker = attacker
        self.own_vn = own
        self.victims: list[PlainClient] = []
        self.entries: frozenset[TableEntry] = frozenset()
        self.during: list[float] = []
        self.quiet: list[float] = []

    def refused(self, client: PlainClient) -> int:
        """How much was refused, delayed or dropped of what a client's role wanted."""
        counts = self.rig.slicer.stats().get(client.role, {})
        ways = ("_refused", "_delayed", "_dropped")
        return sum(number for kind, number in counts.items() if kind.endswith(ways))

    async def victim_writes(self, times: list[float]) -> None:
        """A victim writes what is there already; how long it takes."""
        began = time.perf_counter()
        await self.victims[0].write([SLICE_VIEW.modify(port_flow(PORTS[0]))])
        times.append(time.perf_counter() - began)

    async def check(self) -> None:
        """The victims are as they were; the attacker has nothing outside its own slices."""
        held = await self.rig.held()
        own = (RED_GOLD.slice_id, GREEN_GOLD.slice_id)
        foreign = {one for one in held if one.key[0][1].value not in own}
        assert foreign == self.entries
        for victim in self.victims:
            assert victim.idle, "a victim has heard something"
            assert not self.refused(victim), "a victim was refused something"
        assert not self.rig.switch.sent, "a packet was sent"
        mirror = self.rig.tables.mirror
        assert len(mirror) == len(held)

    async def statuses(self, client: PlainClient, *updates: p4r.Update) -> list[str]:
        """Names of the statuses of a Write; one name if all of it was refused."""
        try:
            await client.write(updates)
        except grpc.aio.AioRpcError as error:
            trailer = dict(error.trailing_metadata() or ())
            if "grpc-status-details-bin" not in trailer:
                return [error.code().name]
            details = rpc_status.Status.FromString(trailer["grpc-status-details-bin"]).details
            return [NAMES[p4r.Error.FromString(detail.value).canonical_code] for detail in details]
        return ["OK"] * len(updates)

    async def read(self, client: PlainClient, asked: p4r.Entity, role: str = "") -> object:
        """The entities found, or the name of the refusal."""
        request = p4r.ReadRequest(device_id=DEVICE_ID, role=role, entities=[asked])
        found: list[p4r.Entity] = []
        try:
            async for answer in client.stub.Read(request):
                found += answer.entities
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return found


@pytest.fixture(scope="module")
def switch_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = SwitchProcess(tmp_path_factory.mktemp("switch"))
    process.start()
    yield process.address
    process.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(switch_address: str) -> AsyncIterator[Scene]:
    directory = FakeDirectory()
    directory.slices["green"] = {"gold": GREEN_GOLD}
    directory.next_hops_by_vn["green", 4] = 104
    directory.revisions["green"] = 1
    directory.vlans["red", 1] = AccessVlans(frozenset({None}), frozenset({7}))
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(service, "REFUSAL_DELAY_S", 0.001)
    async with (
        live(switch_address, directory, FAST) as rig,
        PlainClient.primary(rig.address, "slice/red/gold", device_id=DEVICE_ID) as attacker,
        PlainClient.primary(rig.address, "vn/green", device_id=DEVICE_ID) as own,
        PlainClient.primary(rig.address, "slice/blue/gold", device_id=DEVICE_ID) as blue,
        PlainClient.primary(rig.address, "slice/red/silver", device_id=DEVICE_ID) as silver,
    ):
        made = Scene(rig, attacker, own)
        made.victims = [blue, silver]
        await blue.write(
            [SLICE_VIEW.insert(one) for one in (*map(port_flow, PORTS), forward(None, 3))]
        )
        await silver.write(
            [SLICE_VIEW.insert(one) for one in (*map(port_flow, PORTS), forward(None, 2))]
        )
        made.entries = await rig.held()
        assert len(made.entries) == 2 * (len(PORTS) + 1)
        yield made
    monkeypatch.undo()


PORTS = (80, 81, 443)


def port_flow(port: int) -> TableEntry:
    return flow(None, port)


# -- the attempts


@dataclass(frozen=True)
class Attempt:
    """A Write; `vn`: by the primary of vn/green. `expected`: what it may be answered."""

    name: str
    update: Callable[[], p4r.Update]
    vn: bool = False
    expected: frozenset[str] = frozenset({"PERMISSION_DENIED", "INVALID_ARGUMENT"})


def raw(kind: p4r.Update.Type.ValueType, entry: p4r.TableEntry) -> p4r.Update:
    return p4r.Update(type=kind, entity=p4r.Entity(table_entry=entry))


OF_SLICE = {"flow": flow(None), "slice_path": path(None, 1), "slice_forward": forward(None, 1)}


def with_slice_id(table: str, kind: str, value: int) -> Callable[[], p4r.Update]:
    def make() -> p4r.Update:
        entry = SLICE_VIEW.encode_entry(OF_SLICE[table])
        entry.match.add(field_id=1).exact.value = value.to_bytes(4, "big").lstrip(b"\0") or b"\0"
        return raw(TYPES[kind], entry)

    return make


def with_key(table: str, kind: str, key: int) -> Callable[[], p4r.Update]:
    entry = {
        "flow": flow(key),
        "slice_path": path(key, 1),
        "slice_forward": forward(key, NEIGHBOUR + 2),
    }[table]
    return lambda: raw(TYPES[kind], VN_VIEW.encode_entry(entry))


def with_next_hop(kind: str, next_hop: int) -> Callable[[], p4r.Update]:
    return lambda: raw(TYPES[kind], SLICE_VIEW.encode_entry(forward(None, next_hop)))


def in_table(table_id: int, kind: str) -> Callable[[], p4r.Update]:
    return lambda: raw(TYPES[kind], p4r.TableEntry(table_id=table_id, priority=1))


def entity(kind: str, change: Callable[[p4r.Entity], object]) -> Callable[[], p4r.Update]:
    def make() -> p4r.Update:
        update = p4r.Update(type=TYPES[kind])
        change(update.entity)
        return update

    return make


def spoiled(change: Callable[[p4r.TableEntry], object]) -> Callable[[], p4r.Update]:
    def make() -> p4r.Update:
        entry = SLICE_VIEW.encode_entry(flow(None, 7))
        change(entry)
        return raw(INSERT, entry)

    return make


FORGED = [
    *(info.slice_id for info in (BLUE_GOLD, RED_SILVER, RED_BEST_EFFORT, RED_GOLD)),
    *(info.key for info in (BLUE_GOLD, RED_SILVER, RED_GOLD)),
    *(0, 4095, 65535, 0xFFFFFFFF),
]
FOREIGN_KEYS = [
    *(info.key for info in (BLUE_GOLD, RED_GOLD, RED_SILVER, RED_BEST_EFFORT)),
    *(info.slice_id for info in (BLUE_GOLD, GREEN_GOLD)),
    *(0, 0xFFFFFFFF),
]
FOREIGN_HOPS = [0, 3, 4, 101, 102, 103, 202, 203, 509, 510, 511, 0xFFFF, NEIGHBOUR]
FOREIGN_HOPS += [NEIGHBOUR + 1, NEIGHBOUR + 9, 0x7FFFFFFF, 0xFFFFFFFF]

ENTITIES: dict[str, Callable[[p4r.Entity], object]] = {
    "member": lambda e: setattr(e.action_profile_member, "member_id", 1),
    "group": lambda e: setattr(e.action_profile_group, "group_id", 1),
    "flow meter": lambda e: setattr(e.meter_entry, "meter_id", SCHEMA.meter("flow_meters").id),
    "slice meter": lambda e: setattr(e.meter_entry, "meter_id", SCHEMA.meter("slice_meters").id),
    "punt meter": lambda e: setattr(e.meter_entry, "meter_id", SCHEMA.meter("punt_meters").id),
    "direct meter": lambda e: e.direct_meter_entry.SetInParent(),
    "drop counter": lambda e: setattr(e.counter_entry, "counter_id", SCHEMA.counter("drops").id),
    "direct counter": lambda e: e.direct_counter_entry.SetInParent(),
    "multicast": lambda e: setattr(
        e.packet_replication_engine_entry.multicast_group_entry, "multicast_group_id", 1
    ),
    "clone": lambda e: setattr(
        e.packet_replication_engine_entry.clone_session_entry, "session_id", 1
    ),
    "value set": lambda e: e.value_set_entry.SetInParent(),
    "register": lambda e: e.register_entry.SetInParent(),
    "digest": lambda e: e.digest_entry.SetInParent(),
    "extern": lambda e: e.extern_entry.SetInParent(),
    "nothing": lambda e: None,
}

MALFORMED: dict[str, Callable[[p4r.TableEntry], object]] = {
    "table 0": lambda e: setattr(e, "table_id", 0),
    "table beyond": lambda e: setattr(e, "table_id", 0xFFFFFFFF),
    "priority 0": lambda e: setattr(e, "priority", 0),
    "priority negative": lambda e: setattr(e, "priority", -1),
    "priority least": lambda e: setattr(e, "priority", -(1 << 31)),
    "no action": lambda e: e.ClearField("action"),
    "action empty": lambda e: e.action.action.SetInParent() or e.action.action.Clear(),
    "action unknown": lambda e: setattr(e.action.action, "action_id", 77),
    "action of another table": lambda e: setattr(
        e.action.action, "action_id", SCHEMA.table("slice_forward").actions["forward"].id
    ),
    "action of the agent's": lambda e: setattr(
        e.action.action, "action_id", SCHEMA.table("classifier").actions["classify"].id
    ),
    "action NoAction": lambda e: setattr(e.action.action, "action_id", 21257015),
    "action a member": lambda e: setattr(e.action, "action_profile_member_id", 1),
    "action a group": lambda e: setattr(e.action, "action_profile_group_id", 1),
    "action a set": lambda e: e.action.action_profile_action_set.SetInParent(),
    "no parameter": lambda e: e.action.action.ClearField("params"),
    "parameter twice": lambda e: e.action.action.params.add(param_id=1, value=b"\1"),
    "parameter unknown": lambda e: e.action.action.params.add(param_id=9, value=b"\1"),
    "parameter id 0": lambda e: setattr(e.action.action.params[0], "param_id", 0),
    "parameter id huge": lambda e: setattr(e.action.action.params[0], "param_id", 0xFFFFFFFF),
    "parameter empty": lambda e: setattr(e.action.action.params[0], "value", b""),
    "parameter too wide": lambda e: setattr(e.action.action.params[0], "value", b"\1\0\0\0\0"),
    "parameter very long": lambda e: setattr(e.action.action.params[0], "value", b"\1" * 9999),
    "field unknown": lambda e: e.match.add(field_id=99),
    "field id 0": lambda e: e.match.add(),
    "field id huge": lambda e: e.match.add(field_id=0xFFFFFFFF),
    "field twice": lambda e: e.match.add().CopyFrom(e.match[0]),
    "field without match": lambda e: e.match.add(field_id=9),
    "value empty": lambda e: setattr(e.match[0].ternary, "value", b""),
    "mask empty": lambda e: setattr(e.match[0].ternary, "mask", b""),
    "mask zero": lambda e: setattr(e.match[0].ternary, "mask", b"\0"),
    "value outside mask": lambda e: (
        setattr(e.match[0].ternary, "value", b"\xff")
        or setattr(e.match[0].ternary, "mask", b"\x0f")
    ),
    "value too wide": lambda e: setattr(e.match[0].ternary, "value", b"\1\0"),
    "mask too wide": lambda e: setattr(e.match[0].ternary, "mask", b"\1\xff"),
    "value very long": lambda e: setattr(e.match[0].ternary, "value", b"\1" * 9999),
    "exact where ternary": lambda e: setattr(e.match[0].exact, "value", b"\6"),
    "range where ternary": lambda e: setattr(e.match[0].range, "low", b"\1"),
    "lpm where ternary": lambda e: setattr(e.match[0].lpm, "prefix_len", 8),
    "optional where ternary": lambda e: setattr(e.match[0].optional, "value", b"\6"),
    "other where ternary": lambda e: e.match[0].other.SetInParent(),
    "default entry": lambda e: setattr(e, "is_default_action", True),
    "default entry without key": lambda e: (
        setattr(e, "is_default_action", True) or e.ClearField("match")
    ),
    "meter": lambda e: setattr(e.meter_config, "cir", 1),
    "idle timeout negative": lambda e: setattr(e, "idle_timeout_ns", -5),
}
UNIMPLEMENTED: dict[str, Callable[[p4r.TableEntry], object]] = {
    "counter": lambda e: setattr(e.counter_data, "packet_count", 1),
    "metadata": lambda e: setattr(e, "metadata", b"x"),
    "controller metadata": lambda e: setattr(e, "controller_metadata", 1),
}

ATTEMPTS = [
    *(
        Attempt(f"slice id {value:#x} {kind} {table}", with_slice_id(table, kind, value))
        for value in FORGED
        for kind in TYPES
        for table in ("flow", "slice_path", "slice_forward")
    ),
    *(
        Attempt(f"key {key} {kind} {table}", with_key(table, kind, key), vn=True)
        for key in FOREIGN_KEYS
        for kind in TYPES
        for table in ("flow", "slice_path", "slice_forward")
    ),
    *(
        Attempt(
            f"next hop {hop:#x} {kind}",
            with_next_hop(kind, hop),
            expected=frozenset({"PERMISSION_DENIED", "NOT_FOUND"}),
        )
        for hop in FOREIGN_HOPS
        for kind in ("insert", "modify")
    ),
    *(
        Attempt(f"table {table.name} {kind}", in_table(table.id, kind))
        for table in SCHEMA.tables.values()
        if table.name not in ("flow", "slice_path", "slice_forward")
        for kind in TYPES
    ),
    *(
        Attempt(f"{name} {kind}", entity(kind, change))
        for name, change in ENTITIES.items()
        for kind in TYPES
    ),
    *(Attempt(f"malformed: {name}", spoiled(change)) for name, change in MALFORMED.items()),
    *(
        Attempt(f"attribute: {name}", spoiled(change), expected=frozenset({"UNIMPLEMENTED"}))
        for name, change in UNIMPLEMENTED.items()
    ),
    Attempt("type unspecified", lambda: raw(p4r.Update.UNSPECIFIED, p4r.TableEntry())),
    Attempt("type 9", lambda: raw(9, SLICE_VIEW.encode_entry(flow(None, 7)))),  # type: ignore[arg-type]
]


async def test_there_are_as_many_attempts_as_promised() -> None:
    assert len(ATTEMPTS) + len(READS) + len(ROLES) + len(PACKETS) >= 300


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=[one.name for one in ATTEMPTS])
async def test_write(scene: Scene, attempt: Attempt) -> None:
    client = scene.own_vn if attempt.vn else scene.attacker
    refused = scene.refused(client)
    (status,), _ = await asyncio.gather(
        scene.statuses(client, attempt.update()), scene.victim_writes(scene.during)
    )
    assert status in attempt.expected
    assert scene.refused(client) == refused + 1
    await scene.victim_writes(scene.quiet)
    await scene.check()


# -- reads

WILDCARDS: dict[str, Callable[[p4r.Entity], object]] = {
    **ENTITIES,
    "all tables": lambda e: e.table_entry.SetInParent(),
    "all tables counted": lambda e: e.table_entry.counter_data.SetInParent(),
    "all members": lambda e: e.action_profile_member.SetInParent(),
    "all groups": lambda e: e.action_profile_group.SetInParent(),
    "all meters": lambda e: e.meter_entry.SetInParent(),
    "all counters": lambda e: e.counter_entry.SetInParent(),
    "all direct counters": lambda e: e.direct_counter_entry.table_entry.SetInParent(),
    "all multicast": lambda e: (
        e.packet_replication_engine_entry.multicast_group_entry.SetInParent()
    ),
    "all clones": lambda e: e.packet_replication_engine_entry.clone_session_entry.SetInParent(),
    "defaults": lambda e: setattr(e.table_entry, "is_default_action", True),
    "priority": lambda e: setattr(e.table_entry, "priority", 10),
}


def asked_table(table_id: int) -> Callable[[p4r.Entity], object]:
    return lambda e: setattr(e.table_entry, "table_id", table_id)


def asked_cell(counter: bool, index: int) -> Callable[[p4r.Entity], object]:
    def change(asked: p4r.Entity) -> None:
        if counter:
            asked.counter_entry.counter_id = SCHEMA.counter("drops").id
            asked.counter_entry.index.index = index
        else:
            asked.meter_entry.meter_id = SCHEMA.meter("slice_meters").id
            asked.meter_entry.index.index = index

    return change


def asked_key(info: SliceInfo, value: int) -> Callable[[p4r.Entity], object]:
    def change(asked: p4r.Entity) -> None:
        asked.table_entry.CopyFrom(SLICE_VIEW.encode_entry(flow(None)))
        asked.table_entry.match.add(field_id=1).exact.value = value.to_bytes(4, "big")

    return change


READS: dict[str, Callable[[p4r.Entity], object]] = {
    **{f"wildcard {name}": change for name, change in WILDCARDS.items()},
    **{f"table {table.name}": asked_table(table.id) for table in SCHEMA.tables.values()},
    **{
        f"cell {kind} {index}": asked_cell(kind == "drops", index)
        for kind in ("drops", "meters")
        for index in (BLUE_GOLD.slice_id, BLUE_GOLD.slice_id * 64 + 12, 64, -1, (1 << 62))
    },
    **{
        f"key of {info.key} by {value}": asked_key(info, value)
        for info in (BLUE_GOLD, RED_SILVER)
        for value in (info.key, info.slice_id)
    },
    "table beyond": asked_table(0xFFFFFFFF),
}


@pytest.mark.parametrize("name", READS)
async def test_read(scene: Scene, name: str) -> None:
    """What comes back is the attacker's: it has nothing, so there is nothing."""
    asked = p4r.Entity()
    READS[name](asked)
    for client in (scene.attacker, scene.own_vn):
        found = await scene.read(client, asked)
        if isinstance(found, list):
            assert all(cell_of_own(one) for one in found), found
        else:
            assert found in ("PERMISSION_DENIED", "INVALID_ARGUMENT")
    await scene.check()


def cell_of_own(found: p4r.Entity) -> bool:
    """A cell of the attacker's own slice, of which nothing was counted."""
    if found.HasField("counter_entry"):
        return found.counter_entry.data.packet_count == 0
    return found.HasField("meter_entry") and found.meter_entry.index.index == 0


# -- roles and election ids

ROLES = (
    *("", "vn/red", "vn/blue", "slice/red/silver", "slice/blue/gold", "slice/red/rest"),
    *("slice/green/gold", "slice/red/gold/", "/slice/red/gold", "slice/red", "SLICE/red/gold"),
    *("slice//gold", "vn/", "vn/red/gold", "*", "slice/*/*", "slice/red/../blue/gold"),
    *("slice/red/gold\0", "slice/red/gold ", "x" * 5000, "slice/r\u00e9d/gold", "vn/*"),
)


@pytest.mark.parametrize("role", ROLES, ids=[repr(role)[:40] for role in ROLES])
async def test_write_in_another_role(scene: Scene, role: str) -> None:
    """From the attacker's own connection, with the victim's election id."""
    for entry in (
        SLICE_VIEW.insert(flow(None, 9)),
        SLICE_VIEW.delete(flow(None)),
        VN_VIEW.insert(flow(BLUE_GOLD.key, 9)),
    ):
        request = scene.attacker.request([entry])
        request.role = role
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scene.attacker.stub.Write(request)
        assert caught.value.code() in (
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.INTERNAL,  # a header that gRPC itself does not take
        )
    await scene.check()


@pytest.mark.parametrize("role", ROLES, ids=[repr(role)[:40] for role in ROLES])
async def test_stream_changes_its_role(scene: Scene, role: str) -> None:
    async with PlainClient.primary(
        scene.rig.address, "slice/green/gold", 1, device_id=DEVICE_ID
    ) as client:
        if role == "slice/green/gold":
            role = "slice/blue/gold"
        client.arbitrate(role)
        assert await client.ended() in ("PERMISSION_DENIED", "FAILED_PRECONDITION")
    await scene.check()


@pytest.mark.parametrize("election_id", [1, 0], ids=["the victim's", "zero"])
async def test_election_id_that_is_not_to_be_had(scene: Scene, election_id: int) -> None:
    async with PlainClient.opened(
        scene.rig.address, "slice/blue/gold", election_id, device_id=DEVICE_ID
    ) as thief:
        assert await thief.ended() == "INVALID_ARGUMENT"
    await scene.check()


@pytest.mark.parametrize("device_id", [0, DEVICE_ID + 1, (1 << 64) - 1])
async def test_other_device(scene: Scene, device_id: int) -> None:
    request = scene.attacker.request([SLICE_VIEW.insert(flow(None, 9))])
    request.device_id = device_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.attacker.stub.Write(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await scene.check()


@pytest.mark.parametrize("election_id", [0, 2, 1 << 64, (1 << 128) - 1])
async def test_write_with_another_election_id(scene: Scene, election_id: int) -> None:
    request = scene.attacker.request([SLICE_VIEW.insert(flow(None, 9))])
    request.election_id.high = election_id >> 64
    request.election_id.low = election_id & (1 << 64) - 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.attacker.stub.Write(request)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await scene.check()


@pytest.mark.parametrize("action", [1, 2, 3, 4, 5])
async def test_pipeline_of_ones_own(scene: Scene, action: int) -> None:
    for p4info, config in ((SCHEMA.proto, b""), (SLICE_VIEW.proto, b"{}"), (None, b"")):
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=DEVICE_ID,
            role="slice/red/gold",
            action=action,  # type: ignore[arg-type]
        )
        request.election_id.low = 1
        if p4info is not None:
            request.config.p4info.CopyFrom(p4info)
        request.config.p4_device_config = config
        commit_of_nothing = action == 4 and not config
        if commit_of_nothing:
            await scene.attacker.stub.SetForwardingPipelineConfig(request)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await scene.attacker.stub.SetForwardingPipelineConfig(request)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await scene.check()


# -- packets

PACKETS = [
    (port, as_ingress, tag)
    for port in (0, 3, 4, 509, 510, 511, NEIGHBOUR + 2, 0xFFFFFFFF)
    for as_ingress in (0, 1)
    for tag in (False, True)
] + [(1, 0, True), (1, 1, True)]


@pytest.mark.parametrize("packet", PACKETS, ids=map(repr, PACKETS))
async def test_packet_out(scene: Scene, packet: tuple[int, int, bool]) -> None:
    port, as_ingress, tagged = packet
    frame = FRAME[:12] + bytes.fromhex("81000007") + FRAME[12:] if tagged else FRAME
    refused = scene.refused(scene.attacker)
    scene.attacker.send(frame, port=port, as_ingress=as_ingress)
    answer = await scene.attacker.next()
    assert NAMES[answer.error.canonical_code] == "PERMISSION_DENIED"
    assert scene.refused(scene.attacker) == refused + 1
    await scene.check()


# -- quantities


async def test_delete_all_that_is_read(scene: Scene) -> None:
    mine = [SLICE_VIEW.insert(flow(None, port)) for port in range(1000, 1100)]
    await scene.attacker.write(mine)
    await scene.check()
    found = await scene.read(scene.attacker, p4r.Entity(table_entry=p4r.TableEntry()))
    assert isinstance(found, list) and len(found) == len(mine)
    updates = []
    for one in found:
        one.table_entry.ClearField("action")
        updates.append(p4r.Update(type=DELETE, entity=one))
    await scene.attacker.write(updates)
    assert await scene.rig.held() == scene.entries
    await scene.check()


async def test_batch_of_attempts_with_one_good_update_in_the_middle(scene: Scene) -> None:
    attempts = [attempt.update() for attempt in ATTEMPTS if not attempt.vn]
    middle = len(attempts) // 2
    attempts.insert(middle, SLICE_VIEW.insert(flow(None, 55)))
    with pytest.raises(grpc.aio.AioRpcError):
        await scene.attacker.write(attempts)
    found = await scene.read(scene.attacker, p4r.Entity(table_entry=p4r.TableEntry()))
    assert isinstance(found, list) and len(found) == 1
    await scene.check()
    await scene.attacker.write([SLICE_VIEW.delete(flow(None, 55))])


async def test_message_beyond_the_limit(scene: Scene) -> None:
    request = scene.attacker.request([SLICE_VIEW.insert(flow(None, 9))] * 6000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.attacker.stub.Write(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await scene.check()


async def test_victims_writes_took_no_longer_during_attempts(scene: Scene) -> None:
    assert len(scene.during) == len(scene.quiet) > 1
    # whoever else uses the machine delays single ones of both kinds: bench-slicer has the tail
    assert statistics.median(scene.during) <= 2 * statistics.median(scene.quiet) + 0.005


async def test_victims_still_work_at_the_end(scene: Scene) -> None:
    (blue, silver) = scene.victims
    update = SLICE_VIEW.modify(flow(None, cookie=8))
    await asyncio.gather(blue.write([update]), silver.write([update]))
    held = await scene.rig.held()
    assert {flow(BLUE_GOLD.slice_id, cookie=8), flow(RED_SILVER.slice_id, cookie=8)} <= held
