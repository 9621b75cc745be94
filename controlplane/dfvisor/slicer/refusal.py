"""What the slicer answers to an update or request that it will not carry out."""

from __future__ import annotations

import grpc

from dfvisor.errors import SlicerError
from dfvisor.p4rt.ports import UpdateStatus


class Refused(SlicerError):
    """An update or a whole request is refused with a gRPC status code and the reason."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code.name}: {reason}")

    @property
    def status(self) -> UpdateStatus:
        """As the status of one update."""
        return UpdateStatus(self.code.value[0], self.reason)


def denied(reason: str) -> Refused:
    """The role may not do this."""
    return Refused(grpc.StatusCode.PERMISSION_DENIED, reason)


def invalid(reason: str) -> Refused:
    """The message makes no sense, whoever sends it."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)


def exhausted(reason: str) -> Refused:
    """The role has used up what it may have."""
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)


def missing(reason: str) -> Refused:
    """There is nothing of that name."""
    return Refused(grpc.StatusCode.NOT_FOUND, reason)


def unimplemented(reason: str) -> Refused:
    """The specification has it, this server does not."""
    return Refused(grpc.StatusCode.UNIMPLEMENTED, reason)
