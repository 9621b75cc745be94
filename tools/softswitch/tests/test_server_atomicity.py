"""Batches that are applied as a whole or not at all: ROLLBACK_ON_ERROR and DATAPLANE_ATOMIC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from softswitch.server.pb import p4r
from softswitch.tests.p4client import (
    MAC,
    Client,
    Switch,
    acl_entry,
    batch_errors,
    exact,
    exact_entry,
    key_of,
)

ROLLBACK, ATOMIC = p4r.WriteRequest.ROLLBACK_ON_ERROR, p4r.WriteRequest.DATAPLANE_ATOMIC
ABORTED = grpc.StatusCode.ABORTED.value[0]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
Update = tuple[str, Any]


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[ROLLBACK, ATOMIC], ids=["rollback", "atomic"])
def atomicity(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def everything(client: Client) -> list[p4r.Entity]:
    """All that a client can read, with counters."""
    wildcards = (
        p4r.TableEntry(counter_data=p4r.CounterData()),
        p4r.TableEntry(is_default_action=True),
        p4r.CounterEntry(),
        p4r.MeterEntry(),
        p4r.ActionProfileMember(),
        p4r.ActionProfileGroup(),
        p4r.MulticastGroupEntry(),
        p4r.CloneSessionEntry(),
        p4r.DigestEntry(),
    )
    found: list[p4r.Entity] = []
    for wildcard in wildcards:
        part = await client.read(wildcard)
        found += sorted(part, key=lambda entity: entity.SerializeToString())
    return found


async def fails(client: Client, atomicity: int, *updates: Update) -> list[tuple[int, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.write(*updates, atomicity=atomicity)
    return batch_errors(caught.value)


def group_entry(group: int, ports: bytes) -> p4r.MulticastGroupEntry:
    entry = p4r.MulticastGroupEntry(multicast_group_id=group)
    for port in ports:
        entry.replicas.add(port=bytes([port]), instance=1)
    return entry


def clone(session: int, ports: bytes) -> p4r.CloneSessionEntry:
    entry = p4r.CloneSessionEntry(session_id=session)
    for port in ports:
        entry.replicas.add(port=bytes([port]), instance=1)
    return entry


def cell(client: Client, index: int | None, packets: int) -> p4r.CounterEntry:
    entry = p4r.CounterEntry(counter_id=client.names.counters["cells"])
    if index is not None:
        entry.index.index = index
    entry.data.packet_count = packets
    return entry


async def test_whole_batch_is_applied_in_order(primary: Client, atomicity: int) -> None:
    first = exact_entry(primary, 1)
    await primary.write(
        ("INSERT", first),
        ("MODIFY", exact_entry(primary, 1, port=b"\x06")),
        ("INSERT", exact_entry(primary, 2)),
        ("DELETE", key_of(first)),
        atomicity=atomicity,
    )
    assert await primary.entries(table_id=first.table_id) == [exact_entry(primary, 2)]


async def test_large_batch_is_applied_whole(primary: Client, atomicity: int) -> None:
    await primary.write(
        *[("INSERT", acl_entry(primary, 1 + i)) for i in range(500)], atomicity=atomicity
    )
    assert len(await primary.entries(table_id=acl_entry(primary, 1).table_id)) == 500


async def test_failed_batch_says_what_failed_and_that_nothing_else_is_in_force(
    primary: Client, atomicity: int
) -> None:
    errors = await fails(
        primary,
        atomicity,
        ("INSERT", exact_entry(primary, 1)),
        ("DELETE", key_of(exact_entry(primary, 9))),
        ("INSERT", exact_entry(primary, 2)),
    )
    assert [code for code, _ in errors] == [ABORTED, NOT_FOUND, ABORTED]
    assert "rolled back" in errors[0][1]
    assert "not attempted" in errors[2][1]
    assert await primary.entries(table_id=exact_entry(primary, 1).table_id) == []


def _contract_updates(client: Client) -> list[Update]:
    default = client.names.entry(
        "acl_table", action=("label", {"value": b"\x01", "index": b"\x02"}), is_default_action=True
    )
    counted = p4r.DirectCounterEntry(table_entry=key_of(exact_entry(client, 1)))
    counted.data.packet_count = 99
    moved = exact_entry(client, 1, port=b"\x09", metadata=b"x")
    return [
        ("MODIFY", moved),
        ("MODIFY", counted),
        ("DELETE", key_of(acl_entry(client, 7))),
        ("INSERT", acl_entry(client, 8)),
        ("INSERT", exact_entry(client, 3)),
        ("DELETE", key_of(exact_entry(client, 2))),
        ("MODIFY", default),
        ("MODIFY", cell(client, 3, 70)),
        ("MODIFY", cell(client, None, 5)),
        ("MODIFY", group_entry(1, b"\x01\x02\x03")),
        ("DELETE", group_entry(2, b"")),
        ("INSERT", group_entry(3, b"\x04")),
        ("MODIFY", clone(1, b"\x05")),
        ("DELETE", clone(2, b"")),
        ("INSERT", clone(3, b"\x05")),
    ]


async def test_failed_batch_puts_tables_counters_and_replication_back(
    primary: Client, atomicity: int
) -> None:
    await primary.write(
        ("INSERT", exact_entry(primary, 1, metadata=b"m")),
        ("INSERT", exact_entry(primary, 2)),
        ("INSERT", acl_entry(primary, 7, counter_data=p4r.CounterData(packet_count=4))),
        ("MODIFY", cell(primary, 3, 7)),
        ("INSERT", group_entry(1, b"\x01")),
        ("INSERT", group_entry(2, b"\x02")),
        ("INSERT", clone(1, b"\x01")),
        ("INSERT", clone(2, b"\x02")),
    )
    before = await everything(primary)
    updates = _contract_updates(primary)
    bad: Update = ("DELETE", key_of(exact_entry(primary, 77)))
    for size in range(len(updates) + 1):
        errors = await fails(primary, atomicity, *updates[:size], bad)
        assert [code for code, _ in errors] == [ABORTED] * size + [NOT_FOUND]
        assert await everything(primary) == before, updates[size - 1 : size]
    await primary.write(*updates, atomicity=atomicity)
    assert await everything(primary) != before


# --- action profiles, meters, digests -------------------------------------------------------------


def member(client: Client, number: int, port: bytes) -> p4r.ActionProfileMember:
    made = p4r.ActionProfileMember(
        action_profile_id=client.names.profiles["ecmp"], member_id=number
    )
    made.action.CopyFrom(client.names.action("send_to", {"port": port}))
    return made


def group(client: Client, number: int, weights: dict[int, int]) -> p4r.ActionProfileGroup:
    made = p4r.ActionProfileGroup(
        action_profile_id=client.names.profiles["ecmp"], group_id=number, max_size=16
    )
    for id_, weight in weights.items():
        made.members.add(member_id=id_, weight=weight)
    return made


def route(client: Client, number: int, **target: int) -> p4r.TableEntry:
    entry = client.names.entry("routes", {"mac": exact(MAC + bytes([number]))})
    for what, id_ in target.items():
        setattr(entry.action, f"action_profile_{what}_id", id_)
    return entry


def one_shot(client: Client, number: int, ports: bytes) -> p4r.TableEntry:
    entry = client.names.entry("routes", {"mac": exact(MAC + bytes([number]))})
    for port in ports:
        item = entry.action.action_profile_action_set.action_profile_actions.add(weight=2)
        item.action.CopyFrom(client.names.action("send_to", {"port": bytes([port])}))
    return entry


def _profile_updates(client: Client) -> list[Update]:
    rates = p4r.MeterEntry(meter_id=client.names.meters["packet_rates"])
    rates.index.index = 1
    all_rates = p4r.MeterEntry(meter_id=client.names.meters["packet_rates"])
    all_rates.config.CopyFrom(p4r.MeterConfig(cir=1, cburst=1, pir=1, pburst=1))
    digest = client.names.digests["learn_t"]
    return [
        ("DELETE", key_of(route(client, 1))),
        ("DELETE", group(client, 1, {})),
        ("DELETE", member(client, 2, b"")),
        ("INSERT", member(client, 9, b"\x09")),
        ("MODIFY", member(client, 3, b"\x08")),
        ("MODIFY", group(client, 2, {1: 4, 3: 1, 9: 2})),
        ("INSERT", group(client, 3, {9: 1})),
        ("MODIFY", route(client, 2, group=3)),
        ("INSERT", route(client, 5, member=9)),
        ("MODIFY", rates),
        ("MODIFY", all_rates),
        ("DELETE", p4r.DigestEntry(digest_id=digest)),
        ("INSERT", p4r.DigestEntry(digest_id=digest)),
    ]


def _seats(switch: Switch) -> Callable[[], list[list[Any]]]:
    """What the fake's groups choose from, in the order that a hash counts."""

    def read() -> list[list[Any]]:
        profile = next(iter(switch.fake.profiles.values()))
        return sorted([profile.members[m] for m in g] for g in profile.groups.values())

    return read


