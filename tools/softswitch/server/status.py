"""The status of a batch: one `p4.v1.Error` per element, in `grpc-status-details-bin`.

gRPC clients refuse trailing metadata above 8 KiB unless told otherwise, and then see
RESOURCE_EXHAUSTED instead of the errors. So every element always has its code, but messages are
sent only as long as the whole stays below that limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from softswitch.server.errors import SPACE, RequestError, code_number
from softswitch.server.pb import p4r, rpc_status

DETAILS_KEY = "grpc-status-details-bin"
DETAILS_BUDGET_BYTES = 7000
MESSAGE_MAX_CHARS = 240


def batch_status(errors: Sequence[RequestError | None], unit: str) -> tuple[str, bytes]:
    """The status message and the serialized `google.rpc.Status` of a batch with failures.

    `errors` has one item per element of the batch, None where it succeeded; `unit` names an
    element ("update"). At least one item must be an error.
    """
    failed = [(place, error) for place, error in enumerate(errors) if error is not None]
    place, first = failed[0]
    summary = (
        f"{len(failed)} of {len(errors)} {unit}s failed; the first is {unit} {place}: "
        f"{first.code.name}: {first.message[:MESSAGE_MAX_CHARS]}"
    )
    status = rpc_status.Status(code=code_number(StatusCode.UNKNOWN), message=summary)
    details = [
        p4r.Error() if error is None else p4r.Error(canonical_code=error.number) for error in errors
    ]
    for detail in details:
        status.details.add().Pack(detail)
    left = DETAILS_BUDGET_BYTES - status.ByteSize()
    for place, error in failed:
        message = error.message[:MESSAGE_MAX_CHARS]
        left -= len(message.encode()) + len(SPACE) + 8
        if left < 0:
            break
        details[place].message = message
        details[place].space = SPACE
        status.details[place].Pack(details[place])
    return summary, status.SerializeToString()
