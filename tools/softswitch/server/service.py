"""The P4Runtime RPCs of one device (P4Runtime 1.4).

Thin: it checks who asks, orders requests and translates errors; content is `Pipeline`'s, standing
is `Arbitration`'s. Everything runs on one event loop. `_state` is held by whatever changes the
pipeline's content or takes a snapshot of it, so requests are strictly serializable; a write that
has begun is finished even if its client goes away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from functools import partial
from itertools import chain
from typing import TypeAlias, TypeVar

import grpc
from grpc import StatusCode

from softswitch.errors import EngineError
from softswitch.server.answers import packed
from softswitch.server.arbitration import Arbitration, Standing
from softswitch.server.batches import WriteCall, write_at_once, write_each
from softswitch.server.dataplane import Builder, DataPlane
from softswitch.server.errors import (
    SPACE,
    RequestError,
    denied,
    internal,
    invalid,
    not_found,
    precondition,
    unimplemented,
)
from softswitch.server.events import EventPump
from softswitch.server.packet_io import pack
from softswitch.server.packets import PacketService
from softswitch.server.pb import DecodeError, empty_pb2, p4r, rpc_status
from softswitch.server.pipeline import Pipeline, from_engine, realize
from softswitch.server.ports import PortHost
from softswitch.server.reconcile import carry_over, carry_values_over, refusal
from softswitch.server.rollback import Batch, failed_batch
from softswitch.server.schema import PacketField
from softswitch.server.status import DETAILS_KEY, batch_status
from softswitch.server.streams import Stream

log = logging.getLogger(__name__)

API_VERSION = "1.4.0"
WRITE_ON_STREAM = ("p4runtime-write-on-stream", "1")
"""In the initial metadata of each stream: `other` of a request may be a WriteRequest there. It is
answered, in the order of the requests, by `other` with the google.rpc.Status of the Write. A call
costs a client twice as much time."""
HIT_ONLY_KEY = "softswitch-hit-only"
"""Metadata of a Read: ids of tables, with commas, of which entries that have counted nothing need
not be told. Not P4Runtime's, so other switches tell them."""
UPDATES_PER_TURN = 128
"""Updates applied before other RPCs get a turn on the event loop."""

_Result = TypeVar("_Result")
_Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"
_Set: TypeAlias = p4r.SetForwardingPipelineConfigRequest
_Get: TypeAlias = p4r.GetForwardingPipelineConfigRequest


