"""MeterEntry: what is written is read back, reset, refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from softswitch.engine import MeterConfig
from softswitch.server.pb import p4i, p4r
from softswitch.tests.p4client import Client, Switch, streams_config

RATES = {"cir": 1000, "cburst": 100, "pir": 2000, "pburst": 200}
CONFIG = p4r.MeterConfig(**RATES)
METER = "StreamsIngress.byte_rates"


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def meter(client: Client, index: int | None, config: p4r.MeterConfig | None = None) -> Any:
    entry = p4r.MeterEntry(meter_id=client.names.meters["byte_rates"], config=config)
    if index is not None:
        entry.index.index = index
    return entry


async def configs(client: Client) -> dict[int, p4r.MeterConfig]:
    read = [e.meter_entry for e in await client.read(meter(client, None))]
    assert [entry.index.index for entry in read] == list(range(16))
    return {entry.index.index: entry.config for entry in read if entry.HasField("config")}


async def test_meter_of_a_new_pipeline_has_no_configuration(streaming: Client) -> None:
    assert await configs(streaming) == {}


async def test_meter_configuration_is_read_back(streaming: Client) -> None:
    await streaming.write(("MODIFY", meter(streaming, 3, CONFIG)))
    (entity,) = await streaming.read(meter(streaming, 3))
    assert entity.meter_entry == meter(streaming, 3, CONFIG)
    assert await configs(streaming) == {3: CONFIG}


async def test_meter_without_configuration_is_reset(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    await streaming.write(("MODIFY", meter(streaming, 3, CONFIG)))
    await streaming.write(("MODIFY", meter(streaming, 4, CONFIG)))
    await streaming.write(("MODIFY", meter(streaming, 3)))
    assert await configs(streaming) == {4: CONFIG}
    if data_plane == "fake":
        cells = switch.fake.meters[METER]
        assert [cell is not None for cell in cells] == [index == 4 for index in range(16)]


async def test_meter_without_index_is_all_cells(streaming: Client) -> None:
    await streaming.write(("MODIFY", meter(streaming, None, CONFIG)))
    assert await configs(streaming) == dict.fromkeys(range(16), CONFIG)
    await streaming.write(("MODIFY", meter(streaming, None)))
    assert await configs(streaming) == {}


async def test_meter_id_zero_reads_every_meter(streaming: Client) -> None:
    read = [e.meter_entry for e in await streaming.read(p4r.MeterEntry())]
    ids = streaming.names.meters
    assert sorted({e.meter_id for e in read}) == sorted(ids.values())
    assert len(read) == 16 + 8


async def test_meter_configuration_of_zeros_is_one(streaming: Client) -> None:
    await streaming.write(("MODIFY", meter(streaming, 0, p4r.MeterConfig())))
    assert await configs(streaming) == {0: p4r.MeterConfig()}


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        pytest.param("INSERT", {}, grpc.StatusCode.INVALID_ARGUMENT, id="insert"),
        pytest.param("DELETE", {}, grpc.StatusCode.INVALID_ARGUMENT, id="delete"),
        pytest.param("MODIFY", {"cir": -1}, grpc.StatusCode.INVALID_ARGUMENT, id="negative"),
        pytest.param("MODIFY", {"cir": 2001}, grpc.StatusCode.INVALID_ARGUMENT, id="cir-above-pir"),
        pytest.param("MODIFY", {"eburst": 1}, grpc.StatusCode.INVALID_ARGUMENT, id="eburst"),
        pytest.param("MODIFY", {"pburst": 1 << 32}, grpc.StatusCode.UNIMPLEMENTED, id="big-burst"),
    ],
)
async def test_meter_write_is_refused(
    streaming: Client, kind: str, change: dict[str, int], code: grpc.StatusCode
) -> None:
    config = p4r.MeterConfig(**{**RATES, **change})
    assert (await streaming.refused(kind, meter(streaming, 1, config)))[0] is code
    assert await configs(streaming) == {}


@pytest.mark.parametrize(
    ("index", "code"),
    [(-1, grpc.StatusCode.INVALID_ARGUMENT), (16, grpc.StatusCode.OUT_OF_RANGE)],
)
async def test_meter_index_outside_the_array_is_refused(
    streaming: Client, index: int, code: grpc.StatusCode
) -> None:
    assert (await streaming.refused("MODIFY", meter(streaming, index, CONFIG)))[0] is code
    assert await streaming.read_refused(meter(streaming, index)) is code


async def test_meter_unknown_id_is_refused(streaming: Client) -> None:
    unknown = p4r.MeterEntry(meter_id=77)
    assert (await streaming.refused("MODIFY", unknown))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert await streaming.read_refused(unknown) is grpc.StatusCode.INVALID_ARGUMENT


async def test_meter_counts_of_colors_are_read_and_cleared(
    streaming: Client, switch: Switch
) -> None:
    name = next(m.preamble.name for m in streaming.names.info.meters)
    counts = ((1, 60), (2, 120), (3, 180))
    switch.built[-1].set_meter_counts(name, 1, counts)
    asked = p4r.MeterEntry(meter_id=streaming.names.info.meters[0].preamble.id)
    asked.index.index = 1
    (unasked,) = await streaming.read(asked)
    assert not unasked.meter_entry.HasField("counter_data")
    asked.counter_data.SetInParent()
    (found,) = await streaming.read(asked)
    data = found.meter_entry.counter_data
    assert [(c.packet_count, c.byte_count) for c in (data.green, data.yellow, data.red)] == [
        *counts
    ]
    asked.counter_data.green.packet_count = 1
    assert (await streaming.refused("MODIFY", asked))[0] is grpc.StatusCode.INVALID_ARGUMENT
    asked.counter_data.Clear()
    asked.counter_data.SetInParent()
    await streaming.write(("MODIFY", asked))
    (found,) = await streaming.read(asked)
    assert found.meter_entry.counter_data.red.packet_count == 0


async def test_meter_of_one_rate_takes_equal_rates_only(client: Client, switch: Switch) -> None:
    config = streams_config()
    config.p4info.meters[0].spec.type = p4i.MeterSpec.SINGLE_RATE_TWO_COLOR
    client.use(config)
    await client.become_primary()
    await client.push(config)
    entry = p4r.MeterEntry(meter_id=config.p4info.meters[0].preamble.id, config=CONFIG)
    assert (await client.refused("MODIFY", entry))[0] is grpc.StatusCode.INVALID_ARGUMENT
    entry.config.CopyFrom(p4r.MeterConfig(cir=5, cburst=6, pir=5, pburst=6))
    await client.write(("MODIFY", entry))


async def test_meter_reaches_the_data_plane_and_a_new_pipeline_has_none(
    streaming: Client, switch: Switch, data_plane: str
) -> None:
    await streaming.write(("MODIFY", meter(streaming, 3, CONFIG)))
    if data_plane == "fake":
        assert switch.fake.meters[METER][3] == MeterConfig(**RATES)
    else:
        assert switch.built[-1].meter_get(METER, 3) == MeterConfig(**RATES)  # type: ignore[attr-defined]
    await streaming.push(streams_config())
    assert await configs(streaming) == {}
