"""RECONCILE_AND_COMMIT: the forwarding state survives, or the new pipeline is refused."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from softswitch.server.pb import p4i, p4r
from softswitch.tests.p4client import (
    Client,
    acl_entry,
    contract_config,
    exact_entry,
    key_of,
    lpm_entry,
    streams_config,
)
from softswitch.tests.test_server_atomicity import (
    clone,
    everything,
    group,
    group_entry,
    member,
    one_shot,
    route,
)

Config = p4r.ForwardingPipelineConfig


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def renamed(config: Config, old: str, new: str) -> Config:
    """The program with another name for something."""
    made = Config()
    made.p4_device_config = config.p4_device_config.replace(old.encode(), new.encode())
    text = text_format.MessageToString(config.p4info).replace(old, new)
    text_format.Parse(text, made.p4info)
    return made


def edited(config: Config, edit: Any) -> Config:
    """The program after `edit(p4info, json)`."""
    made = Config()
    made.CopyFrom(config)
    document = json.loads(config.p4_device_config)
    edit(made.p4info, document)
    made.p4_device_config = json.dumps(document).encode()
    return made


def larger_lpm_table(info: p4i.P4Info, document: Any) -> None:
    for table in info.tables:
        if table.preamble.alias == "lpm_table":
            table.size = 100
    for table in document["pipelines"][0]["tables"]:
        if table["name"].endswith("lpm_table"):
            table["max_size"] = 100


def smaller_exact_table(info: p4i.P4Info, document: Any) -> None:
    for table in info.tables:
        if table.preamble.alias == "exact_table":
            table.size = 1


async def refused(client: Client, config: Config) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.push(config, "RECONCILE_AND_COMMIT")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.details() or ""


async def fill(client: Client) -> None:
    cell = p4r.CounterEntry(counter_id=client.names.counters["cells"])
    cell.index.index = 3
    cell.data.packet_count = 7
    cell.data.byte_count = 700
    default = client.names.entry(
        "acl_table", action=("label", {"value": b"\x01", "index": b"\x02"}), is_default_action=True
    )
    counted = p4r.CounterData(packet_count=5, byte_count=6)
    await client.write(
        ("INSERT", exact_entry(client, 1, metadata=b"m", counter_data=counted)),
        ("INSERT", exact_entry(client, 2)),
        ("INSERT", acl_entry(client, 7)),
        ("INSERT", lpm_entry(client, b"\x0a\x00\x00\x00", 8)),
        ("MODIFY", default),
        ("MODIFY", cell),
        ("INSERT", group_entry(1, b"\x01\x02")),
        ("INSERT", clone(1, b"\x01")),
    )


async def test_reconcile_with_another_program_keeps_everything(primary: Client) -> None:
    await fill(primary)
    before = await everything(primary)
    await primary.push(edited(contract_config(), larger_lpm_table), "RECONCILE_AND_COMMIT")
    assert await everything(primary) == before
    more = [lpm_entry(primary, bytes([11, i, 0, 0]), 16) for i in range(8)]
    await primary.write(*[("INSERT", entry) for entry in more])  # the new size is in force
    await primary.write(("DELETE", key_of(exact_entry(primary, 1))))


async def test_reconcile_keeps_profiles_meters_and_digests(streaming: Client) -> None:
    rates = p4r.MeterEntry(meter_id=streaming.names.meters["packet_rates"])
    rates.index.index = 1
    rates.config.CopyFrom(p4r.MeterConfig(cir=5, cburst=6, pir=7, pburst=8))
    await streaming.write(
        *[("INSERT", member(streaming, i, bytes([i]))) for i in (2, 1, 3)],
        ("INSERT", group(streaming, 1, {2: 1, 3: 3})),
        ("INSERT", route(streaming, 1, group=1)),
        ("INSERT", route(streaming, 2, member=1)),
        ("MODIFY", rates),
        ("INSERT", p4r.DigestEntry(digest_id=streaming.names.digests["learn_t"])),
    )
    before = await everything(streaming)
    config = renamed(streams_config(), "StreamsIngress.byte_rates", "StreamsIngress.other")
    await streaming.push(config, "RECONCILE_AND_COMMIT")
    assert await everything(streaming) == before
    await streaming.write(("DELETE", key_of(route(streaming, 1))))
    await streaming.write(("DELETE", group(streaming, 1, {})))


async def test_reconcile_keeps_one_shot_sets(streaming: Client) -> None:
    await streaming.write(("INSERT", one_shot(streaming, 1, b"\x01\x02")))
    before = await everything(streaming)
    config = renamed(streams_config(), "StreamsIngress.byte_rates", "StreamsIngress.other")
    await streaming.push(config, "RECONCILE_AND_COMMIT")
    assert await everything(streaming) == before
    await streaming.write(("DELETE", key_of(one_shot(streaming, 1, b""))))


async def test_reconcile_refuses_what_would_lose_entries_and_keeps_the_old(
    primary: Client,
) -> None:
    await fill(primary)
    before = await everything(primary)
    gone = renamed(contract_config(), "ContractIngress.lpm_table", "ContractIngress.other_table")
    text = await refused(primary, gone)
    assert "ContractIngress.lpm_table" in text
    text = await refused(primary, edited(contract_config(), smaller_exact_table))
    assert "ContractIngress.exact_table" in text
    text = await refused(
        primary, renamed(contract_config(), "ContractIngress.forward", "ContractIngress.foreward")
    )
    assert "ContractIngress.forward" in text
    assert await everything(primary) == before
    await primary.write(("DELETE", key_of(lpm_entry(primary, b"\x0a\x00\x00\x00", 8))))
    await primary.push(gone, "RECONCILE_AND_COMMIT")  # the table that goes is empty now
    assert [e.table_entry for e in await primary.read(exact_entry(primary, 2))] == [
        exact_entry(primary, 2)
    ]


async def test_reconcile_refuses_to_lose_a_meter_or_a_member(streaming: Client) -> None:
    rates = p4r.MeterEntry(meter_id=streaming.names.meters["byte_rates"])
    rates.index.index = 1
    rates.config.CopyFrom(p4r.MeterConfig(cir=5, cburst=6, pir=7, pburst=8))
    await streaming.write(("MODIFY", rates), ("INSERT", member(streaming, 1, b"\x01")))
    renamed_meter = renamed(streams_config(), "StreamsIngress.byte_rates", "StreamsIngress.other")
    assert "byte_rates" in await refused(streaming, renamed_meter)
    renamed_profile = renamed(streams_config(), "StreamsIngress.ecmp", "StreamsIngress.wcmp")
    assert "StreamsIngress.ecmp" in await refused(streaming, renamed_profile)
    renamed_action = renamed(streams_config(), "send_to", "send_out_of")
    assert "send_to" in await refused(streaming, renamed_action)
