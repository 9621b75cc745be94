"""The gRPC face of the slicer: P4Runtime requests in, answers and statuses out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio

from dfvisor.p4rt.errors import NotPrimary, SwitchUnavailable
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import any_pb2, p4r, p4r_grpc, rpc_status
from dfvisor.p4rt.ports import SliceDirectory, SwitchPort, UpdateStatus
from dfvisor.slicer.reads import Reader
from dfvisor.slicer.refusal import Refused, denied, invalid
from dfvisor.slicer.roles import Role
from dfvisor.slicer.streams import Stream, Streams, number
from dfvisor.slicer.tables import FlowTables
from dfvisor.slicer.translate import Translator
from dfvisor.slicer.view import role_view, view_cookie

log = logging.getLogger(__name__)

API_VERSION = "1.4.1"
REVISION = "dfvisor-revision"
"""Request metadata: carry the Write out once the agent holds this revision of the VN."""
ACTIVE = "dfvisor-active"
"""Request metadata: carry the Write out once the agent has activated this revision of the VN."""
COMPLETE = "dfvisor-complete"
"""Request metadata: with this Write the VN's flow entries of this revision are complete here."""
REVISION_WAIT_S = 5.0
MAX_CALLS_PER_ROLE = 8
REFUSAL_DELAY_S = 0.05  # a client that is refused in a loop should not spin
DETAIL_BYTES = {True: 512 << 10, False: 6 << 10}
"""How large the per-update errors may be: our own controller takes them; others' libraries often
allow 8 KiB of metadata and lose the answer beyond it."""
SHOWN_FAILURES = 10

Context = grpc.aio.ServicerContext[Any, Any]


