"""Multicast groups, on both data planes."""

from __future__ import annotations

import grpc
import pytest
from softswitch.server.pb import p4r
from softswitch.tests.p4client import Client, Switch

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def group(
    number: int, *replicas: tuple[int | bytes, int], metadata: bytes = b""
) -> p4r.MulticastGroupEntry:
    entry = p4r.MulticastGroupEntry(multicast_group_id=number, metadata=metadata)
    for port, instance in replicas:
        if isinstance(port, bytes):
            entry.replicas.add(port=port, instance=instance)
        else:
            entry.replicas.add(egress_port=port, instance=instance)
    return entry


async def groups(client: Client, number: int = 0) -> list[p4r.MulticastGroupEntry]:
    return [
        e.packet_replication_engine_entry.multicast_group_entry
        for e in await client.read(group(number))
    ]


async def test_group_insert_then_read_is_equal_in_either_port_form(primary: Client) -> None:
    entries = [
        group(1, (1, 0), (2, 7), (2, 8), metadata=b"m"),
        group(2, (b"\x01", 1), (b"\x01\x2c", 1)),
        group(65535),
    ]
    await primary.write(*(("INSERT", entry) for entry in entries))
    assert await groups(primary) == entries
    assert await groups(primary, 2) == [entries[1]]


async def test_group_modify_replaces_and_delete_removes(primary: Client) -> None:
    await primary.write(("INSERT", group(1, (1, 0), (2, 0))))
    await primary.write(("MODIFY", group(1, (3, 5))))
    assert await groups(primary) == [group(1, (3, 5))]
    await primary.write(("DELETE", group(1)))
    assert await groups(primary) == []


async def test_group_port_bytes_read_back_shortest(primary: Client) -> None:
    await primary.write(("INSERT", group(1, (b"\x00\x00\x01", 1))))
    assert await groups(primary) == [group(1, (b"\x01", 1))]


@pytest.mark.parametrize(
    ("kind", "entry", "code"),
    [
        pytest.param("INSERT", group(0, (1, 1)), INVALID, id="group-0"),
        pytest.param("INSERT", group(65536, (1, 1)), INVALID, id="group-too-high"),
        pytest.param("INSERT", group(9, (1, 1)), grpc.StatusCode.ALREADY_EXISTS, id="exists"),
        pytest.param("MODIFY", group(8, (1, 1)), grpc.StatusCode.NOT_FOUND, id="modify-missing"),
        pytest.param("DELETE", group(8), grpc.StatusCode.NOT_FOUND, id="delete-missing"),
        pytest.param("INSERT", group(1, (1, 1), (1, 1)), INVALID, id="duplicate"),
        pytest.param("INSERT", group(1, (1, 1), (b"\x01", 1)), INVALID, id="duplicate-forms"),
        pytest.param("INSERT", group(1, (512, 1)), INVALID, id="port-too-high"),
        pytest.param("INSERT", group(1, (b"\x02\x00", 1)), INVALID, id="port-bytes-too-high"),
        pytest.param("INSERT", group(1, (b"", 1)), INVALID, id="port-empty"),
        pytest.param("INSERT", group(1, (1, 65536)), INVALID, id="instance-too-high"),
        pytest.param(
            "INSERT",
            p4r.MulticastGroupEntry(multicast_group_id=1, replicas=[p4r.Replica(instance=1)]),
            INVALID,
            id="no-port",
        ),
        pytest.param(
            "INSERT",
            p4r.MulticastGroupEntry(
                multicast_group_id=1,
                replicas=[p4r.Replica(port=b"\x01", backup_replicas=[p4r.BackupReplica()])],
            ),
            grpc.StatusCode.UNIMPLEMENTED,
            id="backup-replica",
        ),
    ],
)
async def test_group_misuse_is_refused_and_changes_nothing(
    primary: Client, kind: str, entry: p4r.MulticastGroupEntry, code: grpc.StatusCode
) -> None:
    await primary.write(("INSERT", group(9, (4, 4))))
    got, _ = await primary.refused(kind, entry)
    assert got is code
    assert await groups(primary) == [group(9, (4, 4))]


async def test_group_missing_is_not_found_by_read(primary: Client) -> None:
    assert await primary.read_refused(group(3)) is grpc.StatusCode.NOT_FOUND


async def test_replication_entry_without_type_is_invalid(primary: Client) -> None:
    empty = p4r.PacketReplicationEngineEntry()
    assert (await primary.refused("INSERT", empty))[0] is INVALID
    assert await primary.read_refused(empty) is INVALID


async def test_group_reaches_the_data_plane(
    primary: Client, switch: Switch, data_plane: str
) -> None:
    await primary.write(("INSERT", group(1, (1, 0), (b"\x02", 7))))
    if data_plane == "fake":
        assert switch.fake.groups == {1: ((1, 0), (2, 7))}
