"""Refusals as gRPC answers, and numbers in request metadata."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from dfvisor.p4rt.pb import any_pb2, p4r, rpc_status
from dfvisor.p4rt.ports import UpdateStatus
from dfvisor.slicer.refusal import Refused, invalid

DETAIL_BYTES = {True: 512 << 10, False: 6 << 10}
"""How large the per-update errors may be: our own controller takes them; others' libraries often
allow 8 KiB of metadata and lose the answer beyond it."""
SHOWN_FAILURES = 10

Context = grpc.aio.ServicerContext[Any, Any]


def metadata_numbers(
    metadata: Iterable[tuple[str, str | bytes]], names: Collection[str]
) -> dict[str, int]:
    """Those of the names that the request's metadata has, each with its decimal number."""
    found: dict[str, int] = {}
    for name, text in metadata:
        if name not in names:
            continue
        if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 18):
            raise invalid(f"metadata {name} is a decimal number, not {text!r}")
        found[name] = int(text)
    return found


async def abort(context: Context, refused: Refused) -> NoReturn:
    """Answer a whole request with a refusal."""
    await context.abort(refused.code, refused.reason)


async def abort_with_details(
    context: Context, statuses: Sequence[UpdateStatus], *, ample: bool
) -> NoReturn:
    """Answer a Write of which some updates have failed."""
    text, data = details_of(statuses, ample=ample)
    if data is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", data),))
    await context.abort(grpc.StatusCode.UNKNOWN, text)


def details_of(statuses: Sequence[UpdateStatus], *, ample: bool) -> tuple[str, bytes | None]:
    """The first failures as text, and a google.rpc.Status of UNKNOWN with a `p4.v1.Error` for each
    update; if those would be too long, without messages; then none at all. `ample`: the client
    takes long answers.
    """
    failed = [(place, status) for place, status in enumerate(statuses) if status.code]
    shown = "; ".join(
        f"update {place}: {status.message or status.code}"
        for place, status in failed[:SHOWN_FAILURES]
    )
    text = f"{len(failed)} of {len(statuses)} updates failed: {shown}"[:1000]
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
        if len(data) <= DETAIL_BYTES[ample]:
            return text, data
    return text, None