class SlicerService(p4r_grpc.P4RuntimeServicer):
    """One switch's slicer."""

    def __init__(
        self,
        directory: SliceDirectory,
        switch: SwitchPort,
        schema: Schema,
        device_id: int,
        tables: FlowTables,
    ) -> None:
        self._directory = directory
        self._device_id = device_id
        self._tables = tables
        self._reader = Reader(switch, schema)
        self._streams = Streams(device_id)
        self._views = {whole: Schema(role_view(schema.proto, whole)) for whole in (True, False)}
        self._calls: Counter[Role] = Counter()
        self._roles_of: dict[int, set[Role]] = {}  # slice id -> roles that it was offered to

    # -- for the agent

    async def drop_slice(self, slice_id: int) -> None:
        """As `p4rt.ports.Slicer.drop_slice`. A controller that believes its entries are still there
        would not write them again when the slice comes back, so its stream is ended.
        """
        roles = self._roles_of.pop(slice_id, set())
        await self._tables.drop_slice(slice_id, lambda: self._end(roles, "a slice was removed"))

    async def replay(self) -> None:
        """As `p4rt.ports.Slicer.replay`."""

        def changed(slice_ids: Iterable[int]) -> None:
            for slice_id in slice_ids:
                self._end(self._roles_of.get(slice_id, set()), "the switch lost entries")

        await self._tables.replay(changed)

    def _end(self, roles: Iterable[Role], why: str) -> None:
        for role in roles:
            self._streams.end(role, Refused(grpc.StatusCode.ABORTED, f"{why}: read again"))

    # -- streams

    async def StreamChannel(
        self, request_iterator: AsyncIterator[p4r.StreamMessageRequest], context: Context
    ) -> AsyncIterator[p4r.StreamMessageResponse]:
        """Arbitration; packets and digests are not offered to slices."""
        try:
            stream = self._streams.open(context.peer())
        except Refused as refused:
            await _abort(context, refused)
        listener = asyncio.create_task(
            self._listen(stream, request_iterator), name=f"slicer-stream-{context.peer()}"
        )
        try:
            while True:
                message = await stream.outgoing.get()
                if isinstance(message, Refused):
                    if message.code is grpc.StatusCode.OK:
                        return
                    await _abort(context, message)
                yield message
        finally:
            listener.cancel()
            self._streams.leave(stream)
            self._streams.forget(frozenset(self._directory.vns()))

    async def _listen(
        self, stream: Stream, requests: AsyncIterator[p4r.StreamMessageRequest]
    ) -> None:
        """Handle a stream's messages until it ends or is refused."""
        try:
            async for message in requests:
                kind = message.WhichOneof("update")
                if kind == "arbitration":
                    self._streams.arbitrate(stream, message.arbitration)
                    continue
                answer = p4r.StreamMessageResponse()
                answer.error.canonical_code = grpc.StatusCode.PERMISSION_DENIED.value[0]
                answer.error.message = f"{kind or 'an empty message'} is not open to slices"
                stream.tell(answer)
            stream.close(Refused(grpc.StatusCode.OK, "the client has finished"))
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            stream.close(refused)

    # -- writes

    async def Write(self, request: p4r.WriteRequest, context: Context) -> p4r.WriteResponse:
        """Updates of the role's own entries, each with a status of its own (P4Runtime 12.3)."""
        try:
            role = self._role(request.role)
            with self._call(role):
                statuses = await self._write(role, request, context)
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await _abort(context, refused)
        except (SwitchUnavailable, NotPrimary) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the switch is away: {error}")
        if any(status.code for status in statuses):
            if not role.whole_vn and all(status.code for status in statuses):
                await asyncio.sleep(REFUSAL_DELAY_S)
            await _abort_with_details(context, statuses, role)
        return p4r.WriteResponse()

    async def _write(
        self, role: Role, request: p4r.WriteRequest, context: Context
    ) -> list[UpdateStatus]:
        self._check_device(request.device_id)
        if request.atomicity != p4r.WriteRequest.CONTINUE_ON_ERROR:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "atomicity must be CONTINUE_ON_ERROR")
        election_id, peer = number(request.election_id), context.peer()

        def check() -> None:
            self._streams.check_primary(role, election_id, peer)

        check()
        metadata = dict(context.invocation_metadata() or ())
        revision = _revision(metadata.get(REVISION))
        active = _revision(metadata.get(ACTIVE))
        complete = _revision(metadata.get(COMPLETE))
        if complete is not None and not role.whole_vn:
            raise denied(f"{COMPLETE} is for role vn/{role.vn}")
        wanted = max((one for one in (revision, complete) if one is not None), default=None)
        if wanted is not None and not await self._directory.wait_for_revision(
            role.vn, wanted, REVISION_WAIT_S
        ):
            held = self._directory.revision(role.vn)
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                f"virtual network {role.vn}: this switch holds revision {held}, not yet {wanted}",
            )
        if active is not None and not await self._directory.wait_for_active(
            role.vn, active, REVISION_WAIT_S
        ):
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                f"virtual network {role.vn}: revision {active} is not active on this switch yet",
            )
        statuses = await self._tables.apply(self._translator(role), request.updates, check)
        if complete is not None and not any(status.code for status in statuses):
            check()
            self._directory.flows_completed(role.vn, complete)
        return statuses

    # -- reads

    async def Read(
        self, request: p4r.ReadRequest, context: Context
    ) -> AsyncIterator[p4r.ReadResponse]:
        """The role's own entries and direct counters. Without a role in the request it is that of
        the stream on the same connection.
        """
        try:
            self._check_device(request.device_id)
            role = self._role(request.role) if request.role else self._role_of(context)
            with self._call(role):
                translator = self._translator(role)
                for asked in request.entities:
                    async for entities in self._reader.read(translator, self._tables.mirror, asked):
                        yield p4r.ReadResponse(entities=entities)
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await _abort(context, refused)
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
            view = self._views[self._role_of(context).whole_vn]
        except Refused as refused:
            await asyncio.sleep(REFUSAL_DELAY_S)
            await _abort(context, refused)
        answer = p4r.GetForwardingPipelineConfigResponse()
        answer.config.cookie.cookie = view_cookie(view.proto)
        if request.response_type in (
            p4r.GetForwardingPipelineConfigRequest.ALL,
            p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE,
        ):
            answer.config.p4info.CopyFrom(view.proto)
        return answer

    async def SetForwardingPipelineConfig(
        self, request: p4r.SetForwardingPipelineConfigRequest, context: Context
    ) -> p4r.SetForwardingPipelineConfigResponse:
        """Refused to everyone."""
        await asyncio.sleep(REFUSAL_DELAY_S)
        await _abort(context, denied("the pipeline belongs to the switch's agent"))

    async def Capabilities(
        self, request: p4r.CapabilitiesRequest, context: Context
    ) -> p4r.CapabilitiesResponse:
        """The version of P4Runtime that is followed."""
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)

    # -- common

    def _check_device(self, device_id: int) -> None:
        if device_id != self._device_id:
            raise Refused(
                grpc.StatusCode.NOT_FOUND, f"device {device_id}, expected {self._device_id}"
            )

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

    def _translator(self, role: Role) -> Translator:
        translator = Translator(self._directory, role, self._views[role.whole_vn])
        for info in translator.slices().values():
            self._roles_of.setdefault(info.slice_id, set()).add(role)
        return translator

    @contextmanager
    def _call(self, role: Role) -> Iterator[None]:
        """Count a role's calls in progress; Refused if there are too many."""
        if self._calls[role] >= MAX_CALLS_PER_ROLE:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"role {role} has {MAX_CALLS_PER_ROLE} calls in progress",
            )
        self._calls[role] += 1
        try:
            yield
        finally:
            self._calls[role] -= 1
            if not self._calls[role]:
                del self._calls[role]


def _revision(text: str | bytes | None) -> int | None:
    if text is None:
        return None
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    raise invalid(f"{REVISION} and {COMPLETE} are decimal numbers, not {text!r}")


async def _abort(context: Context, refused: Refused) -> NoReturn:
    await context.abort(refused.code, refused.reason)


async def _abort_with_details(
    context: Context, statuses: Sequence[UpdateStatus], role: Role
) -> NoReturn:
    """UNKNOWN with a `p4.v1.Error` for each update; if those would be too long, without messages;
    then none at all, and the first failures in the text.
    """
    failed = [(place, status) for place, status in enumerate(statuses) if status.code]
    shown = "; ".join(
        f"update {place}: {status.message or status.code}"
        for place, status in failed[:SHOWN_FAILURES]
    )
    text = f"{len(failed)} of {len(statuses)} updates failed: {shown}"[:1000]
    limit = DETAIL_BYTES[role.whole_vn]
    for with_messages in (True, False):
        details = rpc_status.Status(code=grpc.StatusCode.UNKNOWN.value[0], message="see details")
        for status in statuses:
            error = p4r.Error(canonical_code=status.code, space="dfvisor" if status.code else "")
            if with_messages:
                error.message = status.message
            packed = any_pb2.Any()
            packed.Pack(error)
            details.details.append(packed)
        data = details.SerializeToString()
        if len(data) <= limit:
            context.set_trailing_metadata((("grpc-status-details-bin", data),))
            break
    await context.abort(grpc.StatusCode.UNKNOWN, text)