class P4RuntimeService:
    """The servicer (`rpc.add_to_server`). `preload` and `close` are for the process around it."""

    def __init__(
        self, device_id: int, build: Builder, ports: PortHost, *, bmv2_compat: bool = False
    ) -> None:
        self._device_id = device_id
        self._build = build
        self._ports = ports
        self._compat = bmv2_compat
        self._arbitration = Arbitration(bmv2_compat=bmv2_compat)
        self._committed: Pipeline | None = None
        self._saved: Pipeline | None = None
        self._bare: DataPlane | None = None
        self._state = asyncio.Lock()
        self._pushing = asyncio.Lock()
        self._unfinished: set[asyncio.Task[object]] = set()
        self._events = EventPump(self._primaries)
        ports.links.listen(self._port_changed)

    # -- process ------------------------------------------------------------------------------

    async def preload(self, bmv2_json: bytes) -> None:
        """Forward by a BMv2 JSON given at start. P4Runtime clients still have to set a pipeline,
        as with BMv2: there is no P4Info yet. Raises RequestError."""
        work = asyncio.to_thread(realize, bmv2_json, self._build)
        self._bare = await self._finish(work, "softswitch-preload")
        self._events.attach_bare(self._bare)
        await self._ports.hand_over(self._bare)

    def packet_service(self) -> PacketService:
        """The service that hands packets in and out, for a switch without interfaces."""
        made = PacketService(self._device_id, self._forwarding, self._ports.links)
        self._events.on_packet = made.on_event
        return made

    def _forwarding(self) -> DataPlane | None:
        return self._bare if self._committed is None else self._committed.engine

    async def close(self) -> None:
        """Stop forwarding and free the engines."""
        self._events.detach()
        await self._ports.stop()
        for pipeline in (self._committed, self._saved):
            if pipeline is not None:
                pipeline.close()
        if self._bare is not None:
            self._bare.close()
        self._committed = self._saved = self._bare = None

    @property
    def busy(self) -> bool:
        """Whether work is still going on that no client can wait for any more."""
        return bool(self._unfinished)

    async def wait_idle(self, timeout_s: float) -> None:
        """Wait for that work, at most so long."""
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=timeout_s)

    async def _finish(self, work: Coroutine[object, object, _Result], name: str) -> _Result:
        """Await work that must not stop half-way when the client goes away."""
        task = asyncio.create_task(work, name=name)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    # -- Capabilities -------------------------------------------------------------------------

    async def Capabilities(
        self, request: p4r.CapabilitiesRequest, context: _Context
    ) -> p4r.CapabilitiesResponse:
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)

    # -- StreamChannel ------------------------------------------------------------------------

    async def StreamChannel(
        self, request_iterator: AsyncIterator[p4r.StreamMessageRequest], context: _Context
    ) -> None:
        stream = Stream(self._device_id)
        await context.send_initial_metadata((WRITE_ON_STREAM,))
        sender = asyncio.create_task(_send(stream, context), name="p4runtime-stream-sender")
        sender.add_done_callback(_sender_ended)
        try:
            async for message in request_iterator:
                await self._on_stream_message(stream, message)
        except RequestError as error:
            self._leave(stream)
            await context.abort(error.code, error.message)
        finally:
            sender.cancel()
            self._leave(stream)

    async def _on_stream_message(self, stream: Stream, message: p4r.StreamMessageRequest) -> None:
        kind = message.WhichOneof("update")
        if kind == "arbitration":
            await self._arbitrate(stream, message.arbitration)
            return
        if kind == "other" and message.other.Is(p4r.WriteRequest.DESCRIPTOR):
            stream.answer(await self._answer(stream, message.other.value))
            return
        try:
            if kind == "packet":
                self._packet_out(stream, message.packet)
            elif kind == "digest_ack":
                self._digest_ack(stream, message.digest_ack)
            else:
                raise invalid(f"stream message {kind or 'without content'} is not understood")
        except RequestError as error:
            stream.error(_stream_error(error, message))

    async def _answer(self, stream: Stream, raw: bytes) -> rpc_status.Status:
        """Carry out a Write that came on the stream; what the call would end with."""
        status = rpc_status.Status()
        try:
            write = WriteCall.parse(raw)
            self._check_primary(stream, "Write")
            errors = await self._carry_out(write)
        except DecodeError as error:
            refused = invalid(f"a WriteRequest that cannot be read: {error}")
            status.code, status.message = refused.number, refused.message
        except RequestError as error:
            status.code, status.message = error.number, error.message
        else:
            if any(errors):
                status.MergeFromString(batch_status(errors, "update")[1])
        return status

    def _packet_out(self, stream: Stream, packet: p4r.PacketOut) -> None:
        self._check_primary(stream, "PacketOut")
        if self._ports.cpu_port is None:
            raise precondition("PacketOut: there is no CPU port: start the switch with --cpu-port")
        engine = self._forwarding()
        if engine is None:
            raise precondition("PacketOut: no forwarding pipeline config has been committed")
        fields: tuple[PacketField, ...] = ()  # a program given at start has no P4Info
        if self._committed is not None:
            fields = self._committed.schema.packet_headers.get("packet_out", ())
        raw = pack(fields, packet, complete=not self._compat)
        try:
            engine.inject(self._ports.cpu_port, raw)
        except EngineError as error:
            raise invalid(f"PacketOut: {error}") from error

    def _digest_ack(self, stream: Stream, ack: p4r.DigestListAck) -> None:
        self._check_primary(stream, "DigestListAck")
        digest = None if self._committed is None else self._committed.digests.get(ack.digest_id)
        if digest is None:
            raise invalid(f"DigestListAck: digest id {ack.digest_id:#x} is not in the P4Info")
        digest.acknowledge(ack.list_id)

    def _check_primary(self, stream: Stream, what: str) -> None:
        view = self._arbitration.view(stream)
        if view is None or view.standing is not Standing.PRIMARY:
            raise denied(f"{what}: this client is not primary")

    def _primaries(self) -> list[Stream]:
        return [c for c in self._arbitration.primaries() if isinstance(c, Stream)]

    def _port_changed(self, port: int) -> None:
        for pipeline in (self._committed, self._saved):
            if pipeline is None:
                continue
            try:
                pipeline.port_changed(port)
            except EngineError as error:
                log.error("port %d: groups that watch it are not changed: %s", port, error)

    async def _arbitrate(self, stream: Stream, update: p4r.MasterArbitrationUpdate) -> None:
        if update.device_id != self._device_id:
            if self._arbitration.view(stream) is not None:
                raise precondition(
                    f"this stream is for device {self._device_id}, not {update.device_id}"
                )
            raise self._unknown_device(update.device_id)
        config = None
        if update.role.HasField("config"):
            if not update.role.config.Is(empty_pb2.Empty.DESCRIPTOR):
                raise invalid(
                    f"role {update.role.name!r}: config {update.role.config.type_url!r}: this "
                    "server has no role configurations; leave it unset (or google.protobuf.Empty)"
                )
            config = update.role.config.SerializeToString()
        election_id = _uint128(update.election_id) if update.HasField("election_id") else None
        change = self._arbitration.update(stream, update.role.name, election_id, config)
        if change.primary is not None:
            self._events.new_primary()
            log.info("role %r: primary has election id %s", update.role.name, election_id)
        self._notify(change.now)
        if change.primary is not None:
            async with self._state:  # the old primary's writes under way come first
                self._notify((change.primary,))

    def _leave(self, stream: Stream) -> None:
        change = self._arbitration.disconnect(stream)
        if change.primary is not None:
            self._events.new_primary()
            self._notify((change.primary,))
        self._notify(change.now)

    def _notify(self, clients: tuple[object, ...]) -> None:
        for client in clients:
            view = self._arbitration.view(client)  # as it is now: it may have changed meanwhile
            if view is not None and isinstance(client, Stream):
                client.notify(view)

    # -- Write --------------------------------------------------------------------------------

    async def Write(self, write: WriteCall, context: _Context) -> p4r.WriteResponse:
        try:
            errors = await self._carry_out(write)
        except RequestError as error:
            await context.abort(error.code, error.message)
        if any(errors):
            await _abort_batch(context, errors, "update")
        return p4r.WriteResponse()

    async def _carry_out(self, write: WriteCall) -> list[RequestError | None]:
        self._check_writer(write.request)
        if len(write.request.updates) <= UPDATES_PER_TURN:
            return await self._write(write)
        return await self._finish(self._write(write), "p4runtime-write")

    async def _write(self, write: WriteCall) -> list[RequestError | None]:
        request = write.request
        async with self._state:
            self._check_writer(request)  # again: it may have lost its standing while it waited
            pipeline = self._pipeline()
            if request.atomicity == p4r.WriteRequest.ROLLBACK_ON_ERROR:
                return await self._write_all(pipeline, request)
            if request.atomicity == p4r.WriteRequest.DATAPLANE_ATOMIC:
                with pipeline.engine.hold():  # no turn for anybody, and none for packets
                    return write_at_once(pipeline, write)
            if request.atomicity != p4r.WriteRequest.CONTINUE_ON_ERROR:
                raise invalid(f"atomicity {request.atomicity} is not known")
            errors: list[RequestError | None] = []
            for _turn in write_each(pipeline, write, errors):
                await asyncio.sleep(0)
            return errors

    async def _write_all(
        self, pipeline: Pipeline, request: p4r.WriteRequest
    ) -> list[RequestError | None]:
        """All updates, or none when one fails; packets see the steps between."""
        batch = Batch(pipeline)
        for place, update in enumerate(request.updates):
            if place and place % UPDATES_PER_TURN == 0:
                await asyncio.sleep(0)
            try:
                batch.apply(update)
            except RequestError as error:
                batch.roll_back()
                return failed_batch(place, error, len(request.updates))
        return []

    def _check_writer(self, request: p4r.WriteRequest | _Set) -> None:
        self._check_device(request.device_id)
        if request.role_id:
            raise unimplemented(f"role_id {request.role_id}: numeric roles; name the role instead")
        if not self._arbitration.knows_role(request.role):
            raise not_found(f"role {request.role!r} is not known: open its stream first")
        election_id = _uint128(request.election_id) if request.HasField("election_id") else None
        if not self._arbitration.is_primary(request.role, election_id):
            raise denied(
                f"election id {election_id} is not the primary of role {request.role!r}: "
                + self._arbitration.describe_primary(request.role)
            )

    # -- Read ---------------------------------------------------------------------------------

    async def Read(self, request: p4r.ReadRequest, context: _Context) -> None:
        errors: list[RequestError | None] = []
        answers: list[Iterator[p4r.ReadResponse]] = []
        try:
            self._check_device(request.device_id)
            hit = _hit_only(context)
            async with self._state:
                pipeline = self._pipeline()
                for entity in request.entities:
                    try:
                        answers.append(pipeline.read(entity, hit=hit))
                    except RequestError as error:
                        errors.append(error)
                    else:
                        errors.append(None)
            answer = packed(chain.from_iterable(answers))
            while (message := await self._next(pipeline, answer)) is not None:
                await context.write(message)
        except RequestError as error:
            await context.abort(error.code, error.message)
        if any(errors):
            await _abort_batch(context, errors, "request")

    async def _next(
        self, pipeline: Pipeline, answer: Iterator[p4r.ReadResponse]
    ) -> p4r.ReadResponse | None:
        async with self._state:
            if pipeline is not self._committed and pipeline is not self._saved:
                raise RequestError(StatusCode.ABORTED, "the pipeline was replaced during the read")
            try:
                return next(answer, None)
            except EngineError as error:
                raise internal(str(error)) from error

    # -- pipelines ----------------------------------------------------------------------------

    async def GetForwardingPipelineConfig(
        self, request: _Get, context: _Context
    ) -> p4r.GetForwardingPipelineConfigResponse:
        response = p4r.GetForwardingPipelineConfigResponse()
        try:
            self._check_device(request.device_id)
            if request.response_type not in _Get.ResponseType.values():
                raise invalid(f"response type {request.response_type} is not known")
        except RequestError as error:
            await context.abort(error.code, error.message)
        if self._committed is None:
            return response
        held, wanted, sent = self._committed.config, request.response_type, response.config
        sent.SetInParent()
        if held.HasField("cookie"):
            sent.cookie.CopyFrom(held.cookie)
        if wanted in (_Get.ALL, _Get.P4INFO_AND_COOKIE):
            sent.p4info.CopyFrom(held.p4info)
        if wanted in (_Get.ALL, _Get.DEVICE_CONFIG_AND_COOKIE):
            sent.p4_device_config = held.p4_device_config
        return response

    async def SetForwardingPipelineConfig(
        self, request: _Set, context: _Context
    ) -> p4r.SetForwardingPipelineConfigResponse:
        try:
            self._check_writer(request)
            await self._finish(self._set_pipeline(request), "p4runtime-set-pipeline")
        except RequestError as error:
            log.warning("pipeline refused: %s", error.message)
            await context.abort(error.code, error.message)
        return p4r.SetForwardingPipelineConfigResponse()

    async def _set_pipeline(self, request: _Set) -> None:
        async with self._pushing:
            action = request.action
            if action == _Set.COMMIT:
                await self._commit_saved(request)
            elif action == _Set.RECONCILE_AND_COMMIT and self._committed is not None:
                await self._reconcile(request)
            elif action in (
                _Set.VERIFY,
                _Set.VERIFY_AND_SAVE,
                _Set.VERIFY_AND_COMMIT,
                _Set.RECONCILE_AND_COMMIT,  # nothing to preserve yet
            ):
                await self._verify(request)
            else:
                raise invalid(f"pipeline action {action} is not known")

    async def _verify(self, request: _Set) -> None:
        _need_config(request)
        pipeline = await asyncio.to_thread(Pipeline, request.config, self._build, self._ports.links)
        if request.action == _Set.VERIFY:
            pipeline.close()
            return
        async with self._state:
            try:
                self._check_writer(request)  # building takes seconds: it may have been replaced
            except RequestError:
                pipeline.close()
                raise
            self._drop_saved()
            if request.action == _Set.VERIFY_AND_SAVE:
                self._saved = pipeline
                return
            await self._activate(pipeline)

    async def _commit_saved(self, request: _Set) -> None:
        if request.HasField("config"):
            raise invalid("COMMIT takes no config")
        async with self._state:
            self._check_writer(request)
            saved, self._saved = self._saved, None
            if saved is None:
                raise not_found("COMMIT: no config was saved by VERIFY_AND_SAVE")
            await self._activate(saved)

    async def _activate(self, pipeline: Pipeline, *, keep: bool = False) -> None:
        """Let a pipeline forward; with `keep` it counts on from where the one before stops."""
        old, self._committed = self._committed, pipeline
        self._events.attach(pipeline)
        between = partial(carry_values_over, old, pipeline) if keep and old is not None else None
        await self._ports.hand_over(pipeline.engine, between)
        if old is not None:
            old.close()
        if self._bare is not None:
            self._bare.close()
            self._bare = None
        tables = len(pipeline.schema.tables)
        state = "kept" if keep else "empty"
        log.info("pipeline committed: %d tables, forwarding state %s", tables, state)

    async def _reconcile(self, request: _Set) -> None:
        _need_config(request)
        held = self._committed
        assert held is not None
        same = (
            held.config.p4info == request.config.p4info
            and held.config.p4_device_config == request.config.p4_device_config
        )
        if same:
            held.config = request.config  # the cookie may differ
            self._drop_saved()
            return
        pipeline = await asyncio.to_thread(Pipeline, request.config, self._build, self._ports.links)
        async with self._state:
            try:
                self._check_writer(request)
                problems = await asyncio.to_thread(carry_over, held, pipeline)
                if problems:
                    raise invalid(refusal(problems))
            except (RequestError, EngineError) as error:
                pipeline.close()
                raise from_engine(error) if isinstance(error, EngineError) else error from error
            self._drop_saved()
            await self._activate(pipeline, keep=True)
            pipeline.links_changed()

    def _drop_saved(self) -> None:
        if self._saved is not None:
            self._saved.close()
            self._saved = None

    def _pipeline(self) -> Pipeline:
        """The pipeline that Read and Write refer to: a saved one hides the committed one."""
        pipeline = self._saved or self._committed
        if pipeline is None:
            raise precondition("no forwarding pipeline config has been set")
        return pipeline

    # -- helpers ------------------------------------------------------------------------------

    def _check_device(self, device_id: int) -> None:
        if device_id != self._device_id:
            raise self._unknown_device(device_id)

    def _unknown_device(self, device_id: int) -> RequestError:
        return not_found(f"device id {device_id} is not known, this is device {self._device_id}")


