"""A small P4Runtime client for tests: real gRPC, plain messages, ids by name."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from softswitch.server.dataplane import DataPlane
from softswitch.server.links import Links
from softswitch.server.pb import p4i, p4r, p4r_grpc, rpc_status
from softswitch.server.service import P4RuntimeService
from softswitch.tests.fake_engine import FakeEngine

DATA = Path(__file__).parent / "data"
DEVICE = 7
CPU_PORT = 510
MAC = b"\x02\x00\x00\x00\x00"
"""First five bytes of the MAC addresses in use."""


def streams_config() -> p4r.ForwardingPipelineConfig:
    """The second test program: meters, selectors, digests, packets to and from the CPU port."""
    return _config("streams")


def _config(program: str) -> p4r.ForwardingPipelineConfig:
    info = text_format.Parse((DATA / f"{program}.p4info.txtpb").read_text(), p4i.P4Info())
    return p4r.ForwardingPipelineConfig(
        p4info=info, p4_device_config=(DATA / f"{program}.json").read_bytes()
    )


def contract_config(cookie: int | None = None) -> p4r.ForwardingPipelineConfig:
    """The test program as a pipeline push carries it."""
    config = _config("contract")
    if cookie is not None:
        config.cookie.cookie = cookie
    return config


def batch_errors(error: grpc.aio.AioRpcError) -> list[tuple[int, str]]:
    """Code and message of each p4.v1.Error of a failed batch; the overall code must be UNKNOWN."""
    assert error.code() is grpc.StatusCode.UNKNOWN, f"{error.code()}: {error.details()}"
    trailing: Any = error.trailing_metadata()
    details = dict(trailing)["grpc-status-details-bin"]
    status = rpc_status.Status.FromString(details)
    assert status.code == grpc.StatusCode.UNKNOWN.value[0]
    assert status.message == error.details()
    found = []
    for item in status.details:
        detail = p4r.Error()
        assert item.Unpack(detail)
        found.append((detail.canonical_code, detail.message))
    return found


@dataclass
class Names:
    """Ids of a P4Info by the last part of the object's name."""

    info: p4i.P4Info
    tables: dict[str, p4i.Table] = field(init=False)
    actions: dict[str, p4i.Action] = field(init=False)
    counters: dict[str, int] = field(init=False)
    meters: dict[str, int] = field(init=False)
    profiles: dict[str, int] = field(init=False)
    digests: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = {t.preamble.alias: t for t in self.info.tables}
        self.actions = {a.preamble.alias: a for a in self.info.actions}
        self.counters = {c.preamble.alias: c.preamble.id for c in self.info.counters}
        self.meters = {m.preamble.alias: m.preamble.id for m in self.info.meters}
        self.profiles = {p.preamble.alias: p.preamble.id for p in self.info.action_profiles}
        self.digests = {d.preamble.alias: d.preamble.id for d in self.info.digests}

    def action(self, name: str, params: dict[str, bytes]) -> p4r.Action:
        """An Action by names."""
        made = self.actions[name]
        action = p4r.Action(action_id=made.preamble.id)
        ids = {p.name: p.id for p in made.params}
        for param, data in params.items():
            action.params.add(param_id=ids[param], value=data)
        return action

    def entry(
        self,
        table: str,
        match: dict[str, p4r.FieldMatch] | None = None,
        action: tuple[str, dict[str, bytes]] | None = None,
        **fields: Any,
    ) -> p4r.TableEntry:
        """A TableEntry by names."""
        schema = self.tables[table]
        entry = p4r.TableEntry(table_id=schema.preamble.id, **fields)
        ids = {f.name: f.id for f in schema.match_fields}
        for name, value in (match or {}).items():
            value.field_id = ids[name]
            entry.match.append(value)
        if action is not None:
            entry.action.action.CopyFrom(self.action(*action))
        return entry


def exact(value: bytes) -> p4r.FieldMatch:
    return p4r.FieldMatch(exact=p4r.FieldMatch.Exact(value=value))


def ternary(value: bytes, mask: bytes) -> p4r.FieldMatch:
    return p4r.FieldMatch(ternary=p4r.FieldMatch.Ternary(value=value, mask=mask))


def lpm(value: bytes, prefix_len: int) -> p4r.FieldMatch:
    return p4r.FieldMatch(lpm=p4r.FieldMatch.LPM(value=value, prefix_len=prefix_len))


def uint128(value: int) -> p4r.Uint128:
    return p4r.Uint128(high=value >> 64, low=value & ((1 << 64) - 1))


class StreamClient:
    """One StreamChannel."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def arbitrate(
        self,
        election_id: int | None,
        *,
        role: str | None = None,
        device: int = DEVICE,
        config: Any = None,
    ) -> None:
        update = p4r.MasterArbitrationUpdate(device_id=device)
        if election_id is not None:
            update.election_id.CopyFrom(uint128(election_id))
        if role is not None:
            update.role.name = role
        if config is not None:
            update.role.config.Pack(config)
        await self.call.write(p4r.StreamMessageRequest(arbitration=update))

    async def next(self) -> p4r.StreamMessageResponse:
        """The next message; raises StreamEndedError when the server ended it with an error."""
        try:
            message = await self.call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamEndedError(error.code(), error.details() or "") from error
        assert isinstance(message, p4r.StreamMessageResponse)
        return message

    async def standing(self) -> tuple[int, int | None]:
        """Status code and election id of the next arbitration notification."""
        update = (await self.next()).arbitration
        election_id = None
        if update.HasField("election_id"):
            election_id = (update.election_id.high << 64) | update.election_id.low
        return update.status.code, election_id

    def close(self) -> None:
        self.call.cancel()


class StreamEndedError(Exception):
    """The server ended the stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code


