"""The gRPC face of the slicer: P4Runtime requests in, answers and statuses out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from typing import Any

import grpc
import grpc.aio

from dfvisor.errors import SwitchError
from dfvisor.p4rt import onstream
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.errors import NotPrimary, SchemaError, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import DecodeError, p4r
from dfvisor.p4rt.ports import SliceDirectory, SliceInfo, SwitchPort, UpdateStatus
from dfvisor.p4rt.streamed import DigestList, IdleEntries, PacketIn, StreamEvent, encode_digest
from dfvisor.p4rt.updates import WriteCall
from dfvisor.slicer.access import Access
from dfvisor.slicer.answers import abort, abort_with_details, details_of, metadata_numbers
from dfvisor.slicer.calls import Calls
from dfvisor.slicer.digests import Digests
from dfvisor.slicer.identity import ANYBODY, Identity
from dfvisor.slicer.limits import Accounts, Limits
from dfvisor.slicer.packets import packet_in, packet_out
from dfvisor.slicer.reads import Reader
from dfvisor.slicer.refusal import Refused, denied, invalid, missing
from dfvisor.slicer.roles import Role
from dfvisor.slicer.streams import Stream, Streams, number
from dfvisor.slicer.tables import OK, FlowTables
from dfvisor.slicer.view import LEARN, LEARN_FIELDS, view_cookie

log = logging.getLogger(__name__)

API_VERSION = "1.4.1"
REVISION = "dfvisor-revision"
"""Request metadata: carry the Write out once the agent holds this revision of the VN."""
ACTIVE = "dfvisor-active"
"""Request metadata: carry the Write out once the agent has activated this revision of the VN."""
ACTIVATE = "dfvisor-activate"
"""Request metadata: the VN's controller says that this revision may take effect."""
AT_ONCE = "dfvisor-at-once"
"""Request metadata, in ms: how long to wait for a revision at most; then the answer is ABORTED, and
nothing was done."""
COMPLETE = "dfvisor-complete"
"""Request metadata: with this Write the VN's flow entries of this revision are complete here."""
HOLD = "dfvisor-hold"
"""Request metadata, 1 beside COMPLETE: what earlier revisions needed has to stay for a while."""
FABRIC = "dfvisor-fabric"
"""Request metadata beside COMPLETE: the revision of the fabric that the entries are of."""
REVISION_WAIT_S = 5.0
FENCE_WAIT_S = 2.0
LONGEST_DELAY_S = 5.0
REFUSAL_DELAY_S = 0.05  # a client that is refused in a loop should not spin
POLITE_CALLS = 2
GREEDY_PRICE = 5
NOBODY = Role("")
"""Whose account the requests for roles of VNs that are not here go to."""
ALL_OR_NOTHING = (p4r.WriteRequest.ROLLBACK_ON_ERROR, p4r.WriteRequest.DATAPLANE_ATOMIC)
OFFERS = (onstream.OFFER,)
"""Initial metadata of each stream."""
TO_CONTROLLERS = (PuntReason.FLOW_MISS, PuntReason.FLOW_ACTION)

Context = grpc.aio.ServicerContext[Any, Any]


