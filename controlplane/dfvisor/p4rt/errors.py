"""What a P4Runtime client raises; all of it is a `SwitchError`.

SwitchError
  SchemaError        a value, name or message that does not fit the P4Info
  SwitchUnavailable  no answer: not reachable, stream broken, or too late; a write's outcome is
  unknown NotPrimary         another client is primary, or nobody is RpcFailed          the server
  refused a whole request
    WriteError       the server refused updates of a batch; lists each of them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from dfvisor.errors import SwitchError
from dfvisor.p4rt.pb import p4r

SHOWN_FAILURES = 10


class SchemaError(SwitchError):
    """A value, name or message that does not fit the P4Info; names table, field and value."""


class SwitchUnavailable(SwitchError):
    """No answer, or not in time. Nobody knows what became of a write."""


class NotPrimary(SwitchError):
    """This client may not write. `vacant`: nobody is primary, a higher election id would be."""

    def __init__(self, message: str, *, vacant: bool = False) -> None:
        self.vacant = vacant
        super().__init__(message)


class RpcFailed(SwitchError):
    """The server refused a request with gRPC status `code`."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Failure:
    """One update that was refused: `code` is a number of `google.rpc.Code`."""

    update: p4r.Update
    code: int
    message: str


class WriteError(RpcFailed):
    """Updates of a Write that were refused; the others were carried out."""

    def __init__(self, failures: Sequence[Failure], total: int) -> None:
        self.failures = tuple(failures)
        shown = "; ".join(
            f"{_code_name(failure.code)}: {failure.message} ({_summary(failure.update)})"
            for failure in self.failures[:SHOWN_FAILURES]
        )
        more = len(self.failures) - SHOWN_FAILURES
        tail = f"; and {more} more" if more > 0 else ""
        super().__init__(
            grpc.StatusCode.UNKNOWN,
            f"{len(self.failures)} of {total} updates failed: {shown}{tail}",
        )


def _code_name(number: int) -> str:
    for code in grpc.StatusCode:
        if code.value[0] == number:
            return code.name
    return f"code {number}"


def _summary(update: p4r.Update) -> str:
    kind = p4r.Update.Type.Name(update.type)
    entity = update.entity.WhichOneof("entity") or "nothing"
    if entity == "table_entry":
        return f"{kind} entry of table {update.entity.table_entry.table_id:#x}"
    return f"{kind} {entity}"