def _stream_error(error: RequestError, message: p4r.StreamMessageRequest) -> p4r.StreamError:
    answer = p4r.StreamError(canonical_code=error.number, message=error.message, space=SPACE)
    if message.HasField("packet"):
        answer.packet_out.packet_out.CopyFrom(message.packet)
    elif message.HasField("digest_ack"):
        answer.digest_list_ack.digest_list_ack.CopyFrom(message.digest_ack)
    else:
        answer.other.SetInParent()
    return answer


def _hit_only(context: _Context) -> frozenset[int]:
    """The tables of which the caller wants no entries that have counted nothing."""
    found: set[int] = set()
    for key, value in context.invocation_metadata() or ():
        if key == HIT_ONLY_KEY:
            try:
                found.update(map(int, str(value).split(",")))
            except ValueError as error:
                raise invalid(f"{HIT_ONLY_KEY}: table ids are expected, not {value!r}") from error
    return frozenset(found)


async def _send(stream: Stream, context: _Context) -> None:
    while True:
        await context.write(await stream.next())


def _sender_ended(sender: asyncio.Task[None]) -> None:
    error = None if sender.cancelled() else sender.exception()
    if error is not None:  # the client is gone; the receiving side notices too and ends the stream
        log.debug("a stream's client went away: %s", error)


async def _abort_batch(context: _Context, errors: list[RequestError | None], unit: str) -> None:
    summary, details = batch_status(errors, unit)
    await context.abort(StatusCode.UNKNOWN, summary, ((DETAILS_KEY, details),))


def _need_config(request: _Set) -> None:
    if not request.HasField("config"):
        raise invalid("the request has no config")
    if not request.config.HasField("p4info"):
        raise invalid("the config has no p4info")


def _uint128(value: p4r.Uint128) -> int:
    return (value.high << 64) | value.low