class Client:
    """RPCs of one channel, as the primary with election id 1 unless told otherwise."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: Any = p4r_grpc.P4RuntimeStub(channel)
        self.names = Names(contract_config().p4info)
        self._streams: list[StreamClient] = []
        self.primary: StreamClient | None = None

    def use(self, config: p4r.ForwardingPipelineConfig) -> None:
        """Take ids from another program."""
        self.names = Names(config.p4info)

    def stream(self) -> StreamClient:
        stream = StreamClient(self.stub.StreamChannel(timeout=90))
        self._streams.append(stream)
        return stream

    async def become_primary(self, election_id: int = 1) -> StreamClient:
        stream = self.stream()
        await stream.arbitrate(election_id)
        assert await stream.standing() == (0, election_id)
        return stream

    async def write(
        self, *updates: tuple[str, Any], election_id: int | None = 1, **fields: Any
    ) -> None:
        """Write pairs of update type and entity message."""
        request = p4r.WriteRequest(**{"device_id": DEVICE, **fields})
        if election_id is not None:
            request.election_id.CopyFrom(uint128(election_id))
        for kind, message in updates:
            update = request.updates.add(type=p4r.Update.Type.Value(kind))
            put_entity(update.entity, message)
        await self.stub.Write(request, timeout=20)

    async def refused(self, kind: str, message: Any) -> tuple[grpc.StatusCode, str]:
        """Write one update that must fail; its own code and message."""
        try:
            await self.write((kind, message))
        except grpc.aio.AioRpcError as error:
            ((code, text),) = batch_errors(error)
            by_number = {status.value[0]: status for status in grpc.StatusCode}
            return by_number[code], text
        raise AssertionError(f"{kind} was accepted: {message}")

    async def read(
        self, *messages: Any, metadata: tuple[tuple[str, str], ...] = ()
    ) -> list[p4r.Entity]:
        request = p4r.ReadRequest(device_id=DEVICE)
        for message in messages:
            put_entity(request.entities.add(), message)
        found: list[p4r.Entity] = []
        async for response in self.stub.Read(request, timeout=20, metadata=metadata):
            found += response.entities
        return found

    async def read_refused(self, message: Any) -> grpc.StatusCode:
        """Read one entity that must fail; its own code."""
        try:
            await self.read(message)
        except grpc.aio.AioRpcError as error:
            ((code, _text),) = batch_errors(error)
            return {status.value[0]: status for status in grpc.StatusCode}[code]
        raise AssertionError(f"read was accepted: {message}")

    async def entries(self, **query: Any) -> list[p4r.TableEntry]:
        return [e.table_entry for e in await self.read(p4r.TableEntry(**query))]

    async def push(
        self,
        config: p4r.ForwardingPipelineConfig | None = None,
        action: str = "VERIFY_AND_COMMIT",
        *,
        election_id: int = 1,
        **fields: Any,
    ) -> None:
        request = p4r.SetForwardingPipelineConfigRequest(
            **{"device_id": DEVICE, **fields},
            election_id=uint128(election_id),
            action=p4r.SetForwardingPipelineConfigRequest.Action.Value(action),
        )
        if config is not None:
            request.config.CopyFrom(config)
        await self.stub.SetForwardingPipelineConfig(request, timeout=60)


def put_entity(entity: p4r.Entity, message: Any) -> None:
    """Set the member of an Entity that has this message's type."""
    if isinstance(message, p4r.MulticastGroupEntry):
        entity.packet_replication_engine_entry.multicast_group_entry.CopyFrom(message)
        return
    if isinstance(message, p4r.CloneSessionEntry):
        entity.packet_replication_engine_entry.clone_session_entry.CopyFrom(message)
        return
    for item in p4r.Entity.DESCRIPTOR.fields:
        if item.message_type is not None and item.message_type == message.DESCRIPTOR:
            getattr(entity, item.name).CopyFrom(message)
            return
    raise AssertionError(f"no entity for {type(message)}")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client; its trailing metadata limit is gRPC's default, as with an unknown client."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Client(channel)


def exact_entry(
    client: Client, number: int, port: bytes = b"\x05", **fields: Any
) -> p4r.TableEntry:
    return client.names.entry(
        "exact_table",
        {"dst": exact(MAC + bytes([number])), "port": exact(b"\x01")},
        ("forward", {"port": port}),
        **fields,
    )


def acl_entry(
    client: Client, priority: int, value: bytes = b"\x0a", **fields: Any
) -> p4r.TableEntry:
    return client.names.entry(
        "acl_table",
        {"label": exact(b"\x03"), "src": ternary(MAC + b"\x09", b"\xff" * 6)},
        ("label", {"value": value, "index": b"\x01"}),
        priority=priority,
        **fields,
    )


def lpm_entry(client: Client, value: bytes, length: int) -> p4r.TableEntry:
    return client.names.entry(
        "lpm_table", {"address": lpm(value, length)}, ("forward", {"port": b"\x01"})
    )


def key_of(entry: p4r.TableEntry) -> p4r.TableEntry:
    return p4r.TableEntry(table_id=entry.table_id, match=entry.match, priority=entry.priority)


@dataclass
class Switch:
    """A service under test, its address and the data planes that it built, oldest first.

    Clear `may_build` to hold the next build until it is set.
    """

    service: P4RuntimeService
    address: str
    links: Links
    built: list[DataPlane] = field(default_factory=list)
    may_build: threading.Event = field(default_factory=threading.Event)
    building: threading.Event = field(default_factory=threading.Event)

    @property
    def fake(self) -> FakeEngine:
        """The newest data plane, which must be the fake."""
        newest = self.built[-1]
        assert isinstance(newest, FakeEngine)
        return newest
