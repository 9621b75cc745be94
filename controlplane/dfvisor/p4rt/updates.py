"""Updates of a Write as they are on the wire, taken apart only where somebody looks: pure.

A WriteRequest of a thousand updates costs a server more in messages made of it than in anything
that it asks of them. Here its updates are bytes, found and put together without a look inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

from dfvisor.p4rt.pb import descriptor_pb2, descriptor_pool, message_factory, p4r

_FIELD = p4r.WriteRequest.DESCRIPTOR.fields_by_name["updates"].number


def _unopened() -> Any:
    """The class of a WriteRequest whose updates are bytes; all other fields are unknown to it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="dfvisor/unopened.proto", package="dfvisor", syntax="proto3"
    )
    field = file.message_type.add(name="Unopened").field.add(name="updates", number=_FIELD)
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("dfvisor.Unopened"))


_Unopened = _unopened()


class WriteCall(NamedTuple):
    """A WriteRequest: all but its updates, and each update, serialized."""

    head: p4r.WriteRequest
    updates: list[bytes]

    @classmethod
    def parse(cls, data: bytes) -> WriteCall:
        """Raises DecodeError; what is wrong within an update is for whoever opens it."""
        message = _Unopened.FromString(data)
        updates = list(message.updates)
        message.ClearField("updates")
        return cls(p4r.WriteRequest.FromString(message.SerializeToString()), updates)


def framed(update: p4r.Update) -> bytes:
    """An update as a field of a WriteRequest."""
    return p4r.WriteRequest(updates=[update]).SerializeToString()


class Updates(Sequence[p4r.Update]):
    """Updates that are there as fields of a WriteRequest, in `data`. Messages are made of them once
    somebody asks for one.
    """

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self._count = count
        self._opened: Sequence[p4r.Update] | None = None

    def _messages(self) -> Sequence[p4r.Update]:
        if self._opened is None:
            self._opened = p4r.WriteRequest.FromString(self.data).updates
        return self._opened

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[p4r.Update]:
        return iter(self._messages())

    @overload
    def __getitem__(self, index: int) -> p4r.Update: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[p4r.Update]: ...
    def __getitem__(self, index: int | slice) -> p4r.Update | Sequence[p4r.Update]:
        return self._messages()[index]