async def test_failed_batch_puts_profiles_meters_and_digests_back(
    streaming: Client, switch: Switch, atomicity: int, data_plane: str
) -> None:
    rates = p4r.MeterEntry(meter_id=streaming.names.meters["packet_rates"])
    rates.index.index = 1
    rates.config.CopyFrom(p4r.MeterConfig(cir=5, cburst=6, pir=7, pburst=8))
    digest = p4r.DigestEntry(digest_id=streaming.names.digests["learn_t"])
    digest.config.max_list_size = 3
    await streaming.write(
        *[("INSERT", member(streaming, i, bytes([i]))) for i in (4, 1, 2, 3)],
        ("INSERT", group(streaming, 1, {1: 1, 2: 1})),
        ("INSERT", group(streaming, 2, {1: 1, 3: 3})),
        ("DELETE", member(streaming, 4, b"")),  # leaves the lowest number free
        ("INSERT", route(streaming, 1, group=1)),
        ("INSERT", route(streaming, 2, group=2)),
        ("MODIFY", rates),
        ("INSERT", digest),
    )
    before = await everything(streaming)
    seats = _seats(switch) if data_plane == "fake" else list
    seated = seats()
    updates = _profile_updates(streaming)
    bad: Update = ("DELETE", key_of(route(streaming, 77)))
    for size in range(len(updates) + 1):
        errors = await fails(streaming, atomicity, *updates[:size], bad)
        assert [code for code, _ in errors] == [ABORTED] * size + [NOT_FOUND]
        assert await everything(streaming) == before, updates[size - 1 : size]
        assert seats() == seated
    await streaming.write(*updates, atomicity=atomicity)
    assert await everything(streaming) != before


async def test_failed_batch_puts_one_shot_sets_back(
    streaming: Client, switch: Switch, atomicity: int, data_plane: str
) -> None:
    await streaming.write(
        ("INSERT", one_shot(streaming, 1, b"\x01\x02")),
        ("INSERT", one_shot(streaming, 2, b"\x03\x04")),
        ("DELETE", key_of(one_shot(streaming, 1, b""))),
    )
    before = await everything(streaming)
    seats = _seats(switch) if data_plane == "fake" else list
    seated = seats()
    errors = await fails(
        streaming,
        atomicity,
        ("INSERT", one_shot(streaming, 5, b"\x05")),
        ("DELETE", key_of(one_shot(streaming, 2, b""))),
        ("INSERT", one_shot(streaming, 6, b"\x07\x06")),
        ("DELETE", key_of(one_shot(streaming, 77, b""))),
    )
    assert [code for code, _ in errors] == [ABORTED] * 3 + [NOT_FOUND]
    assert await everything(streaming) == before
    assert seats() == seated
