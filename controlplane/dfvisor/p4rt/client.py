"""One connection to a P4Runtime server (a switch or a slicer): stream, writes, reads, pipeline.

A thin shell over grpc.aio. It does not reconnect: when `wait_lost` returns, the caller makes
another client. Every call has a time limit. Errors are those of `errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from dfvisor.p4rt import onstream
from dfvisor.p4rt.counters import CounterReader
from dfvisor.p4rt.entries import (
    CloneSession,
    DigestSubscription,
    Item,
    Meter,
    MulticastGroup,
    TableEntry,
)
from dfvisor.p4rt.errors import (
    Failure,
    NotPrimary,
    RpcFailed,
    SchemaError,
    SwitchUnavailable,
    WriteError,
)
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import DecodeError, p4r, p4r_grpc, rpc_status
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.p4rt.replication import decode_replication
from dfvisor.p4rt.streamed import (
    DigestList,
    PacketOut,
    StreamEvent,
    decode_digest,
    decode_idle,
    decode_packet_in,
    encode_digest_ack,
    encode_packet_out,
)
from dfvisor.p4rt.tls import Credentials
from dfvisor.p4rt.updates import Updates

log = logging.getLogger(__name__)

WRITE = "/p4.v1.P4Runtime/Write"
RPC_TIMEOUT_S = 10.0
PIPELINE_TIMEOUT_S = 60.0  # a switch may compile what it is given
NO_CPU_PORT = grpc.StatusCode.FAILED_PRECONDITION.value[0]  # of a PacketOut
UPDATES_PER_WRITE = 500
UNSENT_MESSAGES = 1024  # on the stream; then more are refused
MAX_MESSAGE_BYTES = 64 << 20
MAX_METADATA_BYTES = (
    1 << 20
)  # per-update errors travel in trailing metadata, 100 bytes and more each

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new client is a new connection
)

_CODES = {code.value[0]: code for code in grpc.StatusCode}

ElectionId = tuple[int, int]
Metadata = Mapping[str, str]


class P4RuntimeClient:
    """A client of one device of one server, in one role.

    `election_id` is (high, low) of the 128-bit number; without it the client only reads. `role`
    None is P4Runtime's default role. `on_standing` is told True on becoming primary, False on
    ceasing to be; `on_event` of every packet-in, digest and idle entry, while `schema` is known.
    """

    def __init__(
        self,
        address: str,
        device_id: int,
        *,
        election_id: ElectionId | None = None,
        role: str | None = None,
        schema: Schema | None = None,
        on_standing: Callable[[bool], None] | None = None,
        on_event: Callable[[StreamEvent], None] | None = None,
        tls: Credentials | None = None,
    ) -> None:
        self.address = address
        self.device_id = device_id
        self.election_id = election_id
        self.role = role
        self.schema = schema
        self._on_standing = on_standing
        self._on_event = on_event
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(
                address, tls.for_client(), options=CHANNEL_OPTIONS
            )
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._write_call = self._channel.unary_unary(  # of serialized requests
            WRITE,
            request_serializer=None,
            response_deserializer=p4r.WriteResponse.FromString,
        )
        self._requests: asyncio.Queue[p4r.StreamMessageRequest | None] = asyncio.Queue()
        self._sending = asyncio.Lock()  # one message at a time
        self._stream: Any = None  # if the server takes Writes there
        self._written: deque[asyncio.Future[rpc_status.Status]] = deque()  # and not yet answered
        self._reader: asyncio.Task[None] | None = None
        self._standing = asyncio.Condition()
        self._primary: bool | None = None
        self._refusal = ""
        self._packets_refused = ""  # why the switch can take none
        self._highest: ElectionId | None = None
        self._vacant = False
        self._heads: dict[int, bytes] = {}  # of Writes, by atomicity
        self._lost = asyncio.Event()
        self.counters = CounterReader(self.read, self._need_schema)

    # -- connection and arbitration

    @property
    def is_primary(self) -> bool:
        """Whether the server has last said that this client is primary, and the stream stands."""
        return self._primary is True and not self._lost.is_set()

    @property
    def highest_election_id(self) -> ElectionId | None:
        """The highest election id that the server has seen for the role, as it said last."""
        return self._highest

    async def connect(self, timeout_s: float = RPC_TIMEOUT_S) -> None:
        """Wait until the server answers at the address; SwitchUnavailable otherwise."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise SwitchUnavailable(f"{self.address}: no answer in {timeout_s:g} s") from error

    async def become_primary(self, timeout_s: float = RPC_TIMEOUT_S) -> None:
        """Open the stream, present the election id and wait for the verdict.

        Raises NotPrimary if another client is primary, SwitchUnavailable if there is no answer.
        """
        if self.election_id is None:
            raise NotPrimary(f"{self.address}: this client has no election id")
        if self._reader is None:
            self._reader = asyncio.create_task(
                self._read_stream(), name=f"p4rt-stream-{self.address}"
            )
        message = p4r.StreamMessageRequest()
        arbitration = message.arbitration
        arbitration.device_id = self.device_id
        arbitration.election_id.high, arbitration.election_id.low = self.election_id
        if self.role is not None:
            arbitration.role.name = self.role
        self._primary = None
        await self._requests.put(message)
        try:
            async with asyncio.timeout(timeout_s), self._standing:
                await self._standing.wait_for(
                    lambda: self._primary is not None or self._lost.is_set()
                )
        except TimeoutError as error:
            raise SwitchUnavailable(
                f"{self.address}: no answer to arbitration in {timeout_s:g} s"
            ) from error
        if self._lost.is_set():
            raise SwitchUnavailable(f"{self.address}: stream closed: {self._refusal}")
        if not self._primary:
            raise NotPrimary(f"{self.address}: not primary: {self._refusal}", vacant=self._vacant)

    async def wait_lost(self) -> None:
        """Return when the stream has ended; at once if it has."""
        await self._lost.wait()

    async def close(self) -> None:
        """End stream and connection; safe twice."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._mark_lost("closed")
        await self._channel.close(None)

    async def _read_stream(self) -> None:
        reason = "the server ended it"
        call: Any = cast("Any", self._stub.StreamChannel)()
        sender = asyncio.create_task(self._send_all(call), name=f"p4rt-requests-{self.address}")
        try:
            while isinstance(message := await call.read(), p4r.StreamMessageResponse):
                if self._stream is None and await _offered(call):
                    self._stream = call
                await self._handle(message)
            details = await call.details()
            reason = f"{(await call.code()).name}: {details or 'the server ended the stream'}"
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        finally:
            self._stream = None
            call.cancel()
            sender.cancel()
            await self._mark_lost(reason)

    async def _send_all(self, call: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended
            while (message := await self._requests.get()) is not None:
                async with self._sending:
                    await call.write(message)

    async def _handle(self, message: p4r.StreamMessageResponse) -> None:
        kind = message.WhichOneof("update")
        if kind == "other":
            self._handle_answer(message)
            return
        if kind != "arbitration":
            self._handle_event(kind, message)
            return
        status = message.arbitration.status
        highest = message.arbitration.election_id
        self._highest = (highest.high, highest.low)
        self._vacant = status.code == grpc.StatusCode.NOT_FOUND.value[0]
        was = self._primary
        async with self._standing:
            self._primary = status.code == grpc.StatusCode.OK.value[0]
            self._refusal = status.message or f"code {status.code}"
            self._standing.notify_all()
        if was is not None and was != self._primary:
            log.info("%s: %s primary", self.address, "now" if self._primary else "no longer")
        if self._on_standing and was != self._primary:
            self._on_standing(bool(self._primary))

    def _handle_answer(self, message: p4r.StreamMessageResponse) -> None:
        status = onstream.status_in(message.other)
        if status is None or not self._written:
            log.debug("%s: stream message of type %s ignored", self.address, message.other.type_url)
            return
        answer = self._written.popleft()
        if not answer.done():  # else nobody waits for it any more
            answer.set_result(status)

    def _handle_event(self, kind: str | None, message: p4r.StreamMessageResponse) -> None:
        if kind == "error":
            error = message.error
            if error.HasField("packet_out") and error.canonical_code == NO_CPU_PORT:
                self._packets_refused = error.message
            log.warning(
                "%s: stream error %d: %s", self.address, error.canonical_code, error.message
            )
            return
        if self._on_event is None or self.schema is None:
            log.debug("%s: stream message %s ignored", self.address, kind)
            return
        try:
            if kind == "packet":
                self._on_event(decode_packet_in(self.schema, message.packet))
            elif kind == "digest":
                self._on_event(decode_digest(self.schema, message.digest))
            elif kind == "idle_timeout_notification":
                self._on_event(decode_idle(self.schema, message.idle_timeout_notification))
            else:
                log.debug("%s: stream message %s ignored", self.address, kind)
        except SchemaError as error:
            log.warning("%s: stream message ignored: %s", self.address, error)

    def send_packet(self, packet: PacketOut) -> None:
        """Give the switch a packet. Nobody says what becomes of it; SwitchUnavailable if the stream
        has ended or is clogged, or the switch has said that it can take none.
        """
        if self._packets_refused:
            raise SwitchUnavailable(f"{self.address}: {self._packets_refused}")
        self._send(p4r.StreamMessageRequest(packet=encode_packet_out(self._need_schema(), packet)))

    def acknowledge(self, received: DigestList) -> None:
        """Tell the switch that a digest list has arrived."""
        self._send(
            p4r.StreamMessageRequest(digest_ack=encode_digest_ack(self._need_schema(), received))
        )

    def _send(self, message: p4r.StreamMessageRequest) -> None:
        if self._reader is None or self._lost.is_set():
            raise SwitchUnavailable(f"{self.address}: there is no stream")
        if self._requests.qsize() >= UNSENT_MESSAGES:
            raise SwitchUnavailable(f"{self.address}: the stream takes no more messages")
        self._requests.put_nowait(message)

    async def _mark_lost(self, reason: str) -> None:
        if self._lost.is_set():
            return
        self._refusal = reason
        self._lost.set()
        self._requests.put_nowait(None)
        written, self._written = self._written, deque()
        for answer in written:
            if not answer.done():
                answer.set_exception(SwitchUnavailable(f"{self.address}: stream closed: {reason}"))
        async with self._standing:
            self._standing.notify_all()
        if self._primary and self._on_standing:
            self._on_standing(False)

    # -- pipeline

    async def get_pipeline_cookie(self) -> int | None:
        """The cookie of the switch's pipeline, None if it has no pipeline."""
        config = await self._get_pipeline(p4r.GetForwardingPipelineConfigRequest.COOKIE_ONLY)
        return None if config is None else config.cookie.cookie

    async def get_schema(self) -> Schema | None:
        """The switch's P4Info, None if it has no pipeline."""
        config = await self._get_pipeline(p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE)
        return Schema(config.p4info) if config is not None and config.HasField("p4info") else None

    async def _get_pipeline(
        self, what: p4r.GetForwardingPipelineConfigRequest.ResponseType.ValueType
    ) -> p4r.ForwardingPipelineConfig | None:
        request = p4r.GetForwardingPipelineConfigRequest(
            device_id=self.device_id, response_type=what
        )
        try:
            answer = await self._stub.GetForwardingPipelineConfig(request, timeout=RPC_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                return None  # P4Runtime: no forwarding pipeline has been set
            raise self._translated(error, "reading the pipeline") from error
        return answer.config if answer.HasField("config") else None

    async def set_pipeline(self, schema: Schema, device_config: bytes, cookie: int) -> None:
        """Replace the pipeline (VERIFY_AND_COMMIT): all tables are empty afterwards."""
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=self.device_id,
            role=self.role or "",
            action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
        )
        self._put_election_id(request.election_id)
        request.config.p4info.CopyFrom(schema.proto)
        request.config.p4_device_config = device_config
        request.config.cookie.cookie = cookie
        try:
            await self._stub.SetForwardingPipelineConfig(request, timeout=PIPELINE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, "setting the pipeline") from error
        self._packets_refused = ""

    # -- writes

    async def write(self, updates: Sequence[p4r.Update], metadata: Metadata | None = None) -> None:
        """Carry out the updates in order, in batches, continuing after errors.

        Raises WriteError with every update that failed. An empty sequence is one empty Write.
        """
        statuses = await self.write_statuses(updates, metadata)
        failures = [
            Failure(update, status.code, status.message)
            for update, status in zip(updates, statuses, strict=True)
            if status.code
        ]
        if failures:
            raise WriteError(failures, len(updates))

    async def write_statuses(
        self,
        updates: Sequence[p4r.Update],
        metadata: Metadata | None = None,
        *,
        at_once: bool = False,
        prompt: bool = False,
    ) -> list[UpdateStatus]:
        """As `write`, but with one status per update instead of WriteError. `at_once`: all of them
        between two packets, or none, in one message. `Updates` are one message as well. `prompt`:
        the server will not have it wait for long, so it may go on the stream if it is small and the
        server takes Writes there. Who is cancelled while it is sent there ends the stream.
        """
        if at_once:
            atomicity = p4r.WriteRequest.DATAPLANE_ATOMIC
            return await self._write_chunk(updates, metadata, atomicity, prompt=True)
        statuses: list[UpdateStatus] = []
        if isinstance(updates, Updates):
            return await self._write_chunk(updates, metadata, prompt=prompt)
        for start in range(0, max(1, len(updates)), UPDATES_PER_WRITE):
            chunk = updates[start : start + UPDATES_PER_WRITE]
            statuses += await self._write_chunk(chunk, metadata, prompt=prompt)
        return statuses

    async def _write_chunk(
        self,
        updates: Sequence[p4r.Update],
        metadata: Metadata | None,
        atomicity: p4r.WriteRequest.Atomicity.ValueType = p4r.WriteRequest.CONTINUE_ON_ERROR,
        *,
        prompt: bool = False,
    ) -> list[UpdateStatus]:
        data = self._head(atomicity)
        if isinstance(updates, Updates):
            data += updates.data
        else:
            data += p4r.WriteRequest(updates=updates).SerializeToString()
        stream = self._stream if prompt and len(data) <= onstream.MAX_BYTES else None
        if stream is not None:
            status = await self._write_on(stream, onstream.request(data, metadata or {}))
            if status.code == 0:
                return [UpdateStatus()] * len(updates)
            details = _details_of(status)
            if len(details) == len(updates) and updates:
                return details
            code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
            raise self._failure(code, status.message, f"writing {len(updates)} updates")
        try:
            await self._write_call(
                data, timeout=RPC_TIMEOUT_S, metadata=tuple((metadata or {}).items())
            )
        except grpc.aio.AioRpcError as error:
            details = _update_details(error)
            if len(details) == len(updates) and updates:
                return details
            raise self._translated(error, f"writing {len(updates)} updates") from error
        return [UpdateStatus()] * len(updates)

    def _head(self, atomicity: p4r.WriteRequest.Atomicity.ValueType) -> bytes:
        """A WriteRequest without updates, serialized."""
        found = self._heads.get(atomicity)
        if found is None:
            request = p4r.WriteRequest(
                device_id=self.device_id, role=self.role or "", atomicity=atomicity
            )
            self._put_election_id(request.election_id)
            found = self._heads[atomicity] = request.SerializeToString()
        return found

    async def _write_on(self, stream: Any, message: p4r.StreamMessageRequest) -> rpc_status.Status:
        """Send a Write on the stream, and wait for its answer: they come in the same order."""
        answer: asyncio.Future[rpc_status.Status] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(RPC_TIMEOUT_S):
                async with self._sending:  # gRPC takes one message at a time
                    self._written.append(answer)
                    await stream.write(message)
                return await answer
        except TimeoutError as error:
            raise SwitchUnavailable(
                f"{self.address}: a Write was not answered in {RPC_TIMEOUT_S:g} s"
            ) from error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise SwitchUnavailable(f"{self.address}: the stream has ended") from error

    def _put_election_id(self, message: p4r.Uint128) -> None:
        if self.election_id is not None:
            message.high, message.low = self.election_id

    # -- reads

    async def read(
        self, entities: Iterable[p4r.Entity], metadata: Metadata | None = None
    ) -> list[p4r.Entity]:
        """The entities that the server has for these wildcards, from all messages of the answer."""
        request = p4r.ReadRequest(device_id=self.device_id, role=self.role or "")
        request.entities.extend(entities)
        found: list[p4r.Entity] = []
        call = self._stub.Read(
            request, timeout=RPC_TIMEOUT_S, metadata=tuple((metadata or {}).items())
        )
        try:
            async for answer in call:
                found += answer.entities
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, "reading") from error
        return found

    async def read_entries(self, *tables: str) -> list[TableEntry]:
        """All entries of these tables, or of all; default entries are not among them."""
        schema = self._need_schema()
        ids = [schema.table(table).id for table in tables] or [0]
        wildcards = [p4r.Entity(table_entry=p4r.TableEntry(table_id=id_)) for id_ in ids]
        return [schema.decode_entry(entity.table_entry) for entity in await self.read(wildcards)]

    async def read_default(self, table: str) -> TableEntry:
        """The default entry of a table."""
        schema = self._need_schema()
        wildcard = p4r.Entity(
            table_entry=p4r.TableEntry(table_id=schema.table(table).id, is_default_action=True)
        )
        for entity in await self.read([wildcard]):
            return schema.decode_entry(entity.table_entry)
        return TableEntry(table, (), 0, "", (), True)

    async def read_multicast(self) -> list[MulticastGroup]:
        """All multicast groups."""
        wildcard = p4r.Entity()
        wildcard.packet_replication_engine_entry.multicast_group_entry.SetInParent()
        found = [decode_replication(one) for one in await self._read_replication(wildcard)]
        return [one for one in found if isinstance(one, MulticastGroup)]

    async def read_clone_sessions(self) -> list[CloneSession]:
        """All clone sessions."""
        wildcard = p4r.Entity()
        wildcard.packet_replication_engine_entry.clone_session_entry.SetInParent()
        found = [decode_replication(one) for one in await self._read_replication(wildcard)]
        return [one for one in found if isinstance(one, CloneSession)]

    async def _read_replication(
        self, wildcard: p4r.Entity
    ) -> list[p4r.PacketReplicationEngineEntry]:
        found = await self.read([wildcard])
        return [entity.packet_replication_engine_entry for entity in found]

    async def read_meters(self, *meters: str) -> list[Meter]:
        """The configured cells of these indirect meters, or of all."""
        schema = self._need_schema()
        wildcards = [
            p4r.Entity(meter_entry=p4r.MeterEntry(meter_id=schema.meter(name).id))
            for name in meters or schema.meters
        ]
        found: list[Item] = []
        for wildcard in wildcards:
            await asyncio.sleep(0)
            found += [
                schema.decode(entity)
                for entity in await self.read([wildcard])
                if entity.meter_entry.HasField("config")
            ]
        return [one for one in found if isinstance(one, Meter) and one.config is not None]

    async def read_digests(self) -> list[DigestSubscription]:
        """The digests that are subscribed to."""
        schema = self._need_schema()
        found: list[Item] = []
        for digest in schema.digests.values():
            wildcard = p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=digest.id))
            try:  # BMv2 answers for one digest at a time, and NOT_FOUND for one that is not wanted
                found += [schema.decode(entity) for entity in await self.read([wildcard])]
            except RpcFailed as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
        return [one for one in found if isinstance(one, DigestSubscription)]

    def _need_schema(self) -> Schema:
        if self.schema is None:
            raise SwitchUnavailable(f"{self.address}: the pipeline's P4Info is not known yet")
        return self.schema

    def _translated(self, error: grpc.aio.AioRpcError, doing: str) -> Exception:
        return self._failure(error.code(), error.details() or "", doing)

    def _failure(self, code: grpc.StatusCode, details: str, doing: str) -> Exception:
        message = f"{self.address}: {doing}: {code.name}: {details or 'no details'}"
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return SwitchUnavailable(message)
        return RpcFailed(code, message)


async def _offered(call: Any) -> bool:
    """Whether the server takes Writes on the stream; known once it has sent a message."""
    name, value = onstream.OFFER
    metadata = cast("Iterable[tuple[str, str | bytes]]", await call.initial_metadata() or ())
    return (name, value) in list(metadata)


def _update_details(error: grpc.aio.AioRpcError) -> list[UpdateStatus]:
    """The per-update errors of a failed Write (P4Runtime 12.3), empty if the server gave none."""
    trailer = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailer:
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            return _details_of(rpc_status.Status.FromString(value))
        except DecodeError:
            return []
    return []


def _details_of(status: rpc_status.Status) -> list[UpdateStatus]:
    found: list[UpdateStatus] = []
    for detail in status.details:
        one = p4r.Error()
        try:
            if not detail.Unpack(one):
                return []
        except DecodeError:
            return []
        found.append(UpdateStatus(one.canonical_code, one.message))
    return found
