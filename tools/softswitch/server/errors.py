"""What a refused request raises: a canonical code and a message for people.

Codes are gRPC's (`grpc.StatusCode`), which number like `google.rpc.Code`. The service translates a
`RequestError` into the status of the RPC, or into one `p4.v1.Error` of a batch.
"""

from __future__ import annotations

from enum import Enum

from grpc import StatusCode

SPACE = "dfvisor-softswitch"
"""`p4.v1.Error.space` of this target."""


class RequestError(Exception):
    """A request, or one element of a batch, that the server refuses."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def number(self) -> int:
        """The code's number in `google.rpc.Code`."""
        return code_number(self.code)


def code_number(code: Enum) -> int:
    """The number of a `grpc.StatusCode` (its value is a pair of number and name)."""
    number: int = code.value[0]
    return number


def invalid(message: str) -> RequestError:
    """INVALID_ARGUMENT."""
    return RequestError(StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """NOT_FOUND."""
    return RequestError(StatusCode.NOT_FOUND, message)


def exists(message: str) -> RequestError:
    """ALREADY_EXISTS."""
    return RequestError(StatusCode.ALREADY_EXISTS, message)


def denied(message: str) -> RequestError:
    """PERMISSION_DENIED."""
    return RequestError(StatusCode.PERMISSION_DENIED, message)


def exhausted(message: str) -> RequestError:
    """RESOURCE_EXHAUSTED."""
    return RequestError(StatusCode.RESOURCE_EXHAUSTED, message)


def out_of_range(message: str) -> RequestError:
    """OUT_OF_RANGE."""
    return RequestError(StatusCode.OUT_OF_RANGE, message)


def precondition(message: str) -> RequestError:
    """FAILED_PRECONDITION."""
    return RequestError(StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> RequestError:
    """UNIMPLEMENTED."""
    return RequestError(StatusCode.UNIMPLEMENTED, message)


def aborted(message: str) -> RequestError:
    """ABORTED."""
    return RequestError(StatusCode.ABORTED, message)


def internal(message: str) -> RequestError:
    """INTERNAL."""
    return RequestError(StatusCode.INTERNAL, message)
