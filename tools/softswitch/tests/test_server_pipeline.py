"""Set- and GetForwardingPipelineConfig."""

from __future__ import annotations

import grpc
import pytest
from softswitch.server.pb import p4r
from softswitch.tests.p4client import DEVICE, Client, Switch, contract_config, exact_entry, uint128

Get = p4r.GetForwardingPipelineConfigRequest
Set = p4r.SetForwardingPipelineConfigRequest


async def get(client: Client, kind: str = "ALL") -> p4r.GetForwardingPipelineConfigResponse:
    request = Get(device_id=DEVICE, response_type=Get.ResponseType.Value(kind))
    response = await client.stub.GetForwardingPipelineConfig(request)
    assert isinstance(response, p4r.GetForwardingPipelineConfigResponse)
    return response


async def refused(
    client: Client, config: p4r.ForwardingPipelineConfig | None, action: str
) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.push(config, action)
    return caught.value.code(), caught.value.details() or ""


async def test_get_pipeline_before_any_push_is_unset(client: Client) -> None:
    assert not (await get(client)).HasField("config")


@pytest.mark.parametrize(
    ("kind", "info", "device"),
    [
        ("ALL", True, True),
        ("COOKIE_ONLY", False, False),
        ("P4INFO_AND_COOKIE", True, False),
        ("DEVICE_CONFIG_AND_COOKIE", False, True),
    ],
)
async def test_get_pipeline_returns_the_parts_asked_for(
    primary: Client, kind: str, info: bool, device: bool
) -> None:
    held, expected = (await get(primary, kind)).config, contract_config(cookie=42)
    assert held.cookie.cookie == 42
    assert (held.p4info == expected.p4info) is info
    assert held.HasField("p4info") is info
    assert held.p4_device_config == (expected.p4_device_config if device else b"")


async def test_get_pipeline_without_cookie_has_no_cookie(client: Client) -> None:
    await client.become_primary()
    await client.push(contract_config())
    assert not (await get(client)).config.HasField("cookie")


async def test_get_pipeline_of_an_unknown_device_is_not_found(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.stub.GetForwardingPipelineConfig(Get(device_id=1))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("election_id", [0, 2])
async def test_set_pipeline_by_another_than_the_primary_is_denied(
    client: Client, election_id: int
) -> None:
    await client.become_primary()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.push(contract_config(), election_id=election_id)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_verify_changes_nothing_and_frees_its_engine(client: Client, switch: Switch) -> None:
    await client.become_primary()
    await client.push(contract_config(), "VERIFY")
    assert not (await get(client)).HasField("config")
    assert switch.fake.closed


async def test_verify_and_commit_empties_the_forwarding_state(
    primary: Client, switch: Switch
) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1)))
    old = switch.fake
    await primary.push(contract_config(cookie=43))
    assert await primary.entries(table_id=exact_entry(primary, 1).table_id) == []
    assert (await get(primary)).config.cookie.cookie == 43
    assert old.closed
    assert switch.fake.running


async def test_save_then_commit_replays_what_was_written_between(
    primary: Client, switch: Switch
) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1)))
    old = switch.fake
    await primary.push(contract_config(cookie=43), "VERIFY_AND_SAVE")
    assert old.running
    assert not switch.fake.running
    assert (await get(primary)).config.cookie.cookie == 42
    await primary.write(("INSERT", exact_entry(primary, 2)))  # refers to the saved one
    assert len(await primary.entries(table_id=exact_entry(primary, 1).table_id)) == 1
    await primary.push(None, "COMMIT")
    assert old.closed
    assert switch.fake.running
    assert (await get(primary)).config.cookie.cookie == 43
    assert await primary.entries(table_id=exact_entry(primary, 1).table_id) == [
        exact_entry(primary, 2)
    ]


async def test_save_twice_frees_the_first(primary: Client, switch: Switch) -> None:
    await primary.push(contract_config(), "VERIFY_AND_SAVE")
    first = switch.fake
    await primary.push(contract_config(), "VERIFY_AND_SAVE")
    assert first.closed
    assert not switch.fake.closed


async def test_reconcile_with_the_same_config_keeps_the_state(primary: Client) -> None:
    await primary.write(("INSERT", exact_entry(primary, 1)))
    await primary.push(contract_config(cookie=44), "RECONCILE_AND_COMMIT")
    assert (await get(primary)).config.cookie.cookie == 44
    assert len(await primary.entries(table_id=exact_entry(primary, 1).table_id)) == 1


async def test_reconcile_without_a_pipeline_commits(client: Client) -> None:
    await client.become_primary()
    await client.push(contract_config(cookie=1), "RECONCILE_AND_COMMIT")
    assert (await get(client)).config.cookie.cookie == 1


def _no_info() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.ClearField("p4info")
    return config


def _device_config(data: bytes) -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.p4_device_config = data
    return config


def _renamed_table() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.p4info.tables[0].preamble.name = "Other.table"
    return config


def _other_size() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.p4info.counters[0].size = 17
    return config


def _other_key() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    del config.p4info.tables[0].match_fields[1]
    return config


def _same_id() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.p4info.tables[1].preamble.id = config.p4info.tables[0].preamble.id
    return config


def _unknown_action() -> p4r.ForwardingPipelineConfig:
    config = contract_config()
    config.p4info.tables[0].action_refs[0].id = 12345
    return config


@pytest.mark.parametrize(
    ("config", "action", "code", "words"),
    [
        (None, "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "no config"),
        (None, "VERIFY_AND_SAVE", grpc.StatusCode.INVALID_ARGUMENT, "no config"),
        (None, "VERIFY_AND_COMMIT", grpc.StatusCode.INVALID_ARGUMENT, "no config"),
        (None, "RECONCILE_AND_COMMIT", grpc.StatusCode.INVALID_ARGUMENT, "no config"),
        (None, "UNSPECIFIED", grpc.StatusCode.INVALID_ARGUMENT, "action"),
        (None, "COMMIT", grpc.StatusCode.NOT_FOUND, "VERIFY_AND_SAVE"),
        (contract_config(), "COMMIT", grpc.StatusCode.INVALID_ARGUMENT, "no config"),
        (_no_info(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "p4info"),
        (_device_config(b""), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        (_device_config(b"{"), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        (_device_config(b"[1]"), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        (_device_config(b"{}"), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        (_renamed_table(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "Other.table"),
        (_other_size(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "size 17"),
        (_other_key(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "exact_table"),
        (_same_id(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "share id"),
        (_unknown_action(), "VERIFY", grpc.StatusCode.INVALID_ARGUMENT, "0x3039"),
    ],
)
async def test_set_pipeline_refused_keeps_the_old_one(
    primary: Client,
    config: p4r.ForwardingPipelineConfig | None,
    action: str,
    code: grpc.StatusCode,
    words: str,
) -> None:
    got, text = await refused(primary, config, action)
    assert got is code
    assert words in text
    assert (await get(primary)).config.cookie.cookie == 42
    await primary.write(("INSERT", exact_entry(primary, 1)))


async def test_set_pipeline_for_an_unknown_device_is_not_found(primary: Client) -> None:
    request = Set(device_id=99, election_id=uint128(1), action=Set.VERIFY, config=contract_config())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.stub.SetForwardingPipelineConfig(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
