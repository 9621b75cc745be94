"""RegisterEntry, DirectMeterEntry and what TableEntry carries of direct meters."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from softswitch.server.pb import p4i, p4r
from softswitch.tests.p4client import Client, Switch, exact, key_of, streams_config
from softswitch.tests.test_engine_state import array, metered
from softswitch.tests.test_server_atomicity import fails, member, route
from softswitch.tests.test_server_reconcile import edited

CONFIG = p4r.MeterConfig(cir=5, cburst=6, pir=7, pburst=8)
OTHER = p4r.MeterConfig(cir=1, cburst=1, pir=1, pburst=1)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
NOT_FOUND = grpc.StatusCode.NOT_FOUND
TABLE, METER, REGISTER = 0x2000001, 0x15000001, 0x16000001
ACTIONS = ("send", "nop", "show")


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config() -> p4r.ForwardingPipelineConfig:
    """A table with a direct meter, and registers of 20 bits."""
    program = metered()
    program.extra["register_arrays"] = [array("cells", 5, 20)]
    info = p4i.P4Info()
    for number, name in enumerate(ACTIONS):
        info.actions.add().preamble.CopyFrom(
            p4i.Preamble(id=0x1000001 + number, name=name, alias=name)
        )
    table = info.tables.add(size=4, direct_resource_ids=[METER])
    table.preamble.CopyFrom(p4i.Preamble(id=TABLE, name="t", alias="t"))
    table.match_fields.add(id=1, name="key", bitwidth=8, match_type=p4i.MatchField.EXACT)
    for number in (2, 0):
        table.action_refs.add(id=0x1000001 + number)
    meter = info.direct_meters.add(direct_table_id=TABLE)
    meter.preamble.CopyFrom(p4i.Preamble(id=METER, name="rates", alias="rates"))
    register = info.registers.add(size=5)
    register.preamble.CopyFrom(p4i.Preamble(id=REGISTER, name="cells", alias="cells"))
    register.type_spec.bitstring.bit.bitwidth = 20
    return p4r.ForwardingPipelineConfig(p4info=info, p4_device_config=program.encode())


@pytest.fixture
async def stateful(client: Client) -> Client:
    client.use(config())
    await client.become_primary()
    await client.push(config())
    return client


def cell(index: int | None, value: bytes | None = None) -> p4r.RegisterEntry:
    entry = p4r.RegisterEntry(register_id=REGISTER)
    if index is not None:
        entry.index.index = index
    if value is not None:
        entry.data.bitstring = value
    return entry


def entry(client: Client, key: int, meter: p4r.MeterConfig | None = None) -> p4r.TableEntry:
    made = client.names.entry("t", {"key": exact(bytes([key]))}, ("show", {}))
    if meter is not None:
        made.meter_config.CopyFrom(meter)
    return made


async def values(client: Client, query: p4r.RegisterEntry) -> list[tuple[int, bytes]]:
    found = [e.register_entry for e in await client.read(query)]
    assert all(one.register_id == REGISTER for one in found)
    return [(one.index.index, one.data.bitstring) for one in found]


# --- registers ------------------------------------------------------------------------------------


async def test_register_reads_as_written_in_canonical_form(stateful: Client) -> None:
    assert await values(stateful, cell(3)) == [(3, b"\x00")]
    await stateful.write(("MODIFY", cell(3, b"\x00\x0f\xff\xff")), ("MODIFY", cell(0, b"\x00\x07")))
    everything = [(0, b"\x07"), (1, b"\x00"), (2, b"\x00"), (3, b"\x0f\xff\xff"), (4, b"\x00")]
    assert await values(stateful, cell(None)) == everything
    assert await values(stateful, p4r.RegisterEntry()) == everything
    assert await values(stateful, cell(3)) == [(3, b"\x0f\xff\xff")]


async def test_register_without_index_sets_all_cells(stateful: Client) -> None:
    await stateful.write(("MODIFY", cell(None, b"\x05")))
    assert [value for _, value in await values(stateful, cell(None))] == [b"\x05"] * 5


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("INSERT", cell(1, b"\x01"), INVALID),
        ("DELETE", cell(1, b"\x01"), INVALID),
        ("MODIFY", cell(1), INVALID),
        ("MODIFY", cell(1, b""), INVALID),
        ("MODIFY", cell(1, b"\x10\x00\x00"), INVALID),
        ("MODIFY", cell(-1, b"\x01"), INVALID),
        ("MODIFY", cell(5, b"\x01"), OUT_OF_RANGE),
        ("MODIFY", p4r.RegisterEntry(register_id=9), INVALID),
    ],
)
async def test_register_write_refused(
    stateful: Client, kind: str, message: p4r.RegisterEntry, code: grpc.StatusCode
) -> None:
    await stateful.write(("MODIFY", cell(1, b"\x09")))
    assert (await stateful.refused(kind, message))[0] is code
    assert await values(stateful, cell(1)) == [(1, b"\x09")]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (cell(5), OUT_OF_RANGE),
        (cell(-1), INVALID),
        (p4r.RegisterEntry(register_id=9), INVALID),
        (p4r.RegisterEntry(index=p4r.Index(index=1)), INVALID),
    ],
)
async def test_register_read_refused(
    stateful: Client, query: p4r.RegisterEntry, code: grpc.StatusCode
) -> None:
    assert await stateful.read_refused(query) is code


# --- direct meters --------------------------------------------------------------------------------


async def meter_of(client: Client, key: int) -> p4r.MeterConfig | None:
    asked = entry(client, key)
    asked.meter_config.SetInParent()
    (found,) = await client.read(asked)
    held = found.table_entry
    return held.meter_config if held.HasField("meter_config") else None


async def test_direct_meter_goes_with_its_entry_and_reads_when_asked_for(stateful: Client) -> None:
    await stateful.write(("INSERT", entry(stateful, 1, CONFIG)), ("INSERT", entry(stateful, 2)))
    assert await meter_of(stateful, 1) == CONFIG
    assert await meter_of(stateful, 2) is None
    unasked = await stateful.entries(table_id=TABLE)
    assert unasked == [entry(stateful, 1), entry(stateful, 2)]
    await stateful.write(("MODIFY", entry(stateful, 2, OTHER)))
    assert await meter_of(stateful, 2) == OTHER
    await stateful.write(("MODIFY", entry(stateful, 1)))  # unset: the default again
    assert await meter_of(stateful, 1) is None
    await stateful.write(("DELETE", key_of(entry(stateful, 2))), ("INSERT", entry(stateful, 2)))
    assert await meter_of(stateful, 2) is None


def direct(table_entry: p4r.TableEntry, meter: p4r.MeterConfig | None) -> p4r.DirectMeterEntry:
    made = p4r.DirectMeterEntry(table_entry=table_entry)
    if meter is not None:
        made.config.CopyFrom(meter)
    return made


async def test_direct_meter_entry_reads_as_written(stateful: Client, switch: Switch) -> None:
    a, b = key_of(entry(stateful, 1)), key_of(entry(stateful, 2))
    await stateful.write(("INSERT", entry(stateful, 1)), ("INSERT", entry(stateful, 2)))
    await stateful.write(("MODIFY", direct(a, CONFIG)))
    both = [direct(a, CONFIG), direct(b, None)]
    for query in (direct(p4r.TableEntry(table_id=TABLE), None), p4r.DirectMeterEntry()):
        if not query.HasField("table_entry"):
            query.table_entry.SetInParent()
        assert [e.direct_meter_entry for e in await stateful.read(query)] == both
    assert [e.direct_meter_entry for e in await stateful.read(direct(a, None))] == both[:1]
    assert await meter_of(stateful, 1) == CONFIG
    await stateful.write(("MODIFY", direct(a, None)))
    assert await meter_of(stateful, 1) is None


async def test_direct_meter_counts_of_colors_are_read_and_cleared(
    stateful: Client, switch: Switch, data_plane: str
) -> None:
    await stateful.write(("INSERT", entry(stateful, 1)))
    if data_plane == "fake":
        ((handle, _),) = switch.fake.tables["t"].entries.items()
        switch.fake.set_direct_meter_counts("t", handle, ((1, 2), (3, 4), (5, 6)))
    asked = direct(key_of(entry(stateful, 1)), None)
    asked.counter_data.SetInParent()
    (found,) = await stateful.read(asked)
    data = found.direct_meter_entry.counter_data
    expected = 5 if data_plane == "fake" else 0
    assert found.direct_meter_entry.HasField("counter_data")
    assert data.red.packet_count == expected
    with_counts = entry(stateful, 1)
    with_counts.meter_counter_data.SetInParent()
    (read,) = await stateful.read(with_counts)
    assert read.table_entry.meter_counter_data.red.packet_count == expected
    await stateful.write(("MODIFY", with_counts))
    (found,) = await stateful.read(asked)
    assert found.direct_meter_entry.counter_data.red.packet_count == 0
    with_counts.meter_counter_data.green.byte_count = 1
    assert (await stateful.refused("MODIFY", with_counts))[0] is INVALID
    asked.counter_data.yellow.byte_count = 1
    assert (await stateful.refused("MODIFY", asked))[0] is INVALID


@pytest.mark.parametrize("kind", ["INSERT", "DELETE"])
async def test_direct_meter_entry_can_only_be_modified(stateful: Client, kind: str) -> None:
    await stateful.write(("INSERT", entry(stateful, 1)))
    message = direct(key_of(entry(stateful, 1)), CONFIG)
    assert (await stateful.refused(kind, message))[0] is INVALID


async def test_direct_meter_refused(stateful: Client) -> None:
    missing = direct(key_of(entry(stateful, 9)), CONFIG)
    assert (await stateful.refused("MODIFY", missing))[0] is NOT_FOUND
    assert await stateful.read_refused(missing) is NOT_FOUND
    bad = p4r.MeterConfig(cir=9, cburst=1, pir=1, pburst=1)
    assert (await stateful.refused("INSERT", entry(stateful, 1, bad)))[0] is INVALID
    assert await stateful.entries(table_id=TABLE) == []
    await stateful.write(("INSERT", entry(stateful, 1, CONFIG)))
    assert (await stateful.refused("MODIFY", entry(stateful, 1, bad)))[0] is INVALID
    assert await meter_of(stateful, 1) == CONFIG
    unknown = direct(p4r.TableEntry(table_id=7), CONFIG)
    assert (await stateful.refused("MODIFY", unknown))[0] is INVALID


async def test_direct_meter_and_registers_come_back_after_a_failed_batch(stateful: Client) -> None:
    await stateful.write(("INSERT", entry(stateful, 1, CONFIG)), ("MODIFY", cell(2, b"\x07")))
    key = key_of(entry(stateful, 1))
    await fails(
        stateful,
        p4r.WriteRequest.DATAPLANE_ATOMIC,
        ("MODIFY", cell(None, b"\x01")),
        ("MODIFY", direct(key, OTHER)),
        ("MODIFY", entry(stateful, 1)),
        ("DELETE", key),
        ("DELETE", key),
    )
    assert await meter_of(stateful, 1) == CONFIG
    assert await values(stateful, cell(2)) == [(2, b"\x07")]


async def test_direct_meter_and_registers_survive_reconciliation(stateful: Client) -> None:
    await stateful.write(("INSERT", entry(stateful, 1, CONFIG)), ("MODIFY", cell(2, b"\x07")))
    larger = config()
    larger.p4info.tables[0].size = 3
    await stateful.push(larger, "RECONCILE_AND_COMMIT")
    assert await meter_of(stateful, 1) == CONFIG
    assert await values(stateful, cell(2)) == [(2, b"\x07")]


# --- idle timeouts where the actions are in a profile ---------------------------------------------


async def test_idle_timeout_of_an_entry_with_an_action_profile(
    client: Client, switch: Switch, data_plane: str
) -> None:
    aged = edited(streams_config(), routes_that_age)
    client.use(aged)
    await client.become_primary()
    await client.push(aged)
    first = route(client, 1, member=1)
    first.idle_timeout_ns = 5_000_000_000
    await client.write(("INSERT", member(client, 1, b"\x01")), ("INSERT", first))
    assert await client.entries(table_id=first.table_id) == [first]
    if data_plane == "fake":
        name = (
            "StreamsIngress.routes" if "StreamsIngress.routes" in switch.fake.tables else "routes"
        )
        ((_, held),) = switch.fake.tables[name].entries.items()
        assert held.idle_timeout_ms == 5000
        first.idle_timeout_ns = 7_000_000_000
        await client.write(("MODIFY", first))
        assert held.idle_timeout_ms == 7000
    await client.write(("DELETE", key_of(first)))


def routes_that_age(info: p4i.P4Info, document: Any) -> None:
    for table in info.tables:
        if table.preamble.alias == "routes":
            table.idle_timeout_behavior = p4i.Table.NOTIFY_CONTROL
    for pipeline in document["pipelines"]:
        for row in pipeline["tables"]:
            if row["name"].endswith("routes"):
                row["support_timeout"] = True