class SlicerService:
    """One switch's slicer. `secure`: clients have certificates."""

    def __init__(
        self,
        directory: SliceDirectory,
        switch: SwitchPort,
        schema: Schema,
        device_id: int,
        tables: FlowTables,
        *,
        limits: Limits | None = None,
        secure: bool = False,
    ) -> None:
        self._directory = directory
        self._switch = switch
        self._schema = schema
        self._device_id = device_id
        self._tables = tables
        self._secure = secure
        self._digests = Digests(time.monotonic)
        self._reader = Reader(switch, schema, directory, tables, self._digests)
        self._streams = Streams(device_id, directory.fence)
        self._access = Access(directory, self._streams, tables, schema)
        self._calls = Calls()
        self._accounts = Accounts(limits or Limits(), time.monotonic)
        self._refitting: set[str] = set()
        self._present: dict[str, frozenset[str]] = {}  # slices by VN, as of its last change
        self._news = asyncio.Event()  # something of a VN has changed
        self._tasks: set[asyncio.Task[None]] = set()
        directory.on_change(self._changed)

    # -- for the agent

    def begin(self) -> None:
        """The mirror is filled: what changed while there was no slicer is made good."""
        for vn in self._directory.vns():
            self._changed(vn)

    async def drop_slice(self, slice_id: int) -> None:
        """As `p4rt.ports.Slicer.drop_slice`. A controller that believes its entries are still there
        would not write them again when the slice comes back, so its stream is ended.
        """
        roles = self._access.drop(slice_id)
        await self._tables.upkeep.drop_slice(
            slice_id, lambda: self._end(roles, "a slice was removed")
        )

    async def replay(self) -> None:
        """As `p4rt.ports.Slicer.replay`."""

        def changed(slice_ids: Iterable[int]) -> None:
            for slice_id in slice_ids:
                self._end(self._access.roles_of(slice_id), "the switch lost entries")

        await self._tables.upkeep.replay(changed)

    def event(self, event: StreamEvent) -> None:
        """As `p4rt.ports.Slicer.event`: to the controllers of the slice that it is about."""
        if isinstance(event, PacketIn):
            if event.metadata.get("reason", 0) in TO_CONTROLLERS:
                self._packet_in(event)
        elif isinstance(event, IdleEntries):
            self._idle(event)
        elif event.digest == LEARN:
            self._digest(event)

    def stats(self) -> Mapping[str, Mapping[str, int]]:
        """As `p4rt.ports.Slicer.stats`."""
        return self._accounts.counts()

    def _end(self, roles: Iterable[Role], why: str) -> None:
        for role in roles:
            self._streams.end(role, Refused(grpc.StatusCode.ABORTED, f"{why}: read again"))

    def _changed(self, vn: str) -> None:
        """Something of a VN has changed: certificates, the leader, what its slices may hold."""
        tenant = self._directory.tenant(vn)
        for stream in self._streams.of_vn(vn):
            if not stream.who.provider and stream.who.tenant != tenant:
                stream.close(denied(f"virtual network {vn} is not tenant {stream.who.tenant}'s"))
        self._access.forget(vn)
        self._streams.fence_changed(vn)
        self._end_gone(vn)
        self._news.set()
        self._news = asyncio.Event()
        if vn not in self._refitting:
            self._refitting.add(vn)
            task = asyncio.get_running_loop().create_task(self._refit(vn), name=f"refit {vn}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _end_gone(self, vn: str) -> None:
        """End the streams of slices that are here no more, and forget who used them."""
        names = frozenset(self._directory.slices_of(vn))
        gone = self._present.get(vn, frozenset()) - names
        self._present[vn] = names
        if not names:
            del self._present[vn]
        for name in gone:
            why = missing(f"virtual network {vn} has no slice {name} here any more")
            self._streams.end(Role(vn, name), why)
        if gone:
            self._forget()

    async def _refit(self, vn: str) -> None:
        """Delete what a tenant's own controller has written and may not have any more.

        What a VN's controller has written is its own to put right, in the two steps of a change.
        """
        await asyncio.sleep(0)
        self._refitting.discard(vn)
        for name, info in self._directory.slices_of(vn).items():
            if not self._tables.mirror.of(info.slice_id):
                continue
            writer = self._author(vn, name, info)
            if writer is None or writer.whole_vn:
                continue
            try:
                count = await self._tables.upkeep.drop_entries(
                    info.slice_id, self._access.outside(vn, name)
                )
            except SwitchError as error:  # forgotten all the same: replay deletes them
                log.warning("slice %s/%s: %s", vn, name, error)
                continue
            if count:
                log.info("slice %s/%s: %d entries outside its flowspaces deleted", vn, name, count)
                self._accounts.count(writer, "entries_revoked", count)

    def _author(self, vn: str, name: str, info: SliceInfo) -> Role | None:
        """Who has written a slice's entries. Of those that were there before this slicer it is
        known by the VN's grant alone.
        """
        writer = self._tables.written_by.get(info.slice_id)
        return writer or Role.parse(self._directory.writer(vn, name) or "")

    # -- what the switch sends

    def _audience(self, slice_id: int) -> tuple[SliceInfo, list[tuple[Role, Stream]]] | None:
        """A slice by its local id, and the primaries that are told of it."""
        found = self._directory.slice_by_id(slice_id)
        if found is None:
            return None
        vn, name = found
        info = self._directory.slices_of(vn).get(name)
        if info is None:
            return None
        told = []
        for role in (Role(vn, name), Role(vn)):
            stream = self._streams.primary(role)
            if stream is not None:
                told.append((role, stream))
        return info, told

    def _packet_in(self, packet: PacketIn) -> None:
        audience = self._audience(packet.metadata.get("slice_id", 0))
        if audience is None:
            return
        info, told = audience
        for role, stream in told:
            if not self._accounts.take(role, "packet_ins"):
                continue
            message = p4r.StreamMessageResponse(
                packet=packet_in(
                    self._directory, role, self._access.view(role).schema, packet, info.key
                )
            )
            self._deliver(role, stream, message, "packet_ins")

    def _idle(self, event: IdleEntries) -> None:
        for entry in event.entries:
            try:
                message = self._schema.encode_key(entry)
                slice_id, key = self._tables.place_of(message)
            except SchemaError as error:
                log.debug("idle notification ignored: %s", error)
                continue
            audience = self._audience(slice_id)
            held = self._tables.mirror.get(slice_id, key)
            if audience is None or held is None:
                continue
            info, told = audience
            for role, stream in told:
                answer = p4r.StreamMessageResponse()
                answer.idle_timeout_notification.timestamp = time.time_ns()
                shown = answer.idle_timeout_notification.table_entry.add()
                shown.ParseFromString(held)
                self._access.translator(role).to_view(shown, info.key)
                self._deliver(role, stream, answer, "notifications")

    def _digest(self, event: DigestList) -> None:
        """To the controller of each VN, if it has subscribed, what is about it."""
        by_role: dict[Role, list[Mapping[str, int]]] = {}
        for message in event.messages:
            vn = self._directory.vn_by_id(message["vn"])
            port = self._directory.virtual_port(vn, message["port"]) if vn is not None else 0
            if vn is not None and port:
                told = {name: message[name] for name in LEARN_FIELDS} | {"port": port}
                by_role.setdefault(Role(vn), []).append(told)
        for role, messages in by_role.items():
            stream = self._streams.primary(role)
            if stream is None or not self._accounts.take(role, "digests"):
                continue
            view = self._access.view(role).schema
            id_ = view.digest(LEARN).id
            for list_id, part in self._digests.tell(role, id_, messages):
                answer = p4r.StreamMessageResponse(
                    digest=encode_digest(view, DigestList(LEARN, list_id, tuple(part)))
                )
                if not self._deliver(role, stream, answer, "digests"):
                    self._digests.acknowledge(role, id_, list_id)

    def _deliver(
        self, role: Role, stream: Stream, message: p4r.StreamMessageResponse, kind: str
    ) -> bool:
        delivered = stream.offer(message)
        self._accounts.count(role, kind if delivered else f"{kind}_dropped")
        return delivered

    # -- streams

    async def StreamChannel(
        self, request_iterator: AsyncIterator[p4r.StreamMessageRequest], context: Context
    ) -> AsyncIterator[p4r.StreamMessageResponse]:
        """Arbitration, packets, notifications."""
        try:
            stream = self._streams.open(context.peer(), self._who(context))
            await context.send_initial_metadata(OFFERS)
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await abort(context, refused)
        listener = asyncio.create_task(
            self._listen(stream, request_iterator), name=f"slicer-stream-{context.peer()}"
        )
        try:
            while True:
                message = await stream.next()
                if isinstance(message, Refused):
                    if message.code is grpc.StatusCode.OK:
                        return
                    await abort(context, message)
                yield message
        finally:
            listener.cancel()
            self._streams.leave(stream)
            self._forget()

    async def _listen(
        self, stream: Stream, requests: AsyncIterator[p4r.StreamMessageRequest]
    ) -> None:
        """Handle a stream's messages until it ends or is refused."""
        try:
            async for message in requests:
                kind = message.WhichOneof("update")
                if kind == "arbitration":
                    role = Role.parse(message.arbitration.role.name)
                    if role is not None:
                        stream.who.check(role, self._directory.tenant(role.vn))
                        await self._pace(role, "requests")
                        await self._until_fenced(role, message.arbitration)
                    self._streams.arbitrate(stream, message.arbitration)
                elif kind == "packet":
                    await self._packet_out(stream, message.packet)
                elif kind == "other" and onstream.is_write(message.other):
                    stream.tell(await self._answer(stream, message.other))
                elif kind == "digest_ack":
                    ack = message.digest_ack
                    if stream.role is not None and self._streams.primary(stream.role) is stream:
                        self._digests.acknowledge(stream.role, ack.digest_id, ack.list_id)
                else:
                    what = f"{kind or 'an empty message'} is not open to slices"
                    self._stream_error(stream, denied(what))
            stream.close(Refused(grpc.StatusCode.OK, "the client has finished"))
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            stream.close(refused)

    async def _until_fenced(self, role: Role, message: p4r.MasterArbitrationUpdate) -> None:
        """Wait, bounded, for the news that a new leader is one: it may be here before them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FENCE_WAIT_S):
                while self._streams.too_new(role, message):
                    await self._news.wait()

    async def _packet_out(self, stream: Stream, message: p4r.PacketOut) -> None:
        role = stream.role
        if role is None:
            raise denied("a packet-out before arbitration; send master arbitration first")
        await self._pace(role, "packet_outs")
        try:
            if self._streams.primary(role) is not stream:
                raise denied(f"not the primary of role {role}")
            if role.slice is not None:
                self._access.check_writer(role)
            view = self._access.view(role).schema
            packet = packet_out(self._directory, role, view, message)
            self._switch.send_packet(packet)
            self._accounts.count(role, "packet_outs")
        except Refused as refused:
            self._accounts.count(role, "packet_outs_refused")
            self._stream_error(stream, refused, message)
        except SwitchError as error:
            self._accounts.count(role, "packet_outs_dropped")
            why = Refused(grpc.StatusCode.UNAVAILABLE, f"the switch is away: {error}")
            self._stream_error(stream, why, message)

    def _stream_error(
        self, stream: Stream, refused: Refused, packet: p4r.PacketOut | None = None
    ) -> None:
        """Say on the stream what was refused (P4Runtime 16.2)."""
        answer = p4r.StreamMessageResponse()
        answer.error.canonical_code = refused.code.value[0]
        answer.error.message = refused.reason
        answer.error.space = "dfvisor"
        if packet is not None:
            answer.error.packet_out.packet_out.metadata.extend(packet.metadata)
        stream.tell(answer)

    # -- writes

    async def Write(self, call: WriteCall, context: Context) -> p4r.WriteResponse:
        """Updates of the role's own entries, each with a status of its own (P4Runtime 12.3)."""
        try:
            metadata = context.invocation_metadata() or ()
            statuses = await self._carry_out(call, metadata, context.peer())
        except Refused as refused:
            await abort(context, refused)
        if any(status.code for status in statuses):
            ample = self._role(call.head.role).whole_vn
            await abort_with_details(context, statuses, ample=ample)
        return p4r.WriteResponse()

    async def _answer(self, stream: Stream, other: Any) -> p4r.StreamMessageResponse:
        """Carry out a Write that came on a stream; what the call would end with."""
        try:
            data, metadata = onstream.opened(other)
            call = WriteCall.parse(data)
            role = stream.role
            if role is None or str(role) != call.head.role:
                raise denied(f"role {call.head.role!r} on the stream of role {role}")
            statuses = await self._carry_out(call, metadata, stream.peer)
        except DecodeError as error:
            refused = invalid(f"a Write that cannot be read: {error}")
            return onstream.answer(refused.code.value[0], refused.reason)
        except Refused as refused:
            return onstream.answer(refused.code.value[0], refused.reason)
        if any(status.code for status in statuses):
            text, details = details_of(statuses, ample=role.whole_vn)
            return onstream.answer(grpc.StatusCode.UNKNOWN.value[0], text, details)
        return onstream.answer(0)

    async def _carry_out(
        self, call: WriteCall, metadata: Iterable[tuple[str, str | bytes]], peer: str
    ) -> list[UpdateStatus]:
        """The statuses of a Write that has come from this peer; Refused as a whole."""
        request = call.head
        role = NOBODY
        try:
            role = self._role(request.role)
            self._check_device(request.device_id)
            self._streams.check_primary(role, number(request.election_id), peer)
            await self._calls.enter(role)
            try:
                await self._pace(role, "writes", self._price(role))
                await self._pace(role, "updates", len(call.updates))
                statuses = await self._write(role, call, metadata, peer)
            finally:
                self._calls.leave(role)
        except Refused:
            self._accounts.count(self._culprit(role, peer), "writes_refused")
            await asyncio.sleep(REFUSAL_DELAY_S)
            raise
        except (SwitchUnavailable, NotPrimary) as error:
            why = f"the switch is away: {error}"
            raise Refused(grpc.StatusCode.UNAVAILABLE, why) from error
        failed = len(statuses) - statuses.count(OK)
        self._accounts.count(role, "writes")
        self._accounts.count(role, "updates", len(statuses) - failed)
        if failed:
            self._accounts.count(role, "updates_refused", failed)
            if not role.whole_vn and failed == len(statuses):
                await asyncio.sleep(REFUSAL_DELAY_S)
        return statuses

    async def _write(
        self,
        role: Role,
        call: WriteCall,
        metadata: Iterable[tuple[str, str | bytes]],
        peer: str,
    ) -> list[UpdateStatus]:
        request, updates = call
        election_id = number(request.election_id)

        def check() -> None:
            self._streams.check_primary(role, election_id, peer)
            if role.slice is not None:
                self._access.check_writer(role)

        check()
        conditions = metadata_numbers(
            metadata, (REVISION, ACTIVE, ACTIVATE, AT_ONCE, COMPLETE, HOLD, FABRIC)
        )
        if conditions:
            await self._wait_for_revision(role, conditions)
        translator = self._access.translator(role)
        if request.atomicity == p4r.WriteRequest.CONTINUE_ON_ERROR or len(updates) <= 1:
            other = partial(self._digests.write, role, translator.view.schema)
            revision = conditions.get(ACTIVATE)
            activating = None if revision is None else (role.vn, revision)
            statuses = await self._tables.apply(translator, updates, check, other, activating)
        elif request.atomicity in ALL_OR_NOTHING:
            at_once = request.atomicity == p4r.WriteRequest.DATAPLANE_ATOMIC
            statuses = await self._tables.apply_all(translator, updates, check, at_once=at_once)
        else:
            raise invalid(f"atomicity {request.atomicity} is not known")
        if REVISION in conditions and role.whole_vn and updates:
            self._directory.flows_written(role.vn, conditions[REVISION])
        if ACTIVATE in conditions and not any(status.code for status in statuses):
            check()
            self._directory.activate(role.vn, conditions[ACTIVATE])
        complete = conditions.get(COMPLETE)
        if complete is not None and not any(status.code for status in statuses):
            check()
            hold = bool(conditions.get(HOLD))
            fabric = conditions.get(FABRIC)
            self._directory.flows_completed(role.vn, complete, hold=hold, fabric=fabric)
        return statuses

    async def _wait_for_revision(self, role: Role, conditions: Mapping[str, int]) -> None:
        for name in (COMPLETE, ACTIVATE):
            if name in conditions and not role.whole_vn:
                raise denied(f"{name} is for role vn/{role.vn}")
        limit_ms = conditions.get(AT_ONCE)
        wait_s = REVISION_WAIT_S if limit_ms is None else min(REVISION_WAIT_S, limit_ms / 1000)
        wanted = max(conditions.get(REVISION, -1), conditions.get(COMPLETE, -1))
        if wanted >= 0 and not await self._directory.wait_for_revision(role.vn, wanted, wait_s):
            held = self._directory.revision(role.vn)
            raise Refused(
                grpc.StatusCode.UNAVAILABLE if limit_ms is None else grpc.StatusCode.ABORTED,
                f"virtual network {role.vn}: this switch holds revision {held}, not yet {wanted}",
            )
        active = conditions.get(ACTIVE)
        if active is not None and not await self._directory.wait_for_active(
            role.vn, active, wait_s
        ):
            raise Refused(
                grpc.StatusCode.UNAVAILABLE if limit_ms is None else grpc.StatusCode.ABORTED,
                f"virtual network {role.vn}: revision {active} is not active on this switch yet",
            )

    # -- reads

    async def Read(
        self, request: p4r.ReadRequest, context: Context
    ) -> AsyncIterator[p4r.ReadResponse]:
        """The role's own entries and direct counters. Without a role in the request it is that of
        the stream on the same connection.
        """
        role = NOBODY
        try:
            self._check_device(request.device_id)
            if request.role:
                role = self._role(request.role)
                self._who(context).check(role, self._directory.tenant(role.vn))
            else:
                role = self._role_of(context)
            payer = self._payer(role)
            await self._calls.enter(payer)
            try:
                await self._pace(payer, "reads", max(1, len(request.entities)))
                for asked in request.entities:
                    async for entities in self._reader.read(self._access.translator(role), asked):
                        yield p4r.ReadResponse(entities=entities)
                        await self._pace(payer, "entities", len(entities))
                self._accounts.count(payer, "reads")
            finally:
                self._calls.leave(payer)
        except Refused as refused:
            self._accounts.count(self._payer(role), "reads_refused")
            await asyncio.sleep(REFUSAL_DELAY_S)
            await abort(context, refused)
        except (SwitchUnavailable, NotPrimary) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the switch is away: {error}")

    # -- pipeline

    async def GetForwardingPipelineConfig(
        self, request: p4r.GetForwardingPipelineConfigRequest, context: Context
    ) -> p4r.GetForwardingPipelineConfigResponse:
        """The P4Info that the role sees. The request names no role: it is that of the stream on the
        same connection. The device's configuration is nobody's business.
        """
        try:
            self._check_device(request.device_id)
            role = self._role_of(context)
            await self._pace(role, "requests")
            view = self._access.view(role).schema.proto
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await abort(context, refused)
        answer = p4r.GetForwardingPipelineConfigResponse()
        answer.config.cookie.cookie = view_cookie(view)
        if request.response_type in (
            p4r.GetForwardingPipelineConfigRequest.ALL,
            p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE,
        ):
            answer.config.p4info.CopyFrom(view)
        return answer

    async def SetForwardingPipelineConfig(
        self, request: p4r.SetForwardingPipelineConfigRequest, context: Context
    ) -> p4r.SetForwardingPipelineConfigResponse:
        """Accepted, without effect, if it is what the role has already."""
        try:
            self._check_device(request.device_id)
            role = self._role(request.role) if request.role else self._role_of(context)
            self._streams.check_primary(role, number(request.election_id), context.peer())
            await self._pace(role, "requests")
            if request.action == p4r.SetForwardingPipelineConfigRequest.UNSPECIFIED:
                raise invalid("action is unspecified")
            same = request.config.p4info == self._access.view(role).schema.proto
            commits = request.action == p4r.SetForwardingPipelineConfigRequest.COMMIT
            if not (same or commits) or request.config.p4_device_config:
                raise denied(
                    "the pipeline belongs to the switch's agent; allowed is the P4Info that the "
                    "role has, with an empty p4_device_config, which changes nothing"
                )
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await abort(context, refused)
        return p4r.SetForwardingPipelineConfigResponse()

    async def Capabilities(
        self, request: p4r.CapabilitiesRequest, context: Context
    ) -> p4r.CapabilitiesResponse:
        """The version of P4Runtime that is followed."""
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)

    # -- common

    def _check_device(self, device_id: int) -> None:
        if device_id != self._device_id:
            raise missing(f"device {device_id}, expected {self._device_id}")

    def _role(self, name: str) -> Role:
        role = Role.parse(name)
        if role is None:
            raise denied(f"role {name!r}, expected slice/<vn>/<slice> or vn/<vn>")
        return role

    def _role_of(self, context: Context) -> Role:
        role = self._streams.role_of(context.peer())
        if role is None:
            raise denied("no role: open a stream with one role on this connection first")
        return role

    def _who(self, context: Context) -> Identity:
        return Identity.of(context.auth_context()) if self._secure else ANYBODY

    def _payer(self, role: Role) -> Role:
        """Whose account a request goes to."""
        known = self._directory.revision(role.vn) is not None
        return role if known or self._streams.knows(role) else NOBODY

    def _culprit(self, role: Role, peer: str) -> Role:
        """Whose refusal it is: not that of a role which another's connection has named."""
        roles = self._streams.roles_of(peer)
        if role in roles:
            return role
        return roles.pop() if len(roles) == 1 else NOBODY

    def _price(self, role: Role) -> int:
        """What a Write costs its role: more if it has others waiting while another role wants
        something, because then those are what the other waits for.
        """
        greedy = self._calls.number(role) > POLITE_CALLS and self._tables.turns.contended(role)
        return GREEDY_PRICE if greedy else 1

    async def _pace(self, role: Role, kind: str, tokens: int = 1) -> None:
        """Wait as long as the role has used more than its share."""
        wait = self._accounts.wait_s(role, kind, tokens) if tokens else 0
        if wait > 0:
            await asyncio.sleep(min(wait, LONGEST_DELAY_S))

    def _forget(self) -> None:
        """Let go of what nobody needs any more."""
        self._streams.forget(self._exists)
        self._digests.forget(self._exists)
        self._accounts.forget(lambda role: self._exists(role) or self._streams.knows(role))
        self._tables.turns.forget()

    def _exists(self, role: Role) -> bool:
        """Whether the role's VN, or slice, is here."""
        if role.slice is None:
            return self._directory.revision(role.vn) is not None
        return role.slice in self._directory.slices_of(role.vn)
